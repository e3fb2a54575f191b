"""Bootstrap: metrics of resamples of pictures or contents, and their intervals.

Pure functions on numpy arrays. An undefined value is NaN, never a misleading number.

A resample is stored as the number of times each picture occurs in it, so its correlations are
weighted correlations. SRCC needs the ranks within every resample: the values are sorted once, and
the cumulative sum of the counts then gives the ranks, ties included, in one pass. For KRCC see
:mod:`~clipiqa_plus.metrics.kendall_bootstrap`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipiqa_plus.metrics.kendall_bootstrap import KendallBootstrap

Floats = NDArray[np.float64]

METRICS = ("SRCC", "PLCC", "KRCC", "RMSE")
"""Metrics that are resampled."""
RESAMPLES = 10_000
LEVEL = 0.95
"""Coverage of the intervals."""
FEWEST_UNITS = 5
"""Fewest pictures or contents to resample; with fewer, a resample often repeats a single one."""
_UNDEFINED_SHARE = 0.05
_BLOCK = 2**17  # values per block of resamples: fits the cache of one core


def resample_counts(
    n: int, resamples: int = RESAMPLES, seed: int = 0, groups: ArrayLike | None = None
) -> Iterator[Floats]:
    """Draw bootstrap resamples with replacement, as counts.

    Args:
        n: Number of pictures.
        resamples: Number of resamples R.
        seed: Random seed.
        groups: [N] labels, such as contents; all pictures with a label are drawn together. None
            draws each picture separately.

    Yields:
        Blocks [b, N], float64: number of times each picture occurs in each resample; R rows in
        total.
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
    metrics: Sequence[str] = METRICS,
) -> dict[str, Floats]:
    """SRCC, PLCC, KRCC and RMSE of resamples; all sources share the same resamples.

    Args:
        predictions: [S, N] scores of S sources, or [N] of one.
        mos: [N].
        groups: [N] contents, see :func:`resample_counts`.
        resamples: Number of resamples R.
        seed: Random seed.
        metrics: Those to compute.

    Returns:
        [S, R] float64 for each metric; NaN where a resample is constant.

    Raises:
        ValueError: If the shapes do not fit.
    """
    x, y = np.atleast_2d(np.asarray(predictions, np.float64)), np.asarray(mos, np.float64)
    if x.ndim != 2 or y.shape != x.shape[1:]:
        raise ValueError(
            f"predictions must be [S, N] and mos [N], got {list(x.shape)} and {list(y.shape)}"
        )
    if groups is not None and np.shape(groups) != y.shape:
        raise ValueError(f"groups must be [N] like mos, got {list(np.shape(groups))}")
    order, ranks = _Order(y), [_Order(row) for row in x]
    kendall = [KendallBootstrap(row, y) for row in x] if resamples and "KRCC" in metrics else []
    u, v = _centred(x), _centred(y)
    products = np.concatenate([u * v, u * u, u, np.stack([v * v, v]), (x - y) ** 2])  # [4S + 2, N]
    found: dict[str, list[Floats]] = {metric: [np.empty((len(x), 0))] for metric in metrics}

    def add(metric: str, block: Floats) -> None:
        if metric in found:
            found[metric].append(block)

    for counts in resample_counts(len(y), resamples, seed, groups):
        n = counts.sum(axis=1)
        if not {"PLCC", "RMSE"}.isdisjoint(metrics):
            # einsum, not BLAS, whose threads cost more than they save and change the last bits.
            sums = np.einsum("bn,kn->kb", counts, products) / n  # [4S + 2, b]
            uv, uu, u1, (vv, v1), squares = np.split(sums, np.cumsum([len(x)] * 3 + [2]))
            add("PLCC", _correlation(uv - u1 * v1, uu - u1**2, vv - v1**2))
            add("RMSE", np.sqrt(squares))
        if "SRCC" in metrics:
            target = order.centred_ranks(counts, n)
            weighted = counts * target
            spread = np.einsum("bn,bn->b", weighted, target)
            pairs = []
            for rank in ranks:
                r = rank.centred_ranks(counts, n)
                cross = np.einsum("bn,bn->b", weighted, r)
                pairs.append(_correlation(cross, np.einsum("bn,bn,bn->b", counts, r, r), spread))
            add("SRCC", np.stack(pairs))
        if "KRCC" in metrics:
            add("KRCC", np.stack([between.tau(counts) for between in kendall]))
    return {metric: np.concatenate(blocks, axis=1) for metric, blocks in found.items()}


class _Order:
    """Values sorted once, so that their ranks within any resample take one pass."""

    def __init__(self, values: Floats) -> None:
        self.sorted = np.argsort(values, kind="stable")
        _, self.group, sizes = np.unique(values, return_inverse=True, return_counts=True)
        self.last = np.cumsum(sizes) - 1

    def centred_ranks(self, counts: Floats, n: Floats) -> Floats:
        """Mean ranks minus their mean: [b, N] for counts [b, N] of n [b] pictures."""
        until = np.cumsum(counts.take(self.sorted, axis=1), axis=1).take(self.last, axis=1)
        ranks = until - n[:, None]
        ranks[:, 1:] += until[:, :-1]
        # A value with a pictures below it and b up to it has the mean rank (a + b + 1) / 2.
        return (ranks / 2).take(self.group, axis=1)


def _centred(values: Floats) -> Floats:
    """Values scaled to zero mean and unit span, so that sums of squares keep their precision."""
    span = np.ptp(values, axis=-1, keepdims=True)
    centred = values - values.mean(axis=-1, keepdims=True)
    return np.divide(centred, span, out=np.zeros_like(centred), where=span > 0)


def _correlation(cross: Floats, x: Floats, y: Floats) -> Floats:
    # The variance of a constant resample is rounding error, 1e-16 at unit span; ranks are exact.
    defined = (x > 1e-13) & (y > 1e-13)
    power = np.sqrt(np.where(defined, x * y, 1.0))
    return np.where(defined, np.clip(cross / power, -1, 1), np.nan)


def interval(samples: Floats, level: float = LEVEL) -> tuple[float, float]:
    """Percentile interval of bootstrap samples.

    Args:
        samples: [R] values of a metric.
        level: Coverage.

    Returns:
        Lower and upper end; NaN if more than 5% of the resamples are undefined.
    """
    if not _usable(samples):
        return (np.nan, np.nan)
    low, high = np.nanquantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _usable(samples: Floats) -> bool:
    return len(samples) > 0 and float(np.isnan(samples).mean()) <= _UNDEFINED_SHARE
