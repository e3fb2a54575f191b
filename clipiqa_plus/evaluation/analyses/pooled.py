"""Krasula's analysis over all data sets of an evaluation, whose pictures are paired within a set.

It needs no common scale of MOS, so it is the one analysis that pools data sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from clipiqa_plus.evaluation.analyses.ratings import missing_ratings
from clipiqa_plus.evaluation.analyses.standards import krasula_tables
from clipiqa_plus.evaluation.analyses.tables import KRASULA, KRASULA_PAIRS
from clipiqa_plus.evaluation.units import WITHIN_CONTENT
from clipiqa_plus.metrics.functional import CORRELATION_SAMPLES
from clipiqa_plus.metrics.resampling import RESAMPLES

ALL_SETS = "all sets"
"""Name of the pooled data sets, among the names of single ones."""


def pooled_krasula(
    scores: Mapping[str, pd.DataFrame], sources: Sequence[str], flips: int = RESAMPLES
) -> dict[str, pd.DataFrame]:
    """Pool data sets in Krasula's analysis.

    Of a data set with several targets the first is taken, so that a picture counts once. Where the
    contents of a set are unknown, each of its pictures is a unit.

    Args:
        scores: Scores per picture by data set.
        sources: Names of the sources.
        flips: Number of random sign patterns.

    Returns:
        Tables by name, as of :func:`~clipiqa_plus.evaluation.analyses.tables.analyse`; ``note``
        names the sets that are pooled, and those left out and why. Empty if fewer than two can be.
    """
    parts, left_out, targets = [], [], []
    for name, table in scores.items():
        part = table[table["target"] == table["target"].iloc[0]]
        few = "too few pictures" if len(part) < CORRELATION_SAMPLES else ""
        if reason := missing_ratings(part) or few:
            left_out.append(f"{name} ({reason})")
            continue
        targets.append(str(part["target"].iloc[0]))
        within = {WITHIN_CONTENT: part.get(WITHIN_CONTENT, False)}
        parts.append(part.assign(data=name, content=_contents(part), **within))
    if len(parts) < 2:
        return {}
    pooled = pd.concat(parts, ignore_index=True)
    found = krasula_tables(pooled, list(sources), flips)
    note = "pooled: " + ", ".join(pd.unique(pooled["data"]))
    note += f"; left out: {', '.join(left_out)}" if left_out else ""
    target = targets[0] if len(set(targets)) == 1 else "the first"
    tables = {KRASULA: found.sources, KRASULA_PAIRS: found.pairs}
    tables = {name: table for name, table in tables.items() if len(table)}  # one source: no pairs
    for table in tables.values():
        table["note"] = ["; ".join(filter(None, [note, limit])) for limit in table["note"]]
        table.insert(0, "target", target)
    return tables


def _contents(scores: pd.DataFrame) -> np.ndarray:
    """The contents, or if one is unknown the pictures themselves."""
    if "content" in scores and scores["content"].notna().all():
        return scores["content"].astype(str).to_numpy()
    return scores["id"].astype(str).to_numpy()
