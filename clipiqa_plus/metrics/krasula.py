"""Krasula's analysis: do scores distinguish the pictures that raters distinguish?

Krasula, Fliegel, Le Callet, Klíma, "On the accuracy of objective image and video quality models:
New methodology for performance evaluation", QoMEX 2016. Two pictures are *different* if a z-test
of their MOS is significant, else *similar*. Scores should differ more between different pictures
than between similar ones (AUC_DS), and in the direction of the MOS (AUC_BW and the share of correct
signs, CC0). No mapping to the MOS scale is needed, and data sets can be pooled.

Each different pair counts both ways round in AUC_BW, as in the authors' code, so that the order of
the pictures plays no part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from clipiqa_plus.metrics.ratings import mean_variance
from clipiqa_plus.metrics.significance import FEWEST_TO_TEST, PairedTest, sign_flips

Floats = NDArray[np.float64]

ANALYSES = ("AUC_DS", "AUC_BW", "CC0")
MOST_PAIRS = 300_000
"""Maximum number of pairs; beyond it they are sampled, with an AUC error below 0.002."""


class RatedPairs(NamedTuple):
    """P pairs of pictures."""

    first: NDArray[np.int64]
    """[P] rows."""
    second: NDArray[np.int64]
    """[P] rows."""
    relation: NDArray[np.int64]
    """[P]: 1 if the first is better, -1 if the second is, 0 if they are similar."""


def rated_pairs(
    mos: ArrayLike,
    mos_std: ArrayLike,
    n_ratings: ArrayLike,
    sets: ArrayLike | None = None,
    level: float = 0.95,
    most: int = MOST_PAIRS,
    seed: int = 0,
) -> RatedPairs:
    """Pair pictures and test which picture of each pair raters prefer.

    Args:
        mos: [N], high is good.
        mos_std: [N] standard deviations of single ratings, on the scale of ``mos``.
        n_ratings: [N] numbers of ratings.
        sets: [N] data sets; only pictures of the same set are paired. None: one set.
        level: Two-sided confidence level of the z-test that makes a pair different; the authors'
            code takes 0.9, a one-sided test at 95%.
        most: Number of pairs to sample if there are more.
        seed: Random seed.

    Raises:
        ValueError: If a deviation is negative, a number of ratings is below 1, or either is not
            finite.
    """
    y = np.asarray(mos, np.float64)
    variance = mean_variance(mos_std, n_ratings)
    labels = np.zeros(len(y)) if sets is None else np.asarray(sets)
    first, second = _candidates(labels, most, seed)
    difference = y[first] - y[second]
    limit = stats.norm.isf((1 - level) / 2) * np.sqrt(variance[first] + variance[second])
    relation = np.where(np.abs(difference) > limit, np.sign(difference), 0).astype(np.int64)
    return RatedPairs(first, second, relation)


def _candidates(
    sets: NDArray[Any], most: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of all pairs within the sets [N], or of a random sample, the lower row first."""
    _, of = np.unique(sets, return_inverse=True)
    order, sizes = np.argsort(of, kind="stable"), np.bincount(of)
    starts, counts = np.cumsum(sizes) - sizes, sizes * (sizes - 1) // 2
    if counts.sum() <= most:
        blocks = [np.stack(np.triu_indices(n, 1)) + at for n, at in zip(sizes, starts, strict=True)]
        one, two = np.concatenate([np.empty((2, 0), np.int64), *blocks], axis=1)
    else:
        rng = np.random.default_rng(seed)
        drawn = rng.choice(len(sizes), most, p=counts / counts.sum())
        n, at = sizes[drawn], starts[drawn]
        one = rng.integers(0, n)
        two = at + (one + rng.integers(1, n)) % n
        one = at + one
    first, second = order[one], order[two]
    return np.minimum(first, second), np.maximum(first, second)


def delong(scores: ArrayLike, positive: ArrayLike) -> tuple[Floats, Floats]:
    """Areas under ROC curves on the same cases.

    DeLong, DeLong, Clarke-Pearson, Biometrics 44(3), 1988, computed from ranks (Sun and Xu, IEEE
    Signal Processing Letters 21(11), 2014).

    Args:
        scores: [S, P].
        positive: [P] bool.

    Returns:
        [S] areas, with ties counted as half, and [S, P] placements: for a positive case the share
        of negative cases below it, for a negative case the share of positive cases above it. NaN
        if all cases have the same label.
    """
    x, labels = np.atleast_2d(np.asarray(scores, np.float64)), np.asarray(positive, bool)
    n, m = int(labels.sum()), int((~labels).sum())
    placements = np.full_like(x, np.nan)
    if not n or not m:
        return np.full(len(x), np.nan), placements
    ranks = stats.rankdata(x, axis=1)
    placements[:, labels] = (ranks[:, labels] - stats.rankdata(x[:, labels], axis=1)) / m
    placements[:, ~labels] = 1 - (ranks[:, ~labels] - stats.rankdata(x[:, ~labels], axis=1)) / n
    return placements[:, labels].mean(axis=1), placements


def delong_test(scores: ArrayLike, positive: ArrayLike) -> float:
    """Two-sided p-value of DeLong's test of two areas.

    It assumes independent cases. Pairs that share pictures are not: see :func:`compare`.

    Args:
        scores: [2, P].
        positive: [P] bool.

    Returns:
        The p-value; NaN with fewer than two cases of a label, or zero variance of the difference.
    """
    labels = np.asarray(positive, bool)
    return _delong_p(*delong(scores, labels), labels)


def _delong_p(area: Floats, placements: Floats, labels: NDArray[np.bool_]) -> float:
    """p-value of two areas [2] with placements [2, P]."""
    if min(labels.sum(), (~labels).sum()) < 2:
        return float("nan")
    difference = placements[1] - placements[0]
    variance = sum(
        float(difference[case].var(ddof=1)) / int(case.sum()) for case in (labels, ~labels)
    )
    if variance == 0:
        return float("nan")
    return float(2 * stats.norm.sf(abs(area[1] - area[0]) / np.sqrt(variance)))


class Analysis(NamedTuple):
    """One analysis of S sources."""

    value: Floats
    """[S], in [0, 1]; NaN if undefined."""
    influence: Floats
    """[S, P]: contribution of each pair to the deviation of the value from its expectation."""
    p_delong: Floats
    """[K] p-values of DeLong's test of the pairs of sources; NaN for CC0."""


def krasula(
    predictions: ArrayLike, pairs: RatedPairs, rows: Sequence[tuple[int, int]] = ()
) -> dict[str, Analysis]:
    """Analyse scores on rated pairs.

    Args:
        predictions: [S, N] scores of S sources, high is good.
        pairs: Result of :func:`rated_pairs`.
        rows: K pairs (reference, other) of sources for DeLong's test.

    Returns:
        One analysis for each of :data:`ANALYSES`: AUC of the absolute score difference, different
        against similar pairs; AUC of the score difference, better less worse picture against worse
        less better one; share of different pairs whose score difference has the right sign, with
        equal scores counted as half.
    """
    x = np.atleast_2d(np.asarray(predictions, np.float64))
    change = x[:, pairs.first] - x[:, pairs.second]
    different = np.flatnonzero(pairs.relation)
    gain = change[:, different] * pairs.relation[different]
    found = {}
    for name, scores, labels, used in (
        ("AUC_DS", np.abs(change)[:, None], pairs.relation != 0, np.arange(change.shape[1])),
        ("AUC_BW", np.stack([gain, -gain], axis=1), _halves(len(different)), different),
    ):
        value, placements = delong(scores.reshape(len(x), len(labels)), labels)
        # Deviation of each case's placement, divided by the number of cases with its label.
        sizes = np.where(labels, labels.sum(), (~labels).sum())
        parts = (placements - value[:, None]) / sizes
        influence = np.zeros_like(change)
        influence[:, used] = parts.reshape(scores.shape).sum(axis=1)  # of one case, or of both
        p = [_delong_p(value[list(row)], placements[list(row)], labels) for row in rows]
        found[name] = Analysis(value, influence, np.array(p))
    right = (np.sign(gain) + 1) / 2
    value = right.mean(axis=1) if len(different) else np.full(len(x), np.nan)
    influence = np.zeros_like(change)
    influence[:, different] = (right - value[:, None]) / max(len(different), 1)
    found["CC0"] = Analysis(value, influence, np.full(len(rows), np.nan))
    return found


def _halves(size: int) -> NDArray[np.bool_]:
    """Labels of as many positive as negative cases, the positive ones first."""
    return np.arange(2 * size) < size


def compare(
    analyses: Mapping[str, Analysis],
    pairs: RatedPairs,
    rows: Sequence[tuple[int, int]],
    groups: ArrayLike,
    **options: int,
) -> dict[str, PairedTest]:
    """Test differences between sources by sign flips over pictures or contents.

    A content contributes the influence of all its pairs (Hajek's projection), so pairs that share
    pictures are not treated as independent. A pair of two contents contributes to both; so that its
    own noise is not counted twice, contributions are scaled to the variance for dyadic data, the
    sum over all pairs of pairs that share a content (Aronow, Samii, Assenova, Political Analysis
    23(4), 2015), without the bias that few contents cause. This matters where pairs are sampled,
    and each content has few of them.

    Args:
        analyses: Result of :func:`krasula`.
        pairs: The pairs.
        rows: K pairs (reference, other) of sources.
        groups: [N] contents, or row numbers to treat each picture separately.
        **options: ``flips`` and ``seed`` of :func:`~clipiqa_plus.metrics.significance.sign_flips`.

    Returns:
        For each analysis the [K] tests of other minus reference.
    """
    _, unit = np.unique(groups, return_inverse=True)
    units = int(unit.max()) + 1
    one, two = np.sort([unit[pairs.first], unit[pairs.second]], axis=0)
    apart = one != two
    _, link = np.unique((one * units + two)[apart], return_inverse=True)
    shares = np.bincount(unit, minlength=units) / len(unit)
    corrected = _small_sample(float(np.square(shares).sum()), float(apart.mean()))
    contributions = []
    for analysis in analyses.values():
        for reference, other in rows:
            change = analysis.influence[other] - analysis.influence[reference]
            summed = np.bincount(one, change, units)
            summed += np.bincount(two, np.where(apart, change, 0), units)
            counted = float(np.square(summed).sum())
            twice = float(np.square(np.bincount(link, change[apart])).sum())
            value = analysis.value[other] - analysis.value[reference]
            contributions.append(corrected * _once(counted, twice) * summed + value * shares)
    weights = np.tile(shares, (len(contributions), 1))
    tests = sign_flips(np.reshape(contributions, weights.shape), weights, **options)
    parts = (np.split(values, len(analyses)) for values in tests)
    return {
        name: PairedTest(*part)
        for name, part in zip(analyses, zip(*parts, strict=True), strict=True)
    }


def _once(counted: float, twice: float) -> float:
    """Root of the share of the squared contributions that is left when no pair counts twice.

    At least half is left in the mean, and in the sample by this bound.
    """
    return float(np.sqrt(max(1 - twice / counted, 0.5))) if counted > 0 else 1.0


def _small_sample(squares: float, between: float) -> float:
    """Factor of the contributions against the bias of their squares with few contents.

    Influences are centred: with P pairs and the difference D, each lacks D / P. A content with the
    share w of the pictures is in (1 + between) w P pairs, so the sum of the squared contributions
    lacks (1 + between)^2 sum(w^2) Var(D) in the mean. The flipped sums also contain D itself in
    shares w, with the variance sum(w^2) Var(D).

    Args:
        squares: Sum of w^2, 1 / C for C contents of one size; at most that of the smallest test.
        between: Share of the pairs that are of two contents.
    """
    squares = min(squares, 1 / FEWEST_TO_TEST)
    return float(np.sqrt((1 - squares) / (1 - (1 + between) ** 2 * squares)))
