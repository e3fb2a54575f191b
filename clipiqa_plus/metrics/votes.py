"""Accuracy on votes: the share of votes that prefer the picture of the higher score.

Only decided votes count; two equal scores count as half right. This is the "two-alternative forced
choice" accuracy of Hanhart, Krasula, Le Callet and Ebrahimi, "How to benchmark objective quality
metrics from paired comparison data?", QoMEX 2016.

Two votes are not independent if they share a picture or a rater, so votes are not what is
resampled. Units are drawn with replacement, and a vote counts as often as all of its units: by the
product of the counts of its two pictures and its rater (Owen, "The pigeonhole bootstrap", Annals of
Applied Statistics 2007; its intervals are somewhat too wide, not too narrow).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from clipiqa_plus.metrics.classes import IQAMetric
from clipiqa_plus.metrics.resampling import FEWEST_UNITS, LEVEL, RESAMPLES, interval

Floats = NDArray[np.float64]
_BLOCK = 2**18  # votes of a block of resamples


def right(scores: ArrayLike, pairs: ArrayLike, wins: ArrayLike) -> Floats:
    """Return the number of votes on each pair that agree with the scores.

    Args:
        scores: [N], or [S, N] of S sources.
        pairs: Positions of the two pictures of each pair, [P, 2].
        wins: Votes for the first and for the second, [P, 2 or more].

    Returns:
        [P], or [S, P].
    """
    given, at, votes = np.asarray(scores), np.asarray(pairs), np.asarray(wins, np.float64)
    gap = np.sign(given[..., at[:, 0]] - given[..., at[:, 1]])
    agree: Floats = (1 + gap) / 2 * votes[:, 0] + (1 - gap) / 2 * votes[:, 1]
    return agree


def vote_accuracy(scores: ArrayLike, pairs: ArrayLike, wins: ArrayLike) -> float:
    """Return the share of decided votes that prefer the picture of the higher score.

    Args:
        scores: [N].
        pairs: Positions of the two pictures of each pair, [P, 2].
        wins: Votes for the first and for the second, [P, 2 or more].

    Returns:
        Accuracy in [0, 1]; NaN without decided votes.

    Example:
        >>> vote_accuracy([0.2, 0.6, 0.4], [[0, 1], [1, 2]], [[1, 3], [4, 0]])
        0.875
    """
    decided = float(np.asarray(wins, np.float64)[:, :2].sum())
    return float(right(scores, pairs, wins).sum() / decided) if decided else float("nan")


def majority_accuracy(wins: ArrayLike) -> float:
    """Return the accuracy of taking the majority of each pair: no scores can do better.

    Args:
        wins: Votes for the first and for the second, [P, 2 or more].

    Returns:
        Accuracy in [0.5, 1]; NaN if no pair has two decided votes, which tell nothing of agreement.
    """
    decided = np.asarray(wins, np.float64)[:, :2]
    if not (decided.sum(axis=1) > 1).any():
        return float("nan")
    return float(decided.max(axis=1).sum() / decided.sum())


class Accuracies(NamedTuple):
    """Accuracy of S sources on the same votes, with 95% intervals."""

    value: Floats
    """[S]."""
    low: Floats
    """[S]; NaN with too few units."""
    high: Floats
    """[S]."""
    gain: Floats
    """Accuracy less that of the first source, [S]."""
    gain_low: Floats
    """[S], from the same resamples."""
    gain_high: Floats
    """[S]."""


def resampled_accuracy(
    agreeing: ArrayLike,
    decided: ArrayLike,
    units: Sequence[ArrayLike],
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Accuracies:
    """Return accuracies with percentile intervals over resampled units.

    Args:
        agreeing: Number of votes that agree with each source, [S, V].
        decided: Number of decided votes, [V].
        units: What is drawn with replacement: for each kind of unit the labels of the units of each
            vote, [V] (its content, its rater) or [V, 2] (its two pictures).
        resamples: Number of resamples.
        seed: Random seed.
        level: Coverage.

    Returns:
        The accuracies; intervals are NaN with fewer than
        :data:`~clipiqa_plus.metrics.resampling.FEWEST_UNITS` units of a kind, and those of an
        accuracy of 0 or 1, which is the same in every resample.
    """
    ours, total = np.atleast_2d(np.asarray(agreeing, np.float64)), np.asarray(decided, np.float64)
    value = ours.sum(axis=1) / total.sum() if total.sum() else np.full(len(ours), np.nan)
    kinds = []
    for unit in units:
        labels, at = np.unique(np.asarray(unit), return_inverse=True)
        kinds.append((len(labels), at.reshape(len(total), -1)))
    sums: list[Floats] = []
    if total.sum() and min(count for count, _ in kinds) >= FEWEST_UNITS:
        rng, block = np.random.default_rng(seed), max(1, _BLOCK // len(total))
        for start in range(0, resamples, block):
            rows = min(block, resamples - start)
            weight = np.ones((rows, len(total)))
            for count, at in kinds:
                drawn = rng.multinomial(count, np.full(count, 1 / count), size=rows)
                weight *= drawn[:, at].prod(axis=2)
            size = weight @ total
            with np.errstate(invalid="ignore"):  # a resample without votes is NaN
                sums.append(weight @ ours.T / size[:, None])
    samples = np.concatenate(sums) if sums else np.empty((0, len(ours)))
    ends = np.array([interval(column, level) for column in samples.T]).reshape(-1, 2)
    ends[np.isin(value, (0, 1))] = np.nan
    gains = np.array([interval(column, level) for column in (samples - samples[:, :1]).T])
    gains = gains.reshape(-1, 2)
    return Accuracies(value, ends[:, 0], ends[:, 1], value - value[0], gains[:, 0], gains[:, 1])


class VoteAccuracy(IQAMetric):
    """Accuracy on votes, exact over batches and processes: :func:`vote_accuracy` as a class.

    The targets of :meth:`update` are ignored; what people prefer are the votes.

    Args:
        pairs: Sample ids of the two pictures of each pair, [P, 2].
        wins: Votes for the first and for the second, [P, 2 or more].
        kwargs: Arguments of :class:`~clipiqa_plus.metrics.classes.IQAMetric`.
    """

    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def __init__(self, pairs: ArrayLike, wins: ArrayLike, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pairs, self.wins = np.asarray(pairs, np.int64), np.asarray(wins, np.float64)

    def update(self, prediction: Tensor, target: Tensor, sample_id: Tensor) -> None:
        """Add one batch; see :meth:`IQAMetric.update`."""
        super().update(prediction, sample_id, sample_id)  # so that score() knows the ids

    def score(self, prediction: Tensor, target: Tensor) -> Tensor:
        """See :func:`vote_accuracy`; pairs with a picture that was not seen do not count."""
        ids = target.numpy().astype(np.int64)
        place = np.searchsorted(ids, self.pairs).clip(max=max(len(ids) - 1, 0))
        if not len(ids):
            return torch.tensor(torch.nan, dtype=torch.float64)
        seen = (ids[place] == self.pairs).all(axis=1)
        found = vote_accuracy(prediction.numpy(), place[seen], self.wins[seen])
        return torch.tensor(found, dtype=torch.float64)
