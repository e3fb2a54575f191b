"""Pictures, a cache, and a count of what is encoded."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.features import FeatureCache
from tests.support.feature_data import (
    NAMES,
    draw,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of 12 pictures, one of them of another size."""
    for seed, name in enumerate(NAMES):
        draw(tmp_path / "pictures" / name, seed, (64, 32) if name == "c.png" else (48, 40))
    return tmp_path / "pictures"


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(str(tmp_path / "cache"))


class Counter:
    """Counts the images that are really encoded."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.images = 0
        encode = FrozenCLIP.encode_image

        def counting(clip: FrozenCLIP, images: Any) -> Tensor:
            self.images += len(images)
            return encode(clip, images)

        patch.setattr(FrozenCLIP, "encode_image", counting)

    def since(self) -> int:
        count, self.images = self.images, 0
        return count


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Counter:
    return Counter(monkeypatch)


@pytest.fixture
def processes() -> Any:
    """Child processes that have imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.feature_data"])
    return context
