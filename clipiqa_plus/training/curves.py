"""Training curves, read from the logs beside a prompt file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS = ("prompts", "metric", "step", "value")
_BARS = "▁▂▃▄▅▆▇█"
_PARTS = ("train/", "val/")


def training_curves(sources: Mapping[str, str]) -> pd.DataFrame:
    """Read the training loss and validation metrics of training runs.

    Args:
        sources: Prompt files or run folders by name. A run folder holds one
            ``logs/version_*/metrics.csv`` for each start of the run.

    Returns:
        A table with columns ``prompts``, ``metric`` (such as ``train/loss``), ``step`` and
        ``value``, sorted by step. If a resumed run repeated a step, the last value is kept.
        Sources without logs have no rows.
    """
    frames = []
    for prompts, source in sources.items():
        path = Path(source)
        folder = path if path.is_dir() else path.parent
        folder = folder.parent if folder.name == "checkpoints" else folder
        logs = sorted(folder.glob("logs/version_*/metrics.csv"), key=_version)
        if not logs:
            continue
        table = pd.concat([pd.read_csv(log) for log in logs], ignore_index=True)
        metrics = [str(name) for name in table if str(name).startswith(_PARTS)]
        long = table.melt("step", metrics, "metric").dropna()
        long = long.drop_duplicates(["metric", "step"], keep="last")
        long = long.sort_values(["metric", "step"], kind="stable")
        frames.append(long.assign(prompts=prompts)[list(COLUMNS)])
    empty = pd.DataFrame(columns=list(COLUMNS))
    return pd.concat(frames, ignore_index=True) if frames else empty


def sparkline(values: Iterable[float], width: int = 40) -> str:
    """Draw values as a line of block characters, from ▁ (smallest) to █ (largest).

    Args:
        values: Finite numbers.
        width: Maximum number of characters; longer series are averaged in groups.
    """
    numbers = np.asarray(list(values), np.float64)
    if not len(numbers):
        return ""
    means = np.array([p.mean() for p in np.array_split(numbers, min(len(numbers), width))])
    span = np.ptp(means)
    place = (means - means.min()) / span if span > 0 else np.zeros(len(means))
    return "".join(_BARS[round(p * (len(_BARS) - 1))] for p in place)


def _version(path: Path) -> int:
    return int(path.parent.name.removeprefix("version_"))
