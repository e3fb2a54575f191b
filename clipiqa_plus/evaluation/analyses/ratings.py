"""What is known of the ratings behind MOS, and the noise ceiling that follows from it."""

from __future__ import annotations

import pandas as pd

from clipiqa_plus.evaluation.units import WITHIN_CONTENT
from clipiqa_plus.metrics.ratings import PANELS, noise_ceiling

DEVIATION, RATINGS = "mos_std", "n_ratings"
"""Columns of a table of scores: deviation of single ratings on the scale of ``mos``, and number."""


def missing_ratings(scores: pd.DataFrame) -> str:
    """Return why the noise of MOS is unknown; empty if every picture has both columns.

    Args:
        scores: Scores per picture of one target.
    """
    for column in (DEVIATION, RATINGS):
        missing = int(scores[column].isna().sum()) if column in scores else len(scores)
        if missing == len(scores):
            return f"{column} is unknown"
        if missing:
            return f"{column} is unknown for {missing} of {len(scores)} pictures"
    single = int((scores[RATINGS] < 2).sum())
    return f"{single} of {len(scores)} pictures have a single rating" if single else ""


def ceilings(scores: pd.DataFrame, panels: int = PANELS) -> dict[str, float]:
    """Return the noise ceilings of SRCC and PLCC with the ends of their 95% intervals.

    Args:
        scores: Scores per picture of one target.
        panels: Number of simulated panels, see
            :func:`~clipiqa_plus.metrics.ratings.noise_ceiling`.

    Returns:
        ``SRCC_ceiling``, ``SRCC_ceiling_low``, ``SRCC_ceiling_high`` and likewise for PLCC; empty
        if the noise is unknown, or scores are comparable only within a content.
    """
    if missing_ratings(scores) or WITHIN_CONTENT in scores:
        return {}
    mos, std, ratings = (scores[column].to_numpy() for column in ("mos", DEVIATION, RATINGS))
    found = {}
    for metric, ceiling in noise_ceiling(mos, std, ratings, panels).items():
        found[f"{metric}_ceiling"] = ceiling.value
        found[f"{metric}_ceiling_low"] = ceiling.low
        found[f"{metric}_ceiling_high"] = ceiling.high
    return found
