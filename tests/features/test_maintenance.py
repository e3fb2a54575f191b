"""Info, prune and spot checks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.data.transforms import FlipViews, PlainView
from clipiqa_plus.features import FeatureCache, info, prune
from tests.support.feature_data import (
    ALL,
    NAMES,
    Few,
    draw,
    shards,
)
from tests.support.models import small_clip


def test_info(clip: FrozenCLIP, root: Path, cache: FeatureCache) -> None:
    with pytest.raises(FileNotFoundError, match="no such feature cache"):
        info(cache.dir)
    before = time.time()
    cache.tables(clip, Few(root, NAMES, train_views=FlipViews()), ALL)
    cache.tables(small_clip(seed=1), Few(root, NAMES), ["test"])
    newest, oldest = info(cache.dir)
    assert (oldest.backbone, newest.backbone) == (clip.name, "small-resnet-1")
    assert (oldest.features, newest.features) == (20, 4)
    assert oldest.facts["weights_sha256"] == clip.fingerprint
    assert oldest.bytes == sum(p.stat().st_size for p in oldest.path.glob("*.safetensors"))
    assert before - 1 < oldest.created <= oldest.last_used + 1
    assert oldest.stale is None


def test_prune(
    clip: FrozenCLIP, root: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Few(root, NAMES)
    cache.tables(clip, data, ["test"])
    (used,) = shards(cache)
    cache.tables(small_clip(seed=1), data, ["test"])
    (unused,) = (path for path in shards(cache) if path != used)
    old = time.time() - 40 * 86400
    for shard in (used, unused):
        os.utime(shard, (old, old))
    cache.tables(clip, data, ["test"])  # reading is use
    part = used.with_name(".x.safetensors.1.part")
    part.write_bytes(b"half")
    assert {item.path for item in prune(cache.dir, dry_run=True)} == {part}
    assert part.exists()
    removed = prune(cache.dir, unused_days=30)
    assert {item.path for item in removed} == {part, unused}
    assert not part.exists()
    assert not unused.parent.exists()  # nothing is left of that store
    assert used.exists()
    used.write_bytes(used.read_bytes()[:-1])
    assert [item.path for item in prune(cache.dir)] == [used]
    cache.tables(clip, data, ["test"])
    monkeypatch.setattr("clipiqa_plus.features.maintenance.FORMAT", 10**6)
    assert info(cache.dir)[0].stale
    (item,) = prune(cache.dir)
    assert "format" in item.reason
    assert info(cache.dir) == []
    with pytest.raises(ValueError, match="unused_days is -1"):
        prune(cache.dir, unused_days=-1)


def test_prune_passes_over_a_store_at_work(
    clip: FrozenCLIP, root: Path, cache: FeatureCache
) -> None:
    data = Few(root, NAMES)
    cache.tables(clip, data, ["test"])
    store = cache._store(clip, data)
    with store.lock:
        assert prune(cache.dir, unused_days=0) == []
    assert len(prune(cache.dir, unused_days=0)) == 1


@pytest.mark.slow
def test_spot_check(
    clip: FrozenCLIP,
    root: Path,
    cache: FeatureCache,
    monkeypatch: pytest.MonkeyPatch,
    make_picture: Callable[..., Path],
) -> None:
    data = Few(root, NAMES, train_views=FlipViews())
    cache.tables(clip, data, ALL)
    check = cache.spot_check(clip, data, "train", samples=5)
    assert (check.compared, check.missing) == (10, 0)
    assert check.difference < 1e-5
    assert check.same
    draw(root / NAMES[0], 321)
    check = cache.spot_check(clip, data, "train", samples=100)
    assert (check.compared, check.missing) == (14, 2)
    # Other code behind the same facts is found out.
    encode = FrozenCLIP.encode_image
    monkeypatch.setattr(FrozenCLIP, "encode_image", lambda self, x: encode(self, x.flip(-2)))
    assert not cache.spot_check(clip, data, "train", samples=5).same


def test_views_of_evaluation_are_plain(root: Path) -> None:
    assert isinstance(Few(root, NAMES).dataset("test").views, PlainView)
