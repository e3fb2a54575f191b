"""The choice of pictures and pairs: where members disagree, and no near duplicates."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from clipiqa_plus.evaluation.rating import choose_pairs, choose_pictures


def features(count: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(count, 24))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def disagreement(scores: np.ndarray) -> np.ndarray:
    return (rankdata(scores, axis=1) / scores.shape[1]).std(axis=0)


def test_pictures_of_large_disagreement_come_first_whatever_the_scales() -> None:
    rng = np.random.default_rng(1)
    common = rng.random(200)
    scores = np.stack([common, common, common])
    doubtful = rng.choice(200, 20, replace=False)
    scores[:, doubtful] = rng.random((3, 20))
    chosen = choose_pictures(scores, features(200), 10)
    assert set(chosen.tolist()) <= set(doubtful.tolist())
    stretched = np.stack([scores[0], scores[1] ** 3, 5 + 0.01 * scores[2]])
    assert choose_pictures(stretched, features(200), 10).tolist() == chosen.tolist()
    best = int(np.argmax(disagreement(scores)))
    assert chosen[0] == best


def test_near_duplicates_are_chosen_once() -> None:
    rng = np.random.default_rng(2)
    shown = features(40)
    shown = np.concatenate([shown, shown + 0.001 * rng.normal(size=shown.shape)])
    scores = rng.random((4, 80))
    chosen = choose_pictures(scores, shown, 80)
    assert len(chosen) == 40
    assert len(set((chosen % 40).tolist())) == 40
    pairs = choose_pairs(scores, shown, 40)
    assert len(pairs) > 0
    assert len(set((pairs % 40).ravel().tolist())) == pairs.size


def test_the_choice_is_more_diverse_than_disagreement_alone() -> None:
    rng = np.random.default_rng(3)
    scene = rng.integers(0, 30, 300)
    shown = features(30)[scene] + 0.1 * features(300, seed=1)
    shown /= np.linalg.norm(shown, axis=1, keepdims=True)
    scores = rng.random((3, 300))
    greedy = choose_pictures(scores, shown, 12)
    alone = np.argsort(-disagreement(scores))[:12]
    assert len(set(scene[greedy])) == 12 > len(set(scene[alone]))
    # Still far more disagreement than a random choice.
    assert disagreement(scores)[greedy].mean() > np.quantile(disagreement(scores), 0.75)


def test_members_are_split_on_the_chosen_pairs() -> None:
    rng = np.random.default_rng(4)
    scores = rng.random(100) + rng.normal(size=(6, 100)) * 0.2
    pairs = choose_pairs(scores, features(100), 15)
    assert len(pairs) == 15
    assert len(set(pairs.ravel().tolist())) == 30  # no picture in two pairs
    prefer = (scores[:, pairs[:, 0]] > scores[:, pairs[:, 1]]).mean(axis=0)
    assert np.minimum(prefer, 1 - prefer).mean() > 0.4
    drawn = np.array([rng.choice(100, 2, replace=False) for _ in range(200)])
    usual = (scores[:, drawn[:, 0]] > scores[:, drawn[:, 1]]).mean(axis=0)
    assert np.minimum(usual, 1 - usual).mean() < 0.3


def test_nothing_is_chosen_where_all_agree() -> None:
    scores = np.tile(np.linspace(0, 1, 30), (3, 1))
    assert len(choose_pictures(scores, features(30), 5)) == 0
    assert len(choose_pairs(scores, features(30), 5)) == 0
