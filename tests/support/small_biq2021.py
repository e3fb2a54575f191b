"""BIQ2021 with 22 pictures, served by a local git repository."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from clipiqa_plus.data.benchmarks import BIQ2021
from clipiqa_plus.data.fetch.sources import GitRepository
from tests.support.git_server import repository

TRAIN = [f"ss01 ({n}).jpg,{n / 50:.4f},," for n in range(20)]


TEST = ["ss02 (1014).jpg,0.7321", "ss03 (954).jpg,0.6337"]


NAMES = [row.split(",")[0] for row in [*TRAIN, *TEST]]


FILES = {f"Images/{name}": random.Random(name).randbytes(400) for name in NAMES} | {
    "Train (Images and MOS).csv": "\n".join(["Image Name,MOS,,", *TRAIN]).encode(),
    "Test (Images and MOS).csv": "\n".join(["Image Name,MOS", *TEST]).encode(),
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[str, str]:
    url, commit = repository(tmp_path / "server", FILES)
    monkeypatch.setattr(BIQ2021, "count", 22)
    monkeypatch.setattr(BIQ2021, "official_sizes", (18, 2, 2))
    monkeypatch.setattr(BIQ2021, "fetch_from", (GitRepository(url, commit, size=10_000),))
    return url, commit
