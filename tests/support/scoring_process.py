"""Scoring in child processes, which tests can kill."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipiqa_plus.inference.bulk import batches, score_files
from clipiqa_plus.inference.scorer import Scorer, load
from tests.support.models import small_clip


def load_small(device: str = "cpu") -> Scorer:
    return load(backbone=small_clip(), device=device)


def load_cramped(device: str = "cpu") -> Scorer:
    """A scorer with room for two decoded pictures."""
    batches._MOST_PIXELS, batches._PIXELS_AHEAD = 1_000, 2_000
    return load_small(device)


def load_mortal(marker: Path, device: str = "cpu") -> Scorer:
    """A scorer that kills its process at its third batch, once: the marker says that it did."""
    scorer = load_small(device)
    score, calls = scorer.score_columns, 0

    def score_or_die(images: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            try:
                marker.touch(exist_ok=False)
            except FileExistsError:
                return score(images)
            os.kill(os.getpid(), signal.SIGKILL)
        return score(images)

    scorer.score_columns = score_or_die  # type: ignore[method-assign]
    return scorer


def load_nothing(device: str = "cpu") -> Scorer:
    raise ValueError("no weights there")


def run(sources: list[str], out: str, devices: tuple[str, ...] = ()) -> None:
    torch.set_num_threads(1)
    score_files(
        load_small(), sources, out, batch_size=4, workers=2, devices=devices, load=load_small
    )
