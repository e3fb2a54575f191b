"""All further tables of an evaluation, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from clipiqa_plus.evaluation.analyses.breakdown import breakdown
from clipiqa_plus.evaluation.analyses.ratings import missing_ratings
from clipiqa_plus.evaluation.analyses.standards import krasula_tables, p1401_tables
from clipiqa_plus.evaluation.comparison import adjust
from clipiqa_plus.evaluation.units import WITHIN_CONTENT
from clipiqa_plus.metrics.resampling import RESAMPLES

BREAKDOWN, OVERLAP, DISTRIBUTIONS = "breakdown", "overlap", "distributions"
KRASULA, KRASULA_PAIRS = "krasula", "krasula_pairs"
P1401, P1401_PAIRS = "p1401", "p1401_pairs"
DECIDING = {KRASULA_PAIRS: ("AUC_BW", True), P1401_PAIRS: ("RMSE", False)}
"""The metric whose p-value is corrected and gives the verdict, and whether higher is better."""


class Analyses(NamedTuple):
    """The further tables of a data set."""

    tables: dict[str, pd.DataFrame]
    """By name, each with a column ``target``; empty ones are left out."""
    left_out: list[str]
    """What could not be computed and why, one sentence for each target."""


def analyse(scores: pd.DataFrame, sources: Sequence[str], resamples: int = RESAMPLES) -> Analyses:
    """Compute the further tables of a data set.

    Args:
        scores: What :func:`~clipiqa_plus.evaluation.evaluation.score` returned.
        sources: Names of the sources; the others are compared with the first.
        resamples: Number of random sign patterns.
    """
    names = list(sources)
    tables: dict[str, list[pd.DataFrame]] = {}
    left_out = []
    for target, part in scores.groupby("target", sort=False):
        found = {BREAKDOWN: breakdown(part, names)}
        found[KRASULA], found[KRASULA_PAIRS] = krasula_tables(part, names, resamples)
        if WITHIN_CONTENT not in scores:
            found[P1401], found[P1401_PAIRS] = p1401_tables(part, names, resamples)
        for name, table in found.items():
            table.insert(0, "target", target)
            tables.setdefault(name, []).append(table)
        if reason := _missing(part):
            left_out.append(f"{target}: {reason}")
    joined = {name: _joined(parts) for name, parts in tables.items()}
    return Analyses({name: table for name, table in joined.items() if len(table)}, left_out)


def _missing(scores: pd.DataFrame) -> str:
    """What is left out of the tables of one target, and why."""
    missing = missing_ratings(scores)
    if WITHIN_CONTENT in scores:
        left_out = "no ITU-T P.1401 and noise ceiling: MOS are comparable only within a content"
        return f"{left_out}; no Krasula's analysis: {missing}" if missing else left_out
    measures = "no noise ceiling, Krasula's analysis, RMSE* and outlier ratio"
    return f"{measures}: {missing}" if missing else ""


def left_out_lines(record: Mapping[str, Any]) -> list[str]:
    """Return a line on what was left out of each data set and target.

    Args:
        record: Record of an evaluation, see
            :func:`~clipiqa_plus.evaluation.results.start_record`.
    """
    named = ((data, about.get("left_out", [])) for data, about in record["data"].items())
    return [f"{data}: {line}" for data, lines in named for line in lines]


def add(
    known: Mapping[str, pd.DataFrame], data: str, new: Mapping[str, pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """Return tables with those of a data set appended, its name in column ``data``.

    Holm's correction is applied over all rows of the tables of pairs.

    Args:
        known: Tables of the data sets so far, by name.
        data: Name of the data set.
        new: Its tables.
    """
    tables = dict(known)
    for name, table in new.items():
        named = table.assign(data=data)[["data", *table]]
        joined = _joined([tables[name], named] if name in tables else [named])
        tables[name] = adjust(joined, *DECIDING[name]) if name in DECIDING else joined
    return tables


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows of all tables; empty ones would blur the types of the columns."""
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
