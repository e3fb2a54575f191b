"""Reliability of MOS from the spread of ratings: variance, interval and noise ceiling."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]

PANELS = 1000
"""Default number of simulated panels."""


def mean_variance(mos_std: ArrayLike, n_ratings: ArrayLike) -> Floats:
    """Return the variance of each MOS: variance of single ratings divided by their number.

    Args:
        mos_std: [N] standard deviations of single ratings.
        n_ratings: [N] numbers of ratings.

    Raises:
        ValueError: If a deviation is negative, a number of ratings is below 1, or either is not
            finite.
    """
    std, n = np.asarray(mos_std, np.float64), np.asarray(n_ratings, np.float64)
    for name, values, least in (("mos_std", std, 0), ("n_ratings", n, 1)):
        bad = ~(np.isfinite(values) & (values >= least))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"{name} of picture {row} is {values[row]:g}; it must be at least {least} for "
                "every picture"
            )
    return std**2 / n


def confidence(mos_std: ArrayLike, n_ratings: ArrayLike, level: float = 0.95) -> Floats:
    """Return the half-width of the confidence interval of each MOS (ITU-T P.1401, Student's t).

    Args:
        mos_std: [N] standard deviations of single ratings.
        n_ratings: [N] numbers of ratings.
        level: Coverage.

    Returns:
        [N]; NaN for a single rating.
    """
    variance, n = mean_variance(mos_std, n_ratings), np.asarray(n_ratings, np.float64)
    degrees = np.where(n > 1, n - 1, np.nan)
    half: Floats = stats.t.isf((1 - level) / 2, degrees) * np.sqrt(variance)
    return half


class Ceiling(NamedTuple):
    """Correlation of two panels."""

    value: float
    """Mean over the simulated panels."""
    low: float
    """Lower end of the central 95% interval."""
    high: float
    """Upper end."""


def noise_ceiling(
    mos: ArrayLike, mos_std: ArrayLike, n_ratings: ArrayLike, panels: int = PANELS, seed: int = 0
) -> dict[str, Ceiling]:
    """Simulate the agreement of this MOS with the MOS of another panel of the same size.

    Observed MOS are modelled as true quality plus an error of variance std^2 / n. True quality is
    estimated by shrinking the observed MOS to their mean until their variance is that of the MOS
    minus the mean error variance; both panels then add independent normal errors. A source that
    predicts the true quality exactly can exceed this value: its correlation is about the square
    root.

    Args:
        mos: [N].
        mos_std: [N] standard deviations of single ratings, on the scale of ``mos``.
        n_ratings: [N] numbers of ratings.
        panels: Number of pairs of panels to simulate.
        seed: Random seed.

    Returns:
        Ceilings of ``SRCC`` and ``PLCC``; NaN for fewer than 3 pictures or constant MOS.

    Raises:
        ValueError: As for :func:`mean_variance`.
    """
    y, variance = np.asarray(mos, np.float64), mean_variance(mos_std, n_ratings)
    if len(y) < 3 or np.ptp(y) == 0:
        nothing = Ceiling(np.nan, np.nan, np.nan)
        return {"SRCC": nothing, "PLCC": nothing}
    reliability = max(0.0, 1 - float(variance.mean()) / float(y.var()))
    true = y.mean() + np.sqrt(reliability) * (y - y.mean())
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {"SRCC": [], "PLCC": []}
    for _ in range(panels):
        first, second = true + np.sqrt(variance) * rng.normal(size=(2, len(y)))
        found["PLCC"].append(float(stats.pearsonr(first, second).statistic))
        found["SRCC"].append(float(stats.pearsonr(_ranks(first), _ranks(second)).statistic))
    ceilings = {}
    for name, values in found.items():
        low, high = np.quantile(values, [0.025, 0.975])
        ceilings[name] = Ceiling(float(np.mean(values)), float(low), float(high))
    return ceilings


def _ranks(values: Floats) -> Floats:
    """Ranks of [N] values without ties."""
    ranks = np.empty(len(values))
    ranks[values.argsort()] = np.arange(len(values))
    return ranks
