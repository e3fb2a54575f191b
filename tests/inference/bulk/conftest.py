"""What tests of scoring share: pictures in folders and shards, and a scorer of a small CLIP."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.inference.scorer import Scorer, load

SIZES = [(48, 40), (40, 48), (48, 40), (64, 33)]


@pytest.fixture
def folder(tmp_path: Path, make_picture: Callable[..., Path]) -> Path:
    """Eleven pictures in three folders, and files beside them that are none."""
    for index in range(11):
        place = ("", "b/", "b/c/")[index % 3]
        width, height = SIZES[index % 4]
        suffix = ".PNG" if index == 5 else ".png"
        make_picture(tmp_path / f"in/{place}{index:02}{suffix}", width, height, index)
    (tmp_path / "in/notes.txt").write_text("no picture")
    (tmp_path / "in/._hidden.png").write_bytes(b"what a Mac leaves")
    return tmp_path / "in"


@pytest.fixture(scope="session")
def scorer(clip: FrozenCLIP) -> Scorer:
    return load(backbone=clip)


@pytest.fixture
def make_shard() -> Callable[..., Path]:
    """Writes (name, bytes) in order into a tar and returns its path."""

    def make(path: Path, files: Sequence[tuple[str, bytes]], compression: str = "") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, f"w:{compression}") as archive:
            for name, data in files:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        return path

    return make
