"""Several sources over several data sets: Friedman's test and Nemenyi's critical difference.

Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7, 2006. The unit is
the data set, so nothing is assumed about the pictures within one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]

FEWEST_SETS = 5
"""Fewest data sets for the test."""
FEWEST_SOURCES = 3
"""Fewest sources: two are compared by Wilcoxon's signed-rank test."""


class MeanRanks(NamedTuple):
    """Ranks of S sources over D data sets."""

    ranks: Floats
    """[S] mean ranks, 1 for the best; ties share their mean rank."""
    p: float
    """p-value of Friedman's test that all sources rank alike."""
    critical_difference: float
    """Difference of two mean ranks that is significant by Nemenyi's test."""


def friedman(values: ArrayLike, level: float = 0.05) -> MeanRanks:
    """Rank sources within each data set and test whether their mean ranks differ.

    Friedman's chi-square with Iman and Davenport's correction, F with S - 1 and (S - 1)(D - 1)
    degrees of freedom; critical difference q sqrt(S (S + 1) / 6 D) with q from the Studentized
    range (Demsar 2006, section 3.2.2).

    Args:
        values: [D, S] a metric of each source on each data set, higher is better.
        level: Level of the critical difference.

    Returns:
        The ranks; p and the critical difference are NaN for fewer than :data:`FEWEST_SETS` data
        sets or :data:`FEWEST_SOURCES` sources, p also if all sources tie everywhere.

    Raises:
        ValueError: If values are not [D, S], or one is not finite.
    """
    x = np.asarray(values, np.float64)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise ValueError(f"values must be finite numbers [D, S], got shape {list(x.shape)}")
    sets, sources = x.shape
    ranks = stats.rankdata(-x, axis=1)
    mean = ranks.mean(axis=0)
    if sets < FEWEST_SETS or sources < FEWEST_SOURCES:
        return MeanRanks(mean, float("nan"), float("nan"))
    # Sums of squares of the ranks, which allow for ties: explained by the sources, and the rest.
    centred = ranks - (sources + 1) / 2
    explained = sets * float(np.square(mean - (sources + 1) / 2).sum())
    rest = float(np.square(centred).sum()) - explained
    within, between = (sources - 1) * (sets - 1), sources - 1
    if explained + rest <= 0:
        p = float("nan")
    elif rest <= 1e-12 * explained:
        # Every data set ranks the sources in the same order: the probability of just that.
        p = float(math.factorial(sources)) ** (1 - sets)
    else:
        p = float(stats.f.sf(explained / between / (rest / within), between, within))
    q = stats.studentized_range.ppf(1 - level, sources, np.inf) / np.sqrt(2)
    return MeanRanks(mean, p, float(q * np.sqrt(sources * (sources + 1) / (6 * sets))))
