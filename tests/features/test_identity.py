"""What is encoded again, and what is not: pictures, views and facts of the encoding."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.data.transforms import AugmentedViews, FlipViews
from clipiqa_plus.features import FeatureCache, FeatureStore
from clipiqa_plus.features.identity import pixel_probe
from clipiqa_plus.features.store import FACTS_FILE
from tests.support.feature_data import (
    ALL,
    NAMES,
    Counter,
    Few,
    content,
    direct,
    draw,
)
from tests.support.models import small_clip


def test_encodes_once(clip: FrozenCLIP, root: Path, cache: FeatureCache, encoded: Counter) -> None:
    data = Few(root, NAMES, train_views=FlipViews())
    first = cache.tables(clip, data, ALL)
    assert encoded.since() == 8 * 2 + 4
    second = cache.tables(clip, data, ALL)
    assert encoded.since() == 0
    assert torch.equal(first["train"].features, second["train"].features)


def test_copies_of_a_picture_are_encoded_once(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, encoded: Counter
) -> None:
    shutil.copy(root / "a.png", root / "b.png")  # both in train
    shutil.copy(root / "a.png", root / "l.png")  # in test
    tables = cache.tables(clip, Few(root, NAMES), ALL)
    assert encoded.since() == 10
    a, b = tables["train"](torch.tensor([0, 1]), torch.tensor([0, 0]))
    (last,) = tables["test"](torch.tensor([11]), torch.tensor([0]))
    assert torch.equal(a, b)
    assert torch.equal(a, last)


def test_part_order_and_place_of_a_picture_do_not_matter(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, encoded: Counter, tmp_path: Path
) -> None:
    before = cache.tables(clip, Few(root, NAMES), ALL)
    encoded.since()
    moved = tmp_path / "elsewhere"
    root.rename(moved)
    for name in NAMES[:3]:
        (moved / name).rename(moved / f"new-{name}")
        os.utime(moved / f"new-{name}", (1, 1))
    names = [f"new-{name}" if name in NAMES[:3] else name for name in NAMES][::-1]
    after = cache.tables(clip, Few(moved, names), ALL)
    assert encoded.since() == 0
    # Row 0 was in train; reversed it is row 11, in test.
    was = before["train"](torch.tensor([0]), torch.tensor([0]))
    assert torch.equal(after["test"](torch.tensor([11]), torch.tensor([0])), was)


def test_plain_picture_is_shared_with_the_flips(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, encoded: Counter
) -> None:
    cache.tables(clip, Few(root, NAMES), ALL)
    assert encoded.since() == 12
    cache.tables(clip, Few(root, NAMES, train_views=FlipViews()), ALL)
    assert encoded.since() == 8  # the mirror images of train only
    assert len(content(cache.dir)) == 20


def test_changed_picture_alone_is_encoded_again(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, encoded: Counter
) -> None:
    data = Few(root, NAMES, train_views=FlipViews())
    cache.tables(clip, data, ALL)
    encoded.since()
    path = root / NAMES[1]
    status = path.stat()
    draw(path, 1000)
    path.write_bytes(path.read_bytes().ljust(status.st_size, b"\0"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as cp -p and archives do
    table = cache.tables(clip, data, ALL)["train"]
    assert encoded.since() == 2
    found = table(torch.tensor([1]), torch.tensor([1]))[0]
    torch.testing.assert_close(found, direct(clip, path, flip=True), atol=1e-5, rtol=0)


def test_digests_are_remembered_only_while_a_file_is_unchanged(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clipiqa_plus.features import identity

    data = Few(root, NAMES)
    read: list[Path] = []
    digest = identity._digest

    def reading(path: Path) -> Any:
        read.append(path)
        return digest(path)

    monkeypatch.setattr(identity, "_digest", reading)
    for _ in range(2):
        cache.tables(clip, data, ALL)
        assert len(read) == 12  # so young a file may change without a new time
        read.clear()
    monkeypatch.setattr(identity, "_RACY", 0)
    cache.tables(clip, data, ALL)
    read.clear()
    cache.tables(clip, data, ALL)
    assert not read
    path = root / NAMES[2]
    status = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    cache.tables(clip, data, ALL)
    assert read == [path]


def test_other_readers_identify_their_pictures(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, encoded: Counter
) -> None:
    class Painter:
        def __init__(self, shade: int) -> None:
            self.shade = shade

        def __call__(self, row: int) -> Any:
            return np.full((40, 40, 3), 10 * row + self.shade, dtype=np.uint8)

        def identity(self, row: int) -> str:
            return f"shade {10 * row + self.shade}"

    class Painted(Few):
        painter = Painter(0)

        def reader(self) -> Painter:
            return self.painter

    data = Painted(root, NAMES)
    cache.tables(clip, data, ALL)
    assert encoded.since() == 12
    data.painter = Painter(10)  # each shade moves on by one row
    table = cache.tables(clip, data, ALL)["train"]
    assert encoded.since() == 1
    image = torch.full((1, 3, 40, 40), 40, dtype=torch.uint8)
    found = table(torch.tensor([3]), torch.tensor([0]))
    torch.testing.assert_close(found, clip.encode_image(image), atol=1e-5, rtol=0)


def test_more_views_and_another_row_of_random_views(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, encoded: Counter
) -> None:
    def views(count: int, seed: int = 0) -> AugmentedViews:
        return AugmentedViews([{"RandomCrop": {"height": 32, "width": 32}}], count, seed)

    cache.tables(clip, Few(root, NAMES, train_views=views(2)), ["train"])
    assert encoded.since() == 16
    cache.tables(clip, Few(root, NAMES, train_views=views(3)), ["train"])
    assert encoded.since() == 8  # the third view of each
    # A random view depends on the row: rows that moved by one have other views.
    table = cache.tables(clip, Few(root, NAMES[1:], train_views=views(2)), ["train"])["train"]
    assert encoded.since() == 14
    data = Few(root, NAMES[1:], train_views=views(2))
    image = torch.from_numpy(data.dataset("train").picture(3, 1).copy()).movedim(-1, 0)
    torch.testing.assert_close(
        table(torch.tensor([3]), torch.tensor([1])),
        clip.encode_image(image[None]),
        atol=1e-5,
        rtol=0,
    )
    cache.tables(clip, Few(root, NAMES, train_views=views(2, seed=1)), ["train"])
    assert encoded.since() == 17  # 16 of the cache, and the one encoded above


@pytest.mark.slow
def test_every_fact_of_the_encoding_has_its_own_store(root: Path, tmp_path: Path) -> None:
    def folders(backbone: FrozenCLIP, dtype: Any = "fp32", **options: Any) -> set[str]:
        cache = FeatureCache(str(tmp_path / "cache"), dtype=dtype)
        cache.tables(backbone, Few(root, NAMES, **options), ["test"])
        return {path.parent.name for path in cache.dir.glob(f"*/{FACTS_FILE}")}

    sizes = [len(folders(small_clip()))]
    sizes.append(len(folders(small_clip(seed=1))))
    sizes.append(len(folders(small_clip(pos_embedding="grid"))))
    sizes.append(len(folders(small_clip(pos_embedding="table"))))
    weights = "small-resnet-0".ljust(64, "0")
    half = FrozenCLIP(small_clip().clip, "small-resnet-0", weights, precision="bf16")
    sizes.append(len(folders(half)))
    sizes.append(len(folders(small_clip(), resize=36)))
    sizes.append(len(folders(small_clip(), resize=[36, 40])))
    sizes.append(len(folders(small_clip(), dtype="fp16")))
    assert sizes == [1, 2, 3, 4, 5, 6, 7, 8]
    renamed = FrozenCLIP(small_clip().clip, "by-path", weights)
    assert len(folders(renamed)) == 8  # the same weights by another name


def test_stores_of_earlier_versions_are_found_again(tmp_path: Path) -> None:
    """They named the positional embedding by a boolean."""
    for way, earlier in (("none", False), ("grid", True), ("table", "table")):
        store = FeatureStore(tmp_path, small_clip(way).describe(), 32)
        assert store.facts == {
            "format": 2,
            "weights_sha256": "small-resnet-0".ljust(64, "0"),
            "pos_embedding": earlier,
            "precision": "fp32",
            "dim": 32,
            "resize": None,
            "dtype": "fp32",
            "pixels": pixel_probe(),
        }
    half = FrozenCLIP(small_clip().clip, "small", "0" * 64, precision="fp16")
    # Its features changed with the order of rounding: those of earlier versions must not be found.
    assert FeatureStore(tmp_path, half.describe(), 32).facts["rounding"] == 2


def test_decoder_that_gives_other_pixels_has_its_own_store(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.tables(clip, Few(root, NAMES), ["test"])
    monkeypatch.setattr("clipiqa_plus.features.store.pixel_probe", lambda: "other")
    cache.tables(clip, Few(root, NAMES), ["test"])
    assert len(list(cache.dir.glob(f"*/{FACTS_FILE}"))) == 2


def test_encoding_is_the_one_of_this_format() -> None:
    """Stored features must not outlive a change of the encoding.

    If this fails because decoding, resizing or encoding gives other features on purpose: raise
    FORMAT in features/store.py and take the new numbers over.
    """
    y, x = torch.meshgrid(torch.arange(40), torch.arange(56), indexing="ij")
    image = torch.stack([x * 4, y * 6, (x + y) * 2]).to(torch.uint8)
    for clip, expected in [
        (small_clip(), GOLDEN["dropped"]),
        (small_clip(pos_embedding="grid"), GOLDEN["kept"]),
        (small_clip(vit=True), GOLDEN["vit"]),
    ]:
        found = clip.encode_image(image[None])[0, :4]
        # Machines differ by 1e-6; a changed rule by far more.
        torch.testing.assert_close(found, torch.tensor(expected), atol=1e-4, rtol=0)


GOLDEN = {
    "dropped": [0.18807, 0.06697, -0.1529, -0.13306],
    "kept": [0.21882, 0.0832, -0.18062, -0.07336],
    "vit": [-0.08885, -0.18559, 0.23991, 0.08699],
}
