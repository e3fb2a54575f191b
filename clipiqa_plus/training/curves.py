"""What a training run logged, found beside its prompt file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS = ("prompts", "metric", "step", "value")
_BARS = "▁▂▃▄▅▆▇█"
_PARTS = ("train/", "val/")


def training_curves(sources: Mapping[str, str]) -> pd.DataFrame:
    """Read the training loss and the validation metrics of the runs that learned prompts.

    Args:
        sources: Prompt files or folders of runs, by name; a run folder has
            ``logs/version_*/metrics.csv``, one for each time the run was started or resumed.

    Returns:
        ``prompts``, ``metric`` (such as ``train/loss``), ``step`` and ``value``, in the order of
        steps; where a resumed run did a step again, its last value. No row of a file without logs.
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
    """Return values as a row of bars, the least ▁ and the most █.

    Args:
        values: Finite numbers in order.
        width: Most characters; of more values neighbours are averaged.
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
