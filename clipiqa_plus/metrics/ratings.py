"""What the spread of ratings says: variance and interval of each MOS, and the noise ceiling."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]

PANELS = 1000
"""Panels to simulate."""


def mean_variance(mos_std: ArrayLike, n_ratings: ArrayLike) -> Floats:
    """Return the variance of each MOS: that of single ratings over their number.

    Args:
        mos_std: [N] standard deviations of single ratings.
        n_ratings: [N] numbers of ratings.

    Raises:
        ValueError: If a deviation is negative, a number of ratings below 1, or one not finite.
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
    """Return half the width of each MOS's confidence interval (ITU-T P.1401, Student's t).

    Args:
        mos_std: [N] standard deviations of single ratings.
        n_ratings: [N] numbers of ratings.
        level: Coverage.

    Returns:
        [N]; NaN where there is a single rating.
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
    """Lower end of the interval that holds 95% of them."""
    high: float
    """Upper end."""


def noise_ceiling(
    mos: ArrayLike, mos_std: ArrayLike, n_ratings: ArrayLike, panels: int = PANELS, seed: int = 0
) -> dict[str, Ceiling]:
    """Simulate how well the MOS of another panel of as many raters would agree with this MOS.

    The observed MOS are true qualities plus errors of variance std^2 / n. True qualities are taken
    at the observed MOS, shrunk to their mean until their variance is that of the MOS less the mean
    error variance; both panels then add normal errors of their own. A source that predicts the
    true quality exactly can exceed this value: its correlation is about the square root.

    Args:
        mos: [N].
        mos_std: [N] standard deviations of single ratings, on the scale of ``mos``.
        n_ratings: [N] numbers of ratings.
        panels: Number of pairs of panels to simulate.
        seed: Seed of the simulation.

    Returns:
        For ``SRCC`` and ``PLCC``; NaN for fewer than 3 pictures or constant MOS.

    Raises:
        ValueError: If a deviation or a number of ratings is not usable.
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
