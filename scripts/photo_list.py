"""Which photographs the `photo` backbone may learn from: a list of file names and SHA-256.

    python scripts/photo_list.py --data BIQ2021 --out scripts/embedded_photos.csv

These are BIQ2021's photographs from Unsplash (subset ss03) in its training part, less every one
that resembles a picture to be tested on: BIQ2021's test part and the demo benchmark. BIQ2021 holds
some photographs twice, under two names and in both parts; their files differ, their pixels hardly.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 16
# Found by eye: pairs above 0.98 are copies, the first different motifs appear below 0.97. Losing a
# few photographs costs nothing, so the bound is far on the safe side.
ALIKE = 0.9


def signature(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A picture reduced to SIDE x SIDE greys, without mean, of unit length: [SIDE, SIDE]."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    small -= small.mean()
    return np.asarray(small / (np.linalg.norm(small) + 1e-6))


def likeness(images: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Greatest correlation of each signature with any of the others, mirrored or not.

    Args:
        images: Signatures [N, SIDE, SIDE].
        others: Signatures [M, SIDE, SIDE].

    Returns:
        [N], at most 1.
    """
    flat = others.reshape(len(others), -1).T
    seen = [view.reshape(len(images), -1) @ flat for view in (images, images[..., ::-1])]
    return np.maximum(*(found.max(1) for found in seen))


def read(path: Path) -> NDArray[np.uint8]:
    """A picture file as RGB uint8 [H, W, 3].

    Raises:
        ValueError: It is no picture.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path} is no picture: fetch BIQ2021 again")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def part(data: Path, name: str) -> list[Path]:
    """The pictures of BIQ2021's "Train" or "Test" part, in the order of its table."""
    with (data / f"{name} (Images and MOS).csv").open(newline="") as file:
        names = [row["Image Name"] for row in csv.DictReader(file)]
    # The case of the suffix differs between the table and one file.
    files = {path.name.lower(): path for path in (data / "Images").iterdir()}
    return [files[name.lower()] for name in names]


def load(data: Path, listed: Path) -> Iterable[NDArray[np.uint8]]:
    """The listed photographs, in the order of the list.

    Raises:
        ValueError: A photograph has another SHA-256 than the list says.
    """
    with listed.open(newline="") as file:
        for row in csv.DictReader(file):
            path = data / "Images" / row["file"]
            if sha256(path) != row["sha256"]:
                raise ValueError(f"{path} is another file than in {listed}: fetch BIQ2021 again")
            yield read(path)


def main() -> None:
    """Write the list."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of BIQ2021")
    parser.add_argument("--demo", type=Path, default=Path("data/demo"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    tested = part(options.data, "Test") + sorted(options.demo.glob("*.jpg"))
    photos = sorted(path for path in part(options.data, "Train") if path.name.startswith("ss03"))
    hashes = {sha256(path) for path in tested}

    def signatures(paths: list[Path]) -> NDArray[Any]:
        return np.stack([signature(read(path)) for path in paths])

    alike = likeness(signatures(photos), signatures(tested)) >= ALIKE
    kept = [
        (path.name, digest)
        for path, found in zip(photos, alike, strict=True)
        if not found and (digest := sha256(path)) not in hashes
    ]
    with options.out.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([("file", "sha256"), *kept])
    print(f"{len(kept)} of {len(photos)} photographs kept; {alike.sum()} resemble a tested picture")


if __name__ == "__main__":
    main()
