"""SRCC within each content and within each distortion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from clipiqa_plus.evaluation.comparison import adjust, rank_correlation
from clipiqa_plus.evaluation.units import Units, units_of
from clipiqa_plus.metrics.resampling import FEWEST_UNITS, LEVEL, bootstrap, interval
from clipiqa_plus.metrics.significance import compare_correlations

Floats = NDArray[np.float64]

FEWEST_PICTURES = 5
"""Fewest pictures of a group in the table."""
RESAMPLES = 1000
"""Resamples and random sign patterns of one group: there may be hundreds of groups."""
COLUMNS = (
    *("by", "group", "n", "prompts", "SRCC", "SRCC_low", "SRCC_high"),
    *("against", "dSRCC", "p_SRCC", "p_holm", "verdict"),
)


def breakdown(scores: pd.DataFrame, sources: list[str]) -> pd.DataFrame:
    """Return SRCC of each source within each content and each distortion of one target.

    Groups of fewer than :data:`FEWEST_PICTURES` pictures are left out.

    Args:
        scores: Scores per picture of one target.
        sources: Names of the sources; the others are compared with the first.

    Returns:
        One row per group and source: ``by`` (``content`` or ``distortion``), ``group``, ``n``,
        ``prompts``, ``SRCC`` with the ends of its 95% interval, and the difference to the first
        source (``against``) with its p-value by sign flips, corrected (Holm) over the groups of one
        kind and all sources, and the verdict. The interval is that of a bootstrap over contents
        where pictures of the group share contents; otherwise that of Fisher's z with the variance
        (1 + SRCC^2 / 2) / (n - 3) (Bonett and Wright, Psychometrika 65(1), 2000).
    """
    tables = [pd.DataFrame(columns=list(COLUMNS))]
    for by in ("content", "distortion"):
        if by not in scores:
            continue
        rows: list[dict[str, Any]] = []
        for group, part in scores.groupby(by, sort=False):
            if len(part) >= FEWEST_PICTURES:
                # Within a content its pictures are the units.
                units = units_of(part.drop(columns="content") if by == "content" else part)
                rows += [
                    {"by": by, "group": str(group), **row} for row in _group(part, sources, units)
                ]
        if rows:
            table = pd.DataFrame(
                rows, columns=[c for c in COLUMNS if c not in ("p_holm", "verdict")]
            )
            tables.append(_judged(table))
    return pd.concat(tables[1:] or tables, ignore_index=True)


def _group(scores: pd.DataFrame, sources: list[str], units: Units) -> list[dict[str, Any]]:
    """The rows of one group."""
    mos, n = scores["mos"].to_numpy(), len(scores)
    predictions = np.stack([scores[source].to_numpy() for source in sources])
    pairs = [(0, index) for index in range(1, len(sources))]
    test = compare_correlations(predictions, mos, pairs, units.groups, RESAMPLES)["SRCC"]
    found = [rank_correlation(row, mos) for row in predictions]
    if units.shared:
        enough = units.size >= FEWEST_UNITS
        resamples = RESAMPLES if enough else 0
        samples = bootstrap(predictions, mos, units.groups, resamples, metrics=("SRCC",))
        ends = [interval(row) for row in samples["SRCC"]]
    else:
        ends = [fisher_interval(value, n) for value in found]
    rows = []
    for index, source in enumerate(sources):
        row = {"n": n, "prompts": source, "SRCC": found[index], "against": ""}
        row |= dict(zip(("SRCC_low", "SRCC_high"), ends[index], strict=True))
        if index:
            row |= {"against": sources[0], "dSRCC": found[index] - found[0]}
            row["p_SRCC"] = float(test.p[index - 1])
        rows.append(row)
    return rows


def _judged(table: pd.DataFrame) -> pd.DataFrame:
    """Add ``p_holm`` and ``verdict``; of the first source NaN and empty."""
    judged = adjust(table.astype({"dSRCC": float, "p_SRCC": float}))
    return judged.assign(verdict=judged["verdict"].where(judged["against"] != "", ""))


def fisher_interval(r: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the interval of an SRCC of n independent pictures; see :func:`breakdown`.

    NaN for fewer than 4 pictures, or without a correlation; [1, 1] for a perfect one.
    """
    if n < 4 or np.isnan(r):
        return (float("nan"), float("nan"))
    half = stats.norm.isf((1 - level) / 2) * np.sqrt((1 + r**2 / 2) / (n - 3))
    with np.errstate(divide="ignore"):
        z = np.arctanh(np.clip(r, -1, 1))
    return float(np.tanh(z - half)), float(np.tanh(z + half))
