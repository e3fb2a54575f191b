"""Scoring in a process of its own, to be killed by a test."""

from __future__ import annotations

import torch

from clipiqa_plus.scorer import load
from clipiqa_plus.scores import score_files
from tests.conftest import small_clip


def run(sources: list[str], out: str) -> None:
    torch.set_num_threads(1)
    score_files(load(backbone=small_clip()), sources, out, batch_size=4, workers=2)
