"""Pictures, a cache, and a count of what is encoded."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from clipiqa_plus.features import FeatureCache
from tests.support.feature_data import (
    NAMES,
    Counter,
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


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Counter:
    return Counter(monkeypatch)


@pytest.fixture
def processes() -> Any:
    """Child processes that have imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.feature_data"])
    return context
