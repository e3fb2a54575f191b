"""Pairs of pictures that one source calls equal and another far apart.

Group maximum differentiation (gMAD; Ma et al., CVPR 2016), on pictures that are already scored: a
look at such a pair tells which of the two sources is wrong.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.stats import rankdata

LEVELS = ("low", "middle", "high")
"""Thirds of the scores of the source that calls both equal; one pair is taken from each."""
EQUAL = 0.01
"""Pictures are called equal whose ranks differ by at most this share of all pictures."""
MOST_SHOWN = 12
"""Most pairs of a target on the page."""
COLUMNS = ("target", "same", "apart", "level", "id_low", "id_high", "rank_difference")


def gmad_pairs(scores: pd.DataFrame, sources: list[str]) -> pd.DataFrame:
    """Find the pairs of pictures on which two sources disagree most.

    Ranks are compared, since sources need not share a scale. Of two sources, each takes both roles.

    Args:
        scores: Scores per picture, of one or several targets.
        sources: Names of the sources.

    Returns:
        One row per target, ordered pair of sources and level: ``target``, ``same`` (the source that
        calls both pictures equal), ``apart`` (the one that sees them far apart), ``level``,
        ``id_low`` and ``id_high`` (the worse and the better picture by ``apart``), and
        ``rank_difference``, the difference of their ranks by ``apart`` as a share of all pictures.
        Levels with fewer than two pictures, or without disagreement, have no row.
    """
    rows = []
    for target, part in scores.groupby("target", sort=False):
        ids, n = part["id"].to_numpy(), len(part)
        near = max(1, int(EQUAL * n)) + 1
        ranks = {source: rankdata(part[source].to_numpy()) for source in sources}
        for same, apart in permutations(sources, 2):
            order = np.argsort(ranks[same], kind="stable")
            for level, third in zip(LEVELS, np.array_split(order, len(LEVELS)), strict=True):
                pair = _farthest(ranks[apart][third], near)
                if pair is None:
                    continue
                low, high = third[list(pair)]
                difference = float(ranks[apart][high] - ranks[apart][low]) / n
                rows.append((target, same, apart, level, ids[low], ids[high], difference))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def shown_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the :data:`MOST_SHOWN` pairs of each target that are farthest apart, farthest first.

    Args:
        pairs: See :func:`gmad_pairs`.
    """
    ordered = pairs.sort_values("rank_difference", ascending=False, kind="stable")
    return ordered.groupby("target", sort=False).head(MOST_SHOWN)


def _farthest(apart: NDArray[np.float64], near: int) -> tuple[int, int] | None:
    """Positions of the lowest and the highest rank [n] among ``near`` neighbours; None if equal."""
    if len(apart) < 2:
        return None
    windows = sliding_window_view(apart, min(near, len(apart)))
    start = int(np.argmax(windows.max(axis=1) - windows.min(axis=1)))
    low, high = int(windows[start].argmin()), int(windows[start].argmax())
    return None if windows[start][low] == windows[start][high] else (start + low, start + high)
