"""Damage, broken pictures and folders that cannot be written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.data.base import FileReader
from clipiqa_plus.features import FeatureCache, verify
from clipiqa_plus.features.store import FACTS_FILE
from tests.support.feature_data import (
    ALL,
    NAMES,
    Counter,
    Few,
    content,
    draw,
    shards,
)
from tests.support.models import small_clip


@pytest.mark.parametrize("how", ["flipped bit", "cut", "emptied", "foreign"])
def test_damaged_shard_is_named_and_encoded_again(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, encoded: Counter, how: str, tmp_path: Path
) -> None:
    data = Few(root, NAMES)
    good = cache.tables(clip, data, ALL)["train"].features
    encoded.since()
    (shard,) = shards(cache)
    whole = shard.read_bytes()
    if how == "flipped bit":
        shard.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    elif how == "cut":
        shard.write_bytes(whole[: len(whole) // 2])
    elif how == "emptied":
        shard.write_bytes(b"")
    else:
        other = FeatureCache(str(tmp_path / "other"))
        other.tables(small_clip(seed=1), data, ALL)
        shard.unlink()
        (foreign,) = shards(other)
        shard = shard.with_name(foreign.name)
        shutil.copy(foreign, shard)
    assert [damage.path for damage in verify(cache.dir)] == ([] if how == "foreign" else [shard])
    encoded.since()
    with pytest.warns(UserWarning, match=f"{shard.name} is damaged"):
        again = cache.tables(clip, data, ALL)["train"].features
    assert encoded.since() == 12
    assert torch.equal(again, good)
    assert shard not in [path for path in shards(cache) if path.read_bytes() != whole]
    assert verify(cache.dir) == []


def test_store_that_describes_another_is_refused(
    clip: FrozenCLIP, root: Path, cache: FeatureCache
) -> None:
    cache.tables(clip, Few(root, NAMES), ["test"])
    (facts,) = cache.dir.glob(f"*/{FACTS_FILE}")
    text = facts.read_text()
    facts.write_text(text.replace('"dtype": "fp32"', '"dtype": "fp16"'))
    with pytest.raises(ValueError, match=r"store\.json describes another store"):
        cache.tables(clip, Few(root, NAMES), ["test"])
    assert [damage.path for damage in verify(cache.dir)] == [facts]
    facts.write_text(text[:40])
    with pytest.raises(ValueError, match=r"store\.json is damaged"):
        cache.tables(clip, Few(root, NAMES), ["test"])


def test_broken_picture_is_named_and_the_others_are_kept(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, encoded: Counter
) -> None:
    (root / "f.png").write_bytes((root / "f.png").read_bytes()[:200])
    cache = FeatureCache(str(cache.dir), batch_size=1)
    data = Few(root, NAMES)
    with pytest.raises(ValueError, match=r"f\.png: not a readable image"):
        cache.tables(clip, data, ALL)
    done = encoded.since()
    assert len(content(cache.dir)) == done
    draw(root / "f.png", 5)
    cache.tables(clip, data, ALL)
    assert encoded.since() == 12 - done


def test_picture_too_small_is_named(clip: FrozenCLIP, root: Path, cache: FeatureCache) -> None:
    draw(root / "f.png", 0, (48, 20))
    with pytest.raises(ValueError, match=r"f\.png: a picture of 48x20 pixels is too small"):
        cache.tables(clip, Few(root, NAMES), ALL)


def test_picture_that_changes_while_it_is_read(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = FileReader.__call__

    def replacing(reader: FileReader, row: int) -> Any:
        draw(root / "f.png", 99)
        return read(reader, row)

    monkeypatch.setattr(FileReader, "__call__", replacing)
    with pytest.raises(ValueError, match=r"f\.png has changed since the extraction began"):
        cache.tables(clip, Few(root, NAMES), ALL)


def test_features_that_are_not_finite_are_refused(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = FrozenCLIP.encode_image

    def overflowing(self: FrozenCLIP, images: Any) -> Tensor:
        features = encode(self, images)
        if images.shape[-1] == 64:  # c.png
            features[0, 3] = float("nan")
        return features

    monkeypatch.setattr(FrozenCLIP, "encode_image", overflowing)
    with pytest.raises(ValueError, match=r"c\.png: its features are not finite"):
        cache.tables(clip, Few(root, NAMES), ALL)


def test_missing_picture_is_named(clip: FrozenCLIP, root: Path, cache: FeatureCache) -> None:
    data = Few(root, NAMES)
    (root / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"b\.png: no such image"):
        cache.tables(clip, data, ALL)


def test_cache_that_cannot_be_written(clip: FrozenCLIP, root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written"):
        FeatureCache(str(tmp_path / "file" / "cache")).tables(clip, Few(root, NAMES), ALL)


def test_complete_cache_may_be_read_only(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cache.tables(clip, Few(root, NAMES), ALL)["test"].features

    def refuse(*args: Any, **options: Any) -> None:
        raise PermissionError("read-only")

    for name in ("replace", "utime", "mkdir"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(Path, "write_text", refuse)
    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    assert torch.equal(cache.tables(clip, Few(root, NAMES), ALL)["test"].features, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"batch_size": 0}, "batch_size of the cache is 0"), ({"dtype": "fp8"}, "dtype 'fp8'")],
)
def test_bad_options(
    clip: FrozenCLIP, root: Path, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureCache(str(tmp_path / "c"), **options).tables(clip, Few(root, NAMES), ALL)
