"""Shares of sets, and which pictures an epoch draws."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from clipiqa_plus.data.mixed.sampling import (
    MixedBatches,
    MixedWholePart,
    Part,
    Sampling,
    counts,
    shares,
)

PARTS = [Part(np.arange(0, 60), 2), Part(np.arange(60, 90), 1), Part(np.arange(90, 100), None)]
SIZES = {"a": 60, "b": 30, "c": 10}


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ("size", [0.6, 0.3, 0.1]),
        ("equal", [1 / 3, 1 / 3, 1 / 3]),
        ({"a": 1, "b": 2, "c": 1}, [0.25, 0.5, 0.25]),
        ({"a": 0, "b": 0, "c": 3}, [0, 0, 1]),
    ],
)
def test_shares(sampling: Sampling, expected: list[float]) -> None:
    assert shares(sampling, SIZES).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ("sizes", "choose size, equal, or a weight for each set"),
        ({"a": 1, "b": 1}, r"one weight for each set \(a, b, c\) and no other; wrong: c"),
        ({"a": 1, "b": 1, "c": 1, "d": 1}, "wrong: d"),
        ({"a": 1, "b": -1, "c": 1}, "weights must not be negative"),
        ({"a": 0, "b": 0, "c": 0}, "or all 0"),
    ],
)
def test_wrong_shares_are_refused(sampling: Sampling, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shares(sampling, SIZES)


def test_draws_add_up_and_are_within_one_of_their_share() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        weights = rng.dirichlet(np.ones(5))
        found = counts(weights, 997)
        assert found.sum() == 997
        assert np.abs(found - weights * 997).max() < 1


@pytest.mark.parametrize("sampling", ["size", "equal", {"a": 0, "b": 0.9, "c": 0.1}])
def test_an_epoch_draws_each_set_by_its_share_and_repeats_evenly(sampling: Sampling) -> None:
    weights = shares(sampling, SIZES)
    sampler = MixedBatches(PARTS, weights, 7, epoch=lambda: 2)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 15
    rows = np.concatenate([rows for rows, _ in batches])
    views = np.concatenate([views for _, views in batches])
    assert len(rows) == 100
    for part, share in zip(PARTS, weights, strict=True):
        here = np.isin(rows, part.rows)
        assert abs(here.sum() - 100 * share) < 1
        times = Counter(rows[here].tolist())
        drawn = [times[row] for row in part.rows.tolist()]
        assert max(drawn) - min(drawn) <= 1
        if part.views is not None and here.any():
            assert views[here].max() < part.views
    assert len({tuple(np.isin(r, PARTS[1].rows)) for r, _ in batches}) > 1  # sets are shuffled


def test_a_draw_depends_on_seed_and_epoch_alone() -> None:
    def draw(seed: int, epoch: int) -> list[int]:
        sampler = MixedBatches(PARTS, shares("equal", SIZES), 9, seed=seed, epoch=lambda: epoch)
        return [row for rows, _ in sampler for row in rows.tolist()]

    assert draw(0, 1) == draw(0, 1)
    assert draw(0, 1) != draw(0, 2)
    assert draw(0, 1) != draw(1, 1)


def test_the_whole_part_has_every_view_of_every_picture_once() -> None:
    ((rows, views),) = MixedWholePart(PARTS[:2])
    pairs = set(zip(rows.tolist(), views.tolist(), strict=True))
    first = {(row, view) for row in range(60) for view in (0, 1)}
    assert pairs == first | {(row, 0) for row in range(60, 90)}
    assert len(rows) == len(pairs) == 150
