"""Uncertainty of results: bootstrap intervals, paired tests, correction for many comparisons.

Pure functions on numpy arrays. A value that does not exist is NaN, never a number that misleads.

A resample is held as how often each picture occurs in it, so that its correlations are weighted
ones. SRCC needs the ranks within every resample: over the values sorted once, the running sum of
the counts gives them, ties included, in one pass; KRCC: see
:mod:`~clipiqa_plus.metrics.kendall_bootstrap`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from clipiqa_plus.metrics.kendall_bootstrap import Concordance

Floats = NDArray[np.float64]

METRICS = ("SRCC", "PLCC", "KRCC", "RMSE")
"""What is resampled."""
RESAMPLES = 10_000
LEVEL = 0.95
"""Coverage of the intervals."""
FEWEST_UNITS = 5
"""Fewest pictures or contents to resample: below, a resample is often a single one, repeated."""
_UNDEFINED_SHARE = 0.05
_BLOCK = 2**17  # numbers of a block of resamples: fits the cache of a core


def resample_counts(
    n: int, resamples: int = RESAMPLES, seed: int = 0, groups: ArrayLike | None = None
) -> Iterator[Floats]:
    """Draw bootstrap resamples with replacement, as counts.

    Args:
        n: Number of pictures.
        resamples: Number of resamples R.
        seed: Seed of the draw.
        groups: [N] labels, such as contents; all pictures of a label are drawn together. None
            draws each picture for itself.

    Yields:
        Blocks [b, N], float64: how often each picture is in each resample; R rows in all.
    """
    rng = np.random.default_rng(seed)
    unit, units = None, n
    if groups is not None:
        labels, unit = np.unique(np.asarray(groups), return_inverse=True)
        units = len(labels)
    block = max(1, _BLOCK // max(n, 1))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(0, units, (rows, units), dtype=np.int32)
        drawn += np.arange(rows, dtype=np.int32)[:, None] * units
        counts = np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units)
        yield (counts if unit is None else counts[:, unit]).astype(np.float64)


def bootstrap(
    predictions: ArrayLike,
    mos: ArrayLike,
    groups: ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Floats]:
    """SRCC, PLCC, KRCC and RMSE of resamples; all sources see the same ones, so they can be paired.

    Args:
        predictions: [S, N] scores of S sources, or [N] of one.
        mos: [N].
        groups: [N] contents, see :func:`resample_counts`.
        resamples: Number of resamples R.
        seed: Seed of the draw.

    Returns:
        By metric: [S, R] float64; NaN where a resample is constant.

    Raises:
        ValueError: If the shapes do not fit.
    """
    x, y = np.atleast_2d(np.asarray(predictions, np.float64)), np.asarray(mos, np.float64)
    if x.ndim != 2 or y.shape != x.shape[1:]:
        raise ValueError(
            f"predictions must be [S, N] and mos [N], got {list(x.shape)}, {list(y.shape)}"
        )
    if groups is not None and np.shape(groups) != y.shape:
        raise ValueError(f"groups must be [N] as mos, got {list(np.shape(groups))}")
    order, ranks = _Order(y), [_Order(row) for row in x]
    concordances = [Concordance(row, y) for row in x] if resamples else []
    u, v = _centred(x), _centred(y)
    products = np.concatenate([u * v, u * u, u, np.stack([v * v, v]), (x - y) ** 2])  # [4S + 2, N]
    found: dict[str, list[Floats]] = {metric: [np.empty((len(x), 0))] for metric in METRICS}
    for counts in resample_counts(len(y), resamples, seed, groups):
        n = counts.sum(axis=1)
        # einsum, not BLAS: its threads cost more than they bring here, and change the last bits.
        sums = np.einsum("bn,kn->kb", counts, products) / n  # [4S + 2, b]
        uv, uu, u1, (vv, v1), squares = np.split(sums, np.cumsum([len(x)] * 3 + [2]))
        found["PLCC"].append(_correlation(uv - u1 * v1, uu - u1**2, vv - v1**2))
        found["RMSE"].append(np.sqrt(squares))
        target = order.centred_ranks(counts, n)
        weighted = counts * target
        spread = np.einsum("bn,bn->b", weighted, target)
        pairs = []
        for rank in ranks:
            r = rank.centred_ranks(counts, n)
            cross = np.einsum("bn,bn->b", weighted, r)
            pairs.append(_correlation(cross, np.einsum("bn,bn,bn->b", counts, r, r), spread))
        found["SRCC"].append(np.stack(pairs))
        found["KRCC"].append(np.stack([between.tau(counts) for between in concordances]))
    return {metric: np.concatenate(blocks, axis=1) for metric, blocks in found.items()}


class _Order:
    """Values sorted once: gives their ranks within any resample in one pass."""

    def __init__(self, values: Floats) -> None:
        self.sorted = np.argsort(values, kind="stable")
        _, self.group, sizes = np.unique(values, return_inverse=True, return_counts=True)
        self.last = np.cumsum(sizes) - 1

    def centred_ranks(self, counts: Floats, n: Floats) -> Floats:
        """Mean ranks less their mean: [b, N] for counts [b, N] of n [b] pictures."""
        until = np.cumsum(counts.take(self.sorted, axis=1), axis=1).take(self.last, axis=1)
        ranks = until - n[:, None]
        ranks[:, 1:] += until[:, :-1]
        # With a pictures below a value and b up to it, it has the mean rank (a + b + 1) / 2.
        return (ranks / 2).take(self.group, axis=1)


def _centred(values: Floats) -> Floats:
    """Values at zero mean and unit span, so that no sum of squares loses its digits."""
    span = np.ptp(values, axis=-1, keepdims=True)
    centred = values - values.mean(axis=-1, keepdims=True)
    return np.divide(centred, span, out=np.zeros_like(centred), where=span > 0)


def _correlation(cross: Floats, x: Floats, y: Floats) -> Floats:
    # What is left of a constant resample is rounding, 1e-16 of a unit span; ranks are exact.
    defined = (x > 1e-13) & (y > 1e-13)
    power = np.sqrt(np.where(defined, x * y, 1.0))
    return np.where(defined, np.clip(cross / power, -1, 1), np.nan)


def interval(samples: Floats, level: float = LEVEL) -> tuple[float, float]:
    """Percentile interval of bootstrap samples.

    Args:
        samples: [R] values of a metric, or of a difference.
        level: Coverage.

    Returns:
        Lower and upper end; NaN if more than 5% of the resamples have no value.
    """
    if not _usable(samples):
        return (np.nan, np.nan)
    low, high = np.nanquantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def p_value(differences: Floats) -> float:
    """Two-sided bootstrap p-value of a difference being 0.

    Twice the smaller share of resamples on either side of 0, where the sample itself counts as one
    resample: never below 2 / (R + 1) (Davison and Hinkley, Bootstrap Methods, 1997, chapter 4).

    Args:
        differences: [R] paired differences.

    Returns:
        In (0, 1]; NaN if more than 5% of the resamples have no value.
    """
    if not _usable(differences):
        return float("nan")
    known = differences[~np.isnan(differences)]
    tail = min(np.sum(known <= 0), np.sum(known >= 0))
    return float(min(1.0, 2 * (tail + 1) / (len(known) + 1)))


def _usable(samples: Floats) -> bool:
    return len(samples) > 0 and float(np.isnan(samples).mean()) <= _UNDEFINED_SHARE


def williams(r_first: float, r_second: float, r_between: float, n: int) -> tuple[float, float]:
    """Williams' test of two dependent correlations that share a variable, here the MOS.

    Steiger, Psychological Bulletin 87(2), 1980, equation 7 (T2)::

        t = (r1 - r2) sqrt((n - 1)(1 + r12) / (2 (n - 1) / (n - 3) |R| + m^2 (1 - r12)^3))

    with m = (r1 + r2) / 2 and |R| = 1 - r1^2 - r2^2 - r12^2 + 2 r1 r2 r12.

    Args:
        r_first: PLCC of the first source with MOS, r1.
        r_second: PLCC of the second source with MOS, r2.
        r_between: PLCC of the two sources, r12.
        n: Number of pictures; they are taken as independent.

    Returns:
        t with n - 3 degrees of freedom and the two-sided p-value; NaN for fewer than 4 pictures,
        a correlation that is NaN, or two sources that are lines of each other.
    """
    if n < 4 or not np.isfinite([r_first, r_second, r_between]).all() or abs(r_between) > 1 - 1e-12:
        return (float("nan"), float("nan"))
    determinant = 1 - r_first**2 - r_second**2 - r_between**2 + 2 * r_first * r_second * r_between
    mean = (r_first + r_second) / 2
    noise = 2 * (n - 1) / (n - 3) * max(determinant, 0) + mean**2 * (1 - r_between) ** 3
    t = (r_first - r_second) * np.sqrt((n - 1) * (1 + r_between) / noise)
    return float(t), float(2 * stats.t.sf(abs(t), n - 3))


def holm(p_values: ArrayLike) -> Floats:
    """Adjust p-values for many comparisons (Holm, Scandinavian J. of Statistics 6(2), 1979).

    Args:
        p_values: [K]; NaN is no comparison and stays NaN.

    Returns:
        [K] adjusted p-values: those below 0.05 are significant with a family-wise error of 5%.
    """
    p = np.asarray(p_values, np.float64)
    adjusted = np.full_like(p, np.nan)
    order = np.argsort(p)[: int(np.sum(~np.isnan(p)))]  # NaN is sorted to the end
    steps = p[order] * (len(order) - np.arange(len(order)))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


@dataclass(frozen=True)
class SplitSummary:
    """A metric over k splits."""

    k: int
    median: float
    mean: float
    std: float
    """With k - 1 in the denominator; NaN for a single split."""


def over_splits(values: Sequence[float]) -> SplitSummary:
    """Summarise a metric over splits: median, mean and standard deviation.

    Args:
        values: One for each split.

    Raises:
        ValueError: If there is none, or one is not finite.
    """
    x = np.asarray(values, np.float64)
    if x.size == 0 or not np.isfinite(x).all():
        raise ValueError(f"values over splits must be finite numbers, got {list(values)}")
    std = float(x.std(ddof=1)) if len(x) > 1 else float("nan")
    return SplitSummary(len(x), float(np.median(x)), float(x.mean()), std)


def wilcoxon(first: Sequence[float], second: Sequence[float]) -> float:
    """Wilcoxon signed-rank test of two sources over the same splits.

    Args:
        first: A metric of one source, one value for each split.
        second: That of the other, in the same order.

    Returns:
        Two-sided p-value, exact where scipy has it so; NaN if all splits are equal. It cannot fall
        below 2^(1 - k): five splits never reach 0.05.

    Raises:
        ValueError: If the lengths differ.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"both sources need the same splits, got {a.shape} and {b.shape}")
    if not len(a) or np.all(a == b):
        return float("nan")
    return float(stats.wilcoxon(a, b).pvalue)


def compare_paired(
    samples: Mapping[str, Floats], reference: int, other: int, metric: str
) -> tuple[float, float, float]:
    """Interval and p-value of the difference of two sources.

    Args:
        samples: What :func:`bootstrap` returned.
        reference: Row of the source that is taken off.
        other: Row of the source compared with it.
        metric: One of :data:`METRICS`.

    Returns:
        Lower end, upper end, two-sided p-value.
    """
    difference = samples[metric][other] - samples[metric][reference]
    return (*interval(difference), p_value(difference))
