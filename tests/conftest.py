"""What many tests share: small random CLIPs of the true class, and pictures made on the spot."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.data.benchmarks import Benchmark
from tests.support.models import small_clip

if "PYTEST_XDIST_WORKER" in os.environ:  # a worker for each core
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start
    torch.set_num_threads(1)
else:
    torch.set_num_threads(min(2, os.cpu_count() or 1))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test out of the user's caches."""
    monkeypatch.setenv("CLIPIQA_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def clip() -> FrozenCLIP:
    return small_clip()


@pytest.fixture
def make_picture() -> Callable[..., Path]:
    """Writes a random picture of a size to a path and returns the path."""

    def make(path: Path, width: int = 64, height: int = 48, seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path)
        return path

    return make


@pytest.fixture
def incomplete(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets a few rows pass for a whole benchmark."""

    def allow(*kinds: type[Benchmark]) -> None:
        for kind in kinds:
            monkeypatch.setattr(kind, "expected_rows", ())
            monkeypatch.setattr(kind, "official_sizes", None)

    return allow
