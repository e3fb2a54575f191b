"""The photographs that the embedded backbone learned from, and how copies of others are found."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from clipiqa_plus.data.demo import DemoIQA

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def photo_list():
    sys.path.insert(0, str(ROOT / "scripts"))
    import photo_list

    sys.path.remove(str(ROOT / "scripts"))
    return photo_list


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    """The 24 photographs of the demo benchmark."""
    module = DemoIQA(num_workers=0)
    reader = module.reader()
    return [reader(int(row)) for row in np.flatnonzero(module.annotations["level"] == 0)]


def changed(image: np.ndarray, change: str) -> np.ndarray:
    if change == "recompressed":
        return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 1)
    if change == "resized":
        return cv2.resize(image, (200, 150), interpolation=cv2.INTER_AREA)
    if change == "mirrored":
        return image[:, ::-1].copy()
    return np.clip(image * 0.7 + 20, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("change", ["recompressed", "resized", "mirrored", "another exposure"])
def test_a_changed_copy_is_alike_and_another_photograph_is_not(photo_list, photos, change):
    known = np.stack([photo_list.signature(photo) for photo in photos])
    copies = np.stack([photo_list.signature(changed(photo, change)) for photo in photos])
    assert (photo_list.likeness(copies, known) > photo_list.ALIKE).all()
    others = [np.delete(known, i, 0) for i in range(len(known))]
    strangers = [photo_list.likeness(known[i : i + 1], others[i])[0] for i in range(len(known))]
    assert max(strangers) < photo_list.ALIKE


def test_the_list_names_each_photograph_once():
    with (ROOT / "scripts" / "embedded_photos.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["file"] for row in rows}) == len({row["sha256"] for row in rows}) == len(rows)
    assert all(row["file"].startswith("ss03 (") and len(row["sha256"]) == 64 for row in rows)


def test_a_photograph_of_another_hash_is_refused(photo_list, tmp_path):
    (tmp_path / "Images").mkdir()
    cv2.imwrite(str(tmp_path / "Images" / "a.jpg"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "list.csv").write_text("file,sha256\na.jpg," + "0" * 64 + "\n")
    with pytest.raises(ValueError, match=r"a\.jpg is another file than in .*list\.csv"):
        list(photo_list.load(tmp_path, tmp_path / "list.csv"))
