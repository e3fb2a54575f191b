"""Make the demo benchmark's photographs and their licence table from packages that ship them.

    apt-get download gcompris-qt-data palapeli-data lomiri-wallpapers-16.04
    python scripts/make_demo_photos.py --debs . --out data/demo

Only photographs whose own record in its package says public domain or CC0 are taken; the record is
quoted in LICENSES.csv. Each is cropped to 4:3 around its middle and shrunk to 320x240, so that
compression and noise of the source are averaged away.
"""

from __future__ import annotations

import argparse
import csv
import io
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import skimage
from PIL import Image

SIZE = (320, 240)
SKIMAGE = "scikit-image 0.26 (Python package), skimage/data"
GCOMPRIS = "gcompris-qt-data 3.1-2 (Debian package)"
PALAPELI = "palapeli-data 4:22.12.3-1 (Debian package)"
LOMIRI = "lomiri-wallpapers-16.04 20.04.0-2 (Debian package)"
PALAPELI_FOLDER = "usr/share/palapeli/collection"


@dataclass(frozen=True)
class Photo:
    """One photograph: where it lies in its package and what the package says about it."""

    name: str
    title: str
    author: str
    package: str
    path: str
    origin: str
    licence: str

    @property
    def verified(self) -> str:
        """Where the statement of the licence was read."""
        where = {
            SKIMAGE: "docstring of the loading function in skimage/data/_fetchers.py",
            GCOMPRIS: "README beside the picture in the activity's resource file",
            PALAPELI: "X-KDE-PluginInfo-License in the puzzle's .desktop file",
            LOMIRI: "debian/copyright, paragraph of this file",
        }
        return where[self.package]


def _skimage(name: str, file: str, title: str, author: str, origin: str, licence: str) -> Photo:
    return Photo(name, title, author, SKIMAGE, file, origin, licence)


def _commons(name: str, path: str, title: str, author: str, page: str, licence: str) -> Photo:
    origin = f"https://commons.wikimedia.org/wiki/File:{page}"
    return Photo(name, title, author, GCOMPRIS, path, origin, licence)


def _palapeli(name: str, title: str, author: str, page: str) -> Photo:
    origin = f"https://commons.wikimedia.org/wiki/Image:{page}"
    path = f"{PALAPELI_FOLDER}/{name}.jpg"
    return Photo(name.replace("-", "_"), title, author, PALAPELI, path, origin, "Public domain")


PD, CC0 = "Public domain", "CC0-1.0"
WORLD = "explore_world_animals/resource/animals"
ERASE = "erase/resource"
SIGHTS = "categorization/resource/images"
PHOTOS = (
    _skimage(
        "astronaut", "astronaut.png", "Eileen Collins", "NASA", "https://flic.kr/p/r9qvLn", PD
    ),
    _skimage("camera", "camera.png", "Cameraman", "Lav Varshney", "skimage.data.camera", CC0),
    _skimage("cat", "chelsea.png", "Chelsea", "Stefan van der Walt", "skimage.data.chelsea", CC0),
    _skimage("coffee", "coffee.png", "Coffee cup", "Rachel Michetti", "skimage.data.coffee", CC0),
    _skimage(
        "rocket",
        "rocket.jpg",
        "Launch of DSCOVR",
        "SpaceX",
        "https://www.flickr.com/photos/spacexphotos/16511594820",
        PD,
    ),
    Photo(
        "seeding",
        "Seeding",
        "Clemens Engelhardt",
        LOMIRI,
        "usr/share/backgrounds/seeding_by_Clements_Engelhardt.jpg",
        "https://gitlab.com/ubports/development/core/lomiri-wallpapers",
        CC0,
    ),
    _palapeli(
        "cincinnati-bridge",
        "Roebling Suspension Bridge",
        "Derek Jensen",
        "Cincinnati-roebling-suspension-bridge.jpg",
    ),
    _palapeli(
        "citrus-fruits", "Citrus fruits", "US Department of Agriculture", "Citrus_fruits.jpg"
    ),
    _palapeli(
        "european-honey-bee",
        "European honey bee",
        "John Severns",
        "European_honey_bee_extracts_nectar.jpg",
    ),
    _commons(
        "bison", f"{WORLD}/bison.webp", "American bison", "Kurt Kaiser", "American_Bison_9.jpg", CC0
    ),
    _commons(
        "chameleon",
        f"{WORLD}/chameleon.webp",
        "Garden chameleon",
        "Nilesh1104",
        "GARDEN_CHAMELEON.jpeg",
        PD,
    ),
    _commons(
        "hedgehog",
        f"{WORLD}/hedgehog.webp",
        "Northern white-breasted hedgehog",
        "George Chernilevsky",
        "Erinaceus_roumanicus_2020_G2.jpg",
        PD,
    ),
    _commons("koala", f"{WORLD}/koala.webp", "Koala", "BurningWell", "Koala_Perth_Zoo.jpg", PD),
    _commons(
        "lemur",
        f"{WORLD}/lemur.webp",
        "Ring-tailed lemurs",
        "Mathias Appel",
        "Lemur_(37122852696).jpg",
        CC0,
    ),
    _commons("moose", f"{WORLD}/moose.webp", "Male moose", "Ryan Hagerty", "Male_Moose.jpg", PD),
    _commons(
        "polar_bear",
        f"{WORLD}/polar_bear.webp",
        "Polar bear",
        "anonymous",
        "Churchill_Wildlife_Management_Area_polar_bear30.JPG",
        PD,
    ),
    _commons(
        "macaw",
        f"{WORLD}/scarlet_macaw.webp",
        "Scarlet macaw",
        "Dcoetzee",
        "Scarlet_macaw_at_Cougar_Mountain_Zoological_Park.jpg",
        CC0,
    ),
    _commons(
        "crab",
        f"{ERASE}/crab.webp",
        "Sally Lightfoot crab",
        "Nosferattus",
        "Sally_Lightfoot_Crab_2019.jpg",
        CC0,
    ),
    _commons(
        "kingfisher",
        f"{ERASE}/kingfisher.webp",
        "Kingfisher",
        "Frank-2.0",
        "Eisvogel_kingfisher.jpg",
        CC0,
    ),
    _commons(
        "red_panda",
        f"{ERASE}/red_panda.webp",
        "Red panda",
        "Mathias Appel",
        "Red_Panda_(30324056733).jpg",
        CC0,
    ),
    _commons(
        "kinderdijk",
        f"{SIGHTS}/renewable/windmill13.webp",
        "Windmill at Kinderdijk",
        "Alf van Beem",
        "Dutch_windmill_at_Kinderdijk_pic43.JPG",
        CC0,
    ),
    _commons(
        "brandenburg_gate",
        f"{SIGHTS}/monuments/brandenburgGate.webp",
        "Brandenburg Gate at night",
        "Evans1551",
        "Brandenburg_Gate_(summer_2005).JPG",
        PD,
    ),
    _commons(
        "mount_rushmore",
        f"{SIGHTS}/monuments/mountRushmore.webp",
        "Mount Rushmore",
        "Jim Olah",
        "Mount_Rushmore_-a.jpg",
        CC0,
    ),
    _commons(
        "great_wall",
        f"{SIGHTS}/monuments/greatWall.webp",
        "Great Wall at Mutianyu",
        "Ahazan",
        "Great_wall_of_china-mutianyu_4.JPG",
        PD,
    ),
)


def resources(blob: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a Qt resource file, format version 1 to 3."""
    magic, version, tree, data, names = struct.unpack_from(">4sIIII", blob)
    if magic != b"qres":
        raise ValueError("not a Qt resource file")
    size = 14 if version < 2 else 22

    def walk(node: int, folder: str) -> Iterator[tuple[str, bytes]]:
        start = tree + node * size
        name_at, flags = struct.unpack_from(">IH", blob, start)
        (length,) = struct.unpack_from(">H", blob, names + name_at)
        text = names + name_at + 6
        name = blob[text : text + 2 * length].decode("utf-16-be") if node else ""
        path = f"{folder}/{name}" if folder else name
        if flags & 2:
            count, child = struct.unpack_from(">II", blob, start + 6)
            for offset in range(count):
                yield from walk(child + offset, path)
            return
        (offset,) = struct.unpack_from(">I", blob, start + 10)
        (length,) = struct.unpack_from(">I", blob, data + offset)
        content = blob[data + offset + 4 : data + offset + 4 + length]
        yield path, zlib.decompress(content[4:]) if flags & 1 else content

    yield from walk(0, "")


def unpack(debs: Path, package: str, target: Path) -> Path:
    """Unpack the one .deb of a package below `target`."""
    name = package.split()[0]
    found = sorted(debs.glob(f"{name}_*.deb"))
    if len(found) != 1:
        raise FileNotFoundError(f"{debs}: {len(found)} files {name}_*.deb; apt-get download {name}")
    subprocess.run(["dpkg-deb", "-x", str(found[0]), str(target)], check=True)
    return target


def load(photo: Photo, root: Path) -> Image.Image:
    """The photograph as its package ships it."""
    if photo.package == SKIMAGE:
        return Image.open(Path(skimage.__file__).parent / "data" / photo.path)
    if photo.package == GCOMPRIS:
        activity = photo.path.split("/")[0]
        blob = (root / f"usr/share/gcompris-qt/rcc/{activity}.rcc").read_bytes()
        content = dict(resources(blob))[f"gcompris/src/activities/{photo.path}"]
        return Image.open(io.BytesIO(content))
    return Image.open(root / photo.path)


def shrink(image: Image.Image) -> Image.Image:
    """Crop to the target's aspect around the middle, then reduce to `SIZE`; never enlarge."""
    image = image.convert("RGB")
    scale = min(image.width / SIZE[0], image.height / SIZE[1])
    if scale < 1:
        raise ValueError(f"{image.width}x{image.height} is smaller than {SIZE[0]}x{SIZE[1]}")
    width, height = scale * SIZE[0], scale * SIZE[1]
    left, top = (image.width - width) / 2, (image.height - height) / 2
    box = (left, top, left + width, top + height)
    return image.resize(SIZE, Image.Resampling.LANCZOS, box=box)


def main() -> None:
    """Write the photographs and LICENSES.csv."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--debs", type=Path, required=True, help="folder of the .deb files")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for package in (GCOMPRIS, PALAPELI, LOMIRI):
            unpack(options.debs, package, Path(folder))
        for photo in PHOTOS:
            image = shrink(load(photo, Path(folder)))
            image.save(options.out / f"{photo.name}.jpg", quality=95, subsampling=0)
    with (options.out / "LICENSES.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", "title", "author", "source", "origin", "licence", "verified"])
        for photo in sorted(PHOTOS, key=lambda photo: photo.name):
            row = [f"{photo.name}.jpg", photo.title, photo.author, f"{photo.package}: {photo.path}"]
            table.writerow([*row, photo.origin, photo.licence, photo.verified])


if __name__ == "__main__":
    main()
