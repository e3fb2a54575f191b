"""Paired tests of two sources on the same pictures, and correction for many comparisons.

Pure functions on numpy arrays. An undefined value is NaN, never a misleading number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from clipiqa_plus.metrics.resampling import LEVEL, RESAMPLES

Floats = NDArray[np.float64]

FEWEST_TO_TEST = 6
"""Fewest pictures or contents for a test at 5%: 5 equal signs already have probability 2/32."""
_BLOCK = 2**20  # values per block of signs


class PairedTest(NamedTuple):
    """Sign-flip tests of K pairs of sources."""

    low: Floats
    """[K] lower ends of the intervals; NaN if no bounded interval exists."""
    high: Floats
    """[K] upper ends."""
    p: Floats
    """[K] two-sided p-values; NaN if no p-value can reach 1 - level."""


def compare_correlations(
    predictions: ArrayLike,
    mos: ArrayLike,
    pairs: Sequence[tuple[int, int]],
    groups: ArrayLike | None = None,
    flips: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, PairedTest]:
    """Test differences in SRCC and PLCC between sources by sign flips over whole contents.

    The null hypothesis is that two sources are interchangeable: swapping their scores, standardised
    (PLCC) or as ranks (SRCC), within any content does not change the distribution. Different score
    scales therefore do not matter. With standardised scores a, b and MOS m, the mean r of both
    correlations and the difference d under test, a content c contributes::

        T_c(d) = sum over its pictures of  (b - a) m - r (b^2 - a^2) / 2 - d (a^2 + b^2 + 2 m^2) / 4

    the influence function of the difference between two correlations. The sum over contents is N
    times (observed difference - d). Swapping a and b in a content flips the sign of T_c(0). The
    p-value is that of :func:`sign_flips` at d = 0; the interval contains every d not rejected.
    (Sign flips with estimated nuisance parameters: Hemerik, Goeman, Finos, JRSS B 82(3), 2020.)

    The level is approximate, since standardisation and r come from the sample: 3.5 to 6.5% at a
    nominal 5% in simulations with 6 to 100 contents (``benchmarks/significance.py``). With few
    contents it is higher for sources of equal correlation that are *not* interchangeable, for
    example if only one of them has errors that depend on the content.

    Args:
        predictions: [S, N] scores of S sources.
        mos: [N].
        pairs: K pairs (reference, other) of rows.
        groups: [N] contents; None treats each picture separately.
        flips: Number of random sign patterns if there are too many to enumerate.
        seed: Random seed of the patterns.

    Returns:
        For ``SRCC`` and ``PLCC`` the test of each pair: other minus reference.

    Raises:
        ValueError: If the shapes do not fit.
    """
    x, y = np.asarray(predictions, np.float64), np.asarray(mos, np.float64)
    if x.ndim != 2 or y.shape != x.shape[1:]:
        raise ValueError(
            f"predictions must be [S, N] and mos [N], got {list(x.shape)} and {list(y.shape)}"
        )
    if groups is not None and np.shape(groups) != y.shape:
        raise ValueError(f"groups must be [N] like mos, got {list(np.shape(groups))}")
    _, unit = np.unique(np.arange(len(y)) if groups is None else groups, return_inverse=True)
    first, second = (list(rows) for rows in zip(*pairs, strict=True)) if pairs else ([], [])
    scores, weights = [], []
    for values, target in ((stats.rankdata(x, axis=1), stats.rankdata(y)), (x, y)):
        z, m = _standardised(values), _standardised(target)
        r, squares = (z * m).mean(axis=1), z**2
        mean = (r[first] + r[second])[:, None] / 2
        change = (z[second] - z[first]) * m - mean * (squares[second] - squares[first]) / 2
        scores.append(_sums(change, unit))
        weights.append(_sums((squares[first] + squares[second] + 2 * m**2) / 4, unit))
    found = sign_flips(np.concatenate(scores), np.concatenate(weights), flips, seed)
    halves = zip(*(np.split(part, 2) for part in found), strict=True)
    return {name: PairedTest(*half) for name, half in zip(("SRCC", "PLCC"), halves, strict=True)}


def compare_losses(
    losses: ArrayLike,
    pairs: Sequence[tuple[int, int]],
    groups: ArrayLike | None = None,
    root: bool = True,
    flips: int = RESAMPLES,
    seed: int = 0,
) -> PairedTest:
    """Test differences in mean loss on the same pictures by sign flips over whole contents.

    A content contributes the difference of its summed losses. With ``root`` the means are compared
    as their roots, such as RMSE: sqrt(b) - sqrt(a) = (b - a) / (sqrt(b) + sqrt(a)).

    Args:
        losses: [S, N], at least 0, such as squared residuals.
        pairs: K pairs (reference, other) of rows.
        groups: [N] contents; None treats each picture separately.
        root: Compare the roots of the means.
        flips: Number of random sign patterns if there are too many to enumerate.
        seed: Random seed of the patterns.

    Returns:
        The tests: other minus reference; NaN where a loss is NaN or both means are 0.
    """
    x = np.atleast_2d(np.asarray(losses, np.float64))
    _, unit = np.unique(np.arange(x.shape[1]) if groups is None else groups, return_inverse=True)
    first, second = (list(rows) for rows in zip(*pairs, strict=True)) if pairs else ([], [])
    size = np.bincount(unit).astype(np.float64)
    roots = np.sqrt(x.mean(axis=1))
    scale = roots[first] + roots[second] if root else np.ones(len(pairs))
    scale = np.where(scale > 0, scale, np.nan)[:, None]
    return sign_flips(
        _sums(x[second] - x[first], unit) / scale, np.tile(size, (len(pairs), 1)), flips, seed
    )


def sign_flips(
    contributions: ArrayLike,
    weights: ArrayLike,
    flips: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> PairedTest:
    """Test whether a weighted mean of independent contributions is zero, by flipping their signs.

    The estimate is sum(contributions) / sum(weights). Its p-value is the share of sign patterns,
    the observed one included, whose absolute sum is at least as large as observed. It is exact for
    contributions that are symmetric about 0. All 2^(C - 1) patterns are enumerated if there are at
    most ``flips``; otherwise ``flips`` random ones are drawn.

    The interval inverts the test: for contributions - d * weights a pattern is at least as extreme
    as the observed one if and only if d lies between the estimate from the contributions that it
    flips and the estimate from those that it keeps (typical values: Hartigan, JASA 64(328), 1969).
    So p <= 1 - level if and only if 0 is outside the interval.

    Args:
        contributions: [K, C] for K tests over C units.
        weights: [K, C], positive.
        flips: Number of random patterns.
        seed: Random seed of the patterns.
        level: Coverage of the interval.

    Returns:
        K tests. NaN where a contribution is NaN, and everywhere if the smallest possible p-value,
        1 / number of patterns, exceeds 1 - level: nothing can be significant.
    """
    t, w = np.atleast_2d(np.asarray(contributions, np.float64)), np.atleast_2d(weights)
    rows, units = t.shape
    exact = units - 1 <= np.log2(flips)
    patterns = 2 ** (units - 1) if exact else flips + 1  # including the observed one
    count = int(np.floor((1 - level) * patterns * (1 + 1e-12)))  # size of the rejection region
    if count < 1:
        return PairedTest(*np.full((3, rows), np.nan))
    columns = np.concatenate([t, w]).T
    blocks = _all_signs(units) if exact else _random_signs(units, flips, seed)
    flipped = np.concatenate([signs @ columns for signs in blocks])  # [patterns - 1, 2K]
    sums, bases = flipped[:, :rows], flipped[:, rows:]
    total, base = t.sum(axis=1), np.sum(w, axis=1)
    # 1e-12: a pattern that only swaps equal contributions differs by rounding error.
    extreme = np.abs(sums) >= np.abs(total) * (1 - 1e-12)
    p = (1 + extreme.sum(axis=0)) / patterns
    with np.errstate(divide="ignore", invalid="ignore"):  # a pattern may flip none or all
        parts = np.stack([(total - sums) / (base - bases), (total + sums) / (base + bases)])
    whole = (np.abs(bases) >= base * (1 - 1e-12)) & np.isfinite(total)
    low = np.where(whole, -np.inf, parts.min(axis=0))
    high = np.where(whole, np.inf, parts.max(axis=0))
    # With the observed pattern, which is always extreme, `count` patterns would still reject.
    ends = (
        np.partition(low, count - 1, axis=0)[count - 1],
        -np.partition(-high, count - 1, axis=0)[count - 1],
    )
    defined = np.isfinite(total)
    return PairedTest(*(np.where(defined, values, np.nan) for values in (*ends, p)))


def _standardised(values: Floats) -> Floats:
    """Zero mean and unit deviation along the last axis; NaN if constant."""
    span = np.ptp(values, axis=-1, keepdims=True)
    scaled = np.divide(
        values - values.mean(axis=-1, keepdims=True),
        span,
        out=np.full_like(values, np.nan),
        where=span > 0,
    )
    centred = scaled - scaled.mean(axis=-1, keepdims=True)
    standardised: Floats = centred / centred.std(axis=-1, keepdims=True)
    return standardised


def _sums(values: Floats, unit: NDArray[np.intp]) -> Floats:
    """Sum [K, N] over the pictures of each unit: [K, C]."""
    size = int(unit.max()) + 1 if len(unit) else 0
    rows = [np.bincount(unit, row, size) for row in values]
    return np.stack(rows) if rows else np.empty((0, size))


def _all_signs(units: int) -> Iterator[Floats]:
    """Every pattern except the observed one; a pattern and its negative count as one."""
    number = np.arange(1, 2 ** (units - 1))
    yield 1.0 - 2.0 * (number[:, None] >> np.arange(units) & 1).astype(np.float64)


def _random_signs(units: int, flips: int, seed: int) -> Iterator[Floats]:
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // units)
    for start in range(0, flips, block):
        rows = min(block, flips - start)
        bits = np.frombuffer(rng.bytes(rows * -(-units // 8)), np.uint8).reshape(rows, -1)
        yield 1.0 - 2.0 * np.unpackbits(bits, axis=1, count=units).astype(np.float64)


def williams(r_first: float, r_second: float, r_between: float, n: int) -> tuple[float, float]:
    """Williams' test of two dependent correlations that share a variable, here the MOS.

    Steiger, Psychological Bulletin 87(2), 1980, equation 7 (T2)::

        t = (r1 - r2) sqrt((n - 1)(1 + r12) / (2 (n - 1) / (n - 3) |R| + m^2 (1 - r12)^3))

    with m = (r1 + r2) / 2 and |R| = 1 - r1^2 - r2^2 - r12^2 + 2 r1 r2 r12.

    Args:
        r_first: PLCC of the first source with MOS, r1.
        r_second: PLCC of the second source with MOS, r2.
        r_between: PLCC of the two sources, r12.
        n: Number of pictures, assumed independent.

    Returns:
        t with n - 3 degrees of freedom and the two-sided p-value; NaN for fewer than 4 pictures,
        a correlation that is NaN, or perfectly correlated sources.
    """
    if n < 4 or not np.isfinite([r_first, r_second, r_between]).all() or abs(r_between) > 1 - 1e-12:
        return (float("nan"), float("nan"))
    determinant = 1 - r_first**2 - r_second**2 - r_between**2 + 2 * r_first * r_second * r_between
    mean = (r_first + r_second) / 2
    noise = 2 * (n - 1) / (n - 3) * max(determinant, 0) + mean**2 * (1 - r_between) ** 3
    t = (r_first - r_second) * np.sqrt((n - 1) * (1 + r_between) / noise)
    return float(t), float(2 * stats.t.sf(abs(t), n - 3))


def holm(p_values: ArrayLike) -> Floats:
    """Adjust p-values for multiple comparisons (Holm, Scandinavian J. of Statistics 6(2), 1979).

    Args:
        p_values: [K]; NaN is not counted as a comparison and stays NaN.

    Returns:
        [K] adjusted p-values: below 0.05 is significant at a family-wise error rate of 5%.
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
        values: One value per split.

    Raises:
        ValueError: If there are no values, or one is not finite.
    """
    x = np.asarray(values, np.float64)
    if x.size == 0 or not np.isfinite(x).all():
        raise ValueError(f"values over splits must be finite numbers, got {list(values)}")
    std = float(x.std(ddof=1)) if len(x) > 1 else float("nan")
    return SplitSummary(len(x), float(np.median(x)), float(x.mean()), std)


def wilcoxon(first: Sequence[float], second: Sequence[float]) -> float:
    """Wilcoxon signed-rank test of two sources over the same splits.

    Args:
        first: A metric of one source, one value per split.
        second: The metric of the other source, in the same order.

    Returns:
        Two-sided p-value, exact where scipy computes it exactly; NaN if all splits are equal. It is
        at least 2^(1 - k): five splits never reach 0.05.

    Raises:
        ValueError: If the lengths differ.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"both sources need the same splits, got {a.shape} and {b.shape}")
    if not len(a) or np.all(a == b):
        return float("nan")
    return float(stats.wilcoxon(a, b).pvalue)
