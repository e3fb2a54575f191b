"""A rating page of a few random pictures, and what a person would save from it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipiqa_plus.evaluation.rating import Suggestions
from clipiqa_plus.report.rating import write_rating_page

COUNT = 8


def rating_page(folder: Path, kind: str, size: tuple[int, int] = (120, 90)) -> Path:
    """Pictures below ``photos`` and the page ``rate.html``."""
    rng = np.random.default_rng(0)
    (folder / "photos" / "sub").mkdir(parents=True, exist_ok=True)
    names = [f"sub/{i}.png" if i % 2 else f"a, b {i}.png" for i in range(COUNT)]
    for name in names:
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(folder / "photos" / name)
    rows = np.arange(COUNT)
    chosen = rows if kind == "stars" else rows.reshape(-1, 2)
    found = Suggestions(kind, names, chosen, ["a", "b"])  # type: ignore[arg-type]
    return write_rating_page(found, folder / "photos", folder / "rate.html")[0]


def task_of(page: Path) -> dict[str, Any]:
    """The task in a page, read without the code under test."""
    found = re.search(r'id="task">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    task: dict[str, Any] = json.loads(found[1])
    return task
