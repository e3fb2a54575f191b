"""Distances between distributions against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from clipiqa_plus.metrics.distributions import earth_movers_distance, js_divergence


@pytest.mark.parametrize(("ours", "theirs"), [(5, 5), (5, 10), (2, 5), (3, 2)])
def test_earth_movers_distance_is_scipys(ours: int, theirs: int) -> None:
    rng = np.random.default_rng(0)
    predicted = rng.dirichlet(np.ones(ours), 8)
    counts = rng.integers(0, 9, (8, theirs)) + np.eye(theirs, dtype=int)[0]
    expected = [
        stats.wasserstein_distance(np.linspace(0, 1, ours), np.linspace(0, 1, theirs), p, c)
        for p, c in zip(predicted, counts, strict=True)
    ]
    np.testing.assert_allclose(earth_movers_distance(predicted, counts), expected, atol=1e-12)


def test_divergence_by_its_definition() -> None:
    rng = np.random.default_rng(1)
    p, q = rng.dirichlet(np.ones(5), (2, 6))
    middle = (p + q) / 2
    expected = (stats.entropy(p, middle, base=2, axis=1) + stats.entropy(q, middle, 2, axis=1)) / 2
    np.testing.assert_allclose(js_divergence(p, 7 * q), expected, atol=1e-12)
    assert js_divergence([[1, 0]], [[0, 1]]) == [1]
    assert js_divergence(p, p).max() < 1e-12


def test_ends_of_the_scale_are_one_apart() -> None:
    assert earth_movers_distance([[1, 0, 0]], [[0, 0, 5]]) == [1]
    assert earth_movers_distance([[0, 1, 0]], [[0, 0, 5]]) == [0.5]


def test_what_is_no_distribution_is_named() -> None:
    with pytest.raises(ValueError, match=r"picture 1: \[0\.0, 0\.0\] is no distribution"):
        earth_movers_distance([[1, 0], [0, 0]], [[1, 0], [1, 0]])
    with pytest.raises(ValueError, match="same N pictures"):
        js_divergence([[1, 0]], [[1, 0], [1, 0]])
    with pytest.raises(ValueError, match="2 and 3 grades"):
        js_divergence([[1, 0]], [[1, 0, 0]])
