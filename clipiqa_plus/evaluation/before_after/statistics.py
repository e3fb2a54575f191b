"""Scores of the same pictures before and after a change: paired differences and win rate."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from clipiqa_plus.evaluation.comparison import verdict
from clipiqa_plus.metrics.resampling import RESAMPLES
from clipiqa_plus.metrics.significance import holm, sign_flips


def paired(
    before: ArrayLike,
    after: ArrayLike,
    groups: ArrayLike | None = None,
    flips: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, float]:
    """Compare the scores of N pictures before and after a change.

    The p-values, of the differences and of their signs, are by sign flips over contents, as is the
    95% interval of the mean difference: see
    :func:`~clipiqa_plus.metrics.significance.sign_flips`. The 95% interval of the win rate is
    Wilson's, which also holds where almost all pictures win.

    Args:
        before: [N] scores.
        after: [N] scores of the same pictures.
        groups: [N] contents; None treats each picture separately.
        flips: Number of random sign patterns.
        seed: Random seed of the patterns.

    Returns:
        ``before`` and ``after``: mean scores; ``difference`` of the means with ``difference_low``,
        ``difference_high`` and ``p_difference``; ``win_rate``: share of pictures with the higher
        score after, ties counted as half, with ``win_rate_low``, ``win_rate_high`` and
        ``p_win_rate``; ``wins``, ``losses``, ``ties``, ``n``. NaN where there are too few pictures
        or contents for an interval.
    """
    x, y = np.asarray(before, np.float64), np.asarray(after, np.float64)
    change = y - x
    _, unit = np.unique(np.arange(len(x)) if groups is None else groups, return_inverse=True)
    sums = np.stack([np.bincount(unit, values) for values in (change, np.sign(change))])
    test = sign_flips(sums, np.tile(np.bincount(unit), (2, 1)), flips, seed)
    won = (1 + np.sign(change)) / 2
    ends = np.full(2, np.nan) if np.isnan(test.p[1]) else _wilson(won, unit)
    wins, losses = int((change > 0).sum()), int((change < 0).sum())
    return {
        "before": float(x.mean()),
        "after": float(y.mean()),
        "difference": float(change.mean()),
        "difference_low": float(test.low[0]),
        "difference_high": float(test.high[0]),
        "p_difference": float(test.p[0]),
        "win_rate": float(won.mean()),
        "win_rate_low": float(ends[0]),
        "win_rate_high": float(ends[1]),
        "p_win_rate": float(test.p[1]),
        "wins": wins,
        "losses": losses,
        "ties": len(change) - wins - losses,
        "n": len(change),
    }


def _wilson(won: NDArray[np.float64], unit: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the 95% interval of a share (Wilson, JASA 22(158), 1927) over contents.

    Pictures of one content are alike: they count as many as independent pictures that would give
    the share the same variance (Korn and Graubard, Survey Methodology 24(2), 1998).

    Args:
        won: [N] 1, 0, or 0.5 for a tie.
        unit: [N] number of the content, from 0.
    """
    pictures, contents, share = len(won), int(unit.max()) + 1, won.mean()
    spread = np.square(np.bincount(unit, won - share)).sum() * contents / (contents - 1)
    # Contents that are all alike do not show how far they differ: each counts as one picture.
    alike = spread < 1e-12 * pictures
    count = contents if alike else min(pictures, share * (1 - share) * pictures**2 / spread)
    z = stats.t.ppf(0.975, contents - 1)
    half = z * np.sqrt(share * (1 - share) / count + (z / count / 2) ** 2)
    middle = share + z**2 / count / 2
    interval: NDArray[np.float64] = np.array([middle - half, middle + half]) / (1 + z**2 / count)
    return interval.clip(0, 1)


def summarise(pictures: pd.DataFrame, names: Sequence[str], contents: bool = False) -> pd.DataFrame:
    """Compare both sides of :func:`~clipiqa_plus.evaluation.before_after.folders.score_folders`.

    Args:
        pictures: Its table.
        names: Names of the scores.
        contents: Pictures in one folder are versions of one content.

    Returns:
        One row per score: ``score``, the numbers of :func:`paired`, ``p_holm``, the p-values of the
        mean differences corrected over all scores, and ``verdict``: ``better``, ``worse``,
        ``not told apart`` or ``too few``.
    """
    groups = pictures["picture"].map(os.path.dirname).to_numpy() if contents else None
    rows = [
        {"score": name, **paired(pictures[f"{name}_before"], pictures[f"{name}_after"], groups)}
        for name in names
    ]
    table = pd.DataFrame(rows)
    corrected = holm(table["p_difference"].to_numpy(np.float64))
    words = [verdict(d, p) for d, p in zip(table["difference"], corrected, strict=True)]
    return table.assign(p_holm=corrected, verdict=words)
