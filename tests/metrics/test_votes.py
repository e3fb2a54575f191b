"""Accuracy on votes against counting by hand, and the coverage of its intervals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from clipiqa_plus.metrics.votes import (
    VoteAccuracy,
    majority_accuracy,
    resampled_accuracy,
    right,
    vote_accuracy,
)


def test_accuracy_equals_counting_vote_by_vote() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 5, 12) / 5  # with equal scores
    pairs = np.array([rng.choice(12, 2, replace=False) for _ in range(40)])
    wins = rng.integers(0, 4, (40, 3)).astype(float)
    agreeing = total = 0.0
    for (i, j), (first, second, _) in zip(pairs, wins, strict=True):
        total += first + second
        if scores[i] == scores[j]:
            agreeing += (first + second) / 2
        else:
            agreeing += first if scores[i] > scores[j] else second
    assert vote_accuracy(scores, pairs, wins) == pytest.approx(agreeing / total, abs=1e-12)
    assert np.isnan(vote_accuracy(scores, pairs, wins * [0, 0, 1]))
    assert majority_accuracy(wins) >= vote_accuracy(scores, pairs, wins)
    assert np.isnan(majority_accuracy([[1, 0], [0, 1]]))


def test_the_class_is_exact_over_batches_and_ignores_copies() -> None:
    rng = np.random.default_rng(1)
    ids = rng.permutation(50)[:20]
    pairs = np.array([rng.choice(ids, 2, replace=False) for _ in range(30)])
    wins, scores = rng.integers(0, 3, (30, 3)), torch.rand(50)
    metric = VoteAccuracy(pairs, wins)
    nothing = torch.full((12,), torch.nan)  # pictures of votes have no MOS
    for part in (ids[:12], ids[8:]):
        batch = torch.from_numpy(part)
        metric.update(scores[batch], nothing, batch)
    assert float(metric.compute()) == pytest.approx(vote_accuracy(scores.numpy(), pairs, wins))


@pytest.mark.slow
def test_intervals_over_pictures_cover_the_truth() -> None:
    """A vote on two pictures depends on both: resampled as if independent, intervals are too short.

    100 repeats: a coverage of 0.95 gives 0.90 or less with a probability of 0.03; the intervals are
    meant to be somewhat wide.
    """
    rng, inside, naive = np.random.default_rng(2), 0, 0
    count, votes, truth = 40, 300, 0.0
    hits = []
    for _ in range(101):
        quality, noise = rng.normal(size=(2, count))
        scores = quality + 1.0 * noise  # the error of a picture's score is shared by its votes
        pairs = np.array([rng.choice(count, 2, replace=False) for _ in range(votes)])
        first = rng.random(votes) < norm.cdf(quality[pairs[:, 0]] - quality[pairs[:, 1]])
        wins = np.stack([first, ~first], axis=1).astype(float)
        hits.append((scores, pairs, wins))
    truth = float(np.mean([vote_accuracy(*hit) for hit in hits]))
    for scores, pairs, wins in hits[1:]:
        agreeing = right(scores, pairs, wins)
        by_picture = resampled_accuracy(agreeing, wins.sum(axis=1), [pairs], resamples=300)
        by_vote = resampled_accuracy(agreeing, wins.sum(axis=1), [np.arange(votes)], resamples=300)
        inside += int(by_picture.low[0] <= truth <= by_picture.high[0])
        naive += int(by_vote.low[0] <= truth <= by_vote.high[0])
    assert inside >= 90
    assert naive < inside


def test_gains_come_from_the_same_resamples() -> None:
    rng = np.random.default_rng(3)
    pairs = np.array([rng.choice(30, 2, replace=False) for _ in range(200)])
    wins = np.array([[1.0, 0.0]] * 200)
    one = right(rng.random(30), pairs, wins)
    found = resampled_accuracy(np.stack([one, one]), wins.sum(axis=1), [pairs], resamples=100)
    assert (found.gain_low[1], found.gain[1], found.gain_high[1]) == (0, 0, 0)
    assert found.low[0] < found.value[0] < found.high[0]
    few = resampled_accuracy(one, wins.sum(axis=1), [np.arange(200) % 4], resamples=100)
    assert np.isnan(few.low[0])
    sure = resampled_accuracy(
        np.stack([one, wins[:, 0]]), wins.sum(axis=1), [pairs], resamples=100
    )  # every resample of the second has accuracy 1, which is no reason to be certain
    assert sure.value[1] == 1
    assert np.isnan([sure.low[1], sure.high[1]]).all()
    assert sure.low[0] < sure.high[0] < 1
    assert sure.gain_low[1] < sure.gain[1] < sure.gain_high[1]
