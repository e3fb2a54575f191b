"""The folder of a comparison before and after: tables, record, and what the terminal shows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from clipiqa_plus.evaluation.results import printable
from clipiqa_plus.evaluation.terminal import FittedTable
from clipiqa_plus.training.run_folder import versions, write_json, write_text

PICTURES, SUMMARY, LEFT_OUT = "pictures.csv", "summary.csv", "left_out.csv"
RECORD = "comparison.json"
"""Written last: if it exists, the comparison is finished."""
SIDES = ("before", "after")
_SCORES = ("{}.parquet", ".{}.parquet.jsonl", "{}.parquet.json", "{}.failed.csv")
_COLUMNS = (
    *("score", "verdict", "difference", "difference_low", "difference_high"),
    *("win_rate", "win_rate_low", "win_rate_high", "p_holm", "before", "after", "n"),
)


def start(folder: Path, overwrite: bool = False) -> None:
    """Make the folder of a comparison ready.

    Args:
        folder: The folder; created if necessary.
        overwrite: Remove the files of an earlier comparison, and no others.

    Raises:
        FileExistsError: If it holds a finished comparison.
    """
    if (folder / RECORD).exists() and not overwrite:
        raise FileExistsError(
            f"{folder}: a finished comparison; replace it with --overwrite, or name another "
            "folder with --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if overwrite:
        scores = [name.format(side) for side in SIDES for name in _SCORES]
        for name in (RECORD, PICTURES, SUMMARY, LEFT_OUT, *scores):
            (folder / name).unlink(missing_ok=True)


def save(
    folder: Path,
    summary: pd.DataFrame,
    pictures: pd.DataFrame,
    left_out: Mapping[str, str],
    settings: Mapping[str, Any],
) -> None:
    """Write a finished comparison.

    Args:
        folder: Gets ``summary.csv``, ``pictures.csv``, ``left_out.csv`` and ``comparison.json``.
        summary: See :func:`~clipiqa_plus.evaluation.before_after.statistics.summarise`.
        pictures: See :func:`~clipiqa_plus.evaluation.before_after.folders.score_folders`.
        left_out: Reasons by path of pictures that were left out.
        settings: Both folders, and everything that determines the scores.
    """
    write_text(folder / PICTURES, pictures.to_csv(index=False))
    write_text(folder / SUMMARY, summary.to_csv(index=False))
    rows = pd.DataFrame(list(left_out.items()), columns=["image", "reason"])
    write_text(folder / LEFT_OUT, rows.to_csv(index=False))
    record = {"settings": dict(settings), "left_out": len(left_out), "versions": versions()}
    write_json(folder / RECORD, record)


def render(summary: pd.DataFrame) -> FittedTable:
    """Return the summary as a table for the terminal."""
    notes = ["[95% interval] and p by sign flips (win rate: Wilson); p holm: over all scores"]
    return FittedTable(printable(shown(summary)), "after minus before", notes)


def shown(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of the summary that people read."""
    return summary[list(_COLUMNS)]


def read_record(folder: Path) -> dict[str, Any]:
    """Return what :func:`save` recorded.

    Raises:
        FileNotFoundError: If the folder holds no finished comparison.
    """
    path = folder / RECORD
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file: no finished comparison; run clipiqa compare with --out"
        )
    return dict(json.loads(path.read_text()))


def side_names(before: str, after: str) -> tuple[str, str]:
    """Return what to call two folders: their last names, or the whole paths if these are equal."""
    names = tuple(Path(folder).resolve().name for folder in (before, after))
    return (names[0], names[1]) if names[0] != names[1] else (before, after)


def sentences(summary: pd.DataFrame, names: tuple[str, str] = SIDES) -> list[str]:
    """Return a sentence for each score: is after better than before?

    Args:
        summary: See :func:`~clipiqa_plus.evaluation.before_after.statistics.summarise`.
        names: What both sides are called.
    """
    return [f"{row.score}: {verdict(row, names)}; {effect(row)}" for row in summary.itertuples()]


def verdict(row: Any, names: tuple[str, str]) -> str:
    """Return which side is better by a row of the summary."""
    before, after = names
    if row.verdict in ("better", "worse"):
        return f"{after} is {row.verdict} than {before}"
    reasons = {"too few": ": too few pictures for a test", "undefined": ""}
    if row.verdict in reasons:
        return f"{after} cannot be compared with {before}{reasons[row.verdict]}"
    return f"{after} is not told apart from {before}"


def effect(row: Any) -> str:
    """Return the numbers behind a verdict: difference, interval, p, win rate."""
    difference = f"{row.difference:+.3f}"
    wins = f"it wins on {row.win_rate:.0%} of {row.n:,} pictures"
    if math.isnan(row.p_holm):
        return f"{difference}; {wins}"
    difference += f" [{row.difference_low:+.3f}, {row.difference_high:+.3f}]"
    p = "p < 0.001" if row.p_holm < 0.001 else f"p = {row.p_holm:.3f}"
    return f"{difference}, {p}; {wins} [{row.win_rate_low:.0%}, {row.win_rate_high:.0%}]"
