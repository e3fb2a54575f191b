"""ITU-T P.1401: against scipy, general optimisers, formulas by hand and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from clipiqa_plus.metrics.p1401 import (
    cubic_mapping,
    outlier_ratio,
    outlier_test,
    pitman_morgan,
    rmse,
    rmse_star,
    rmse_test,
)


def test_free_cubic_equals_polyfit() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(20, 60, 80)
    y = 1e-3 * (x - 40) ** 3 + x + rng.normal(size=80)
    np.testing.assert_allclose(cubic_mapping(x, y), np.polyval(np.polyfit(x, y, 3), x), rtol=1e-9)
    np.testing.assert_allclose(cubic_mapping(-x, y), cubic_mapping(x, y))


@pytest.mark.parametrize("seed", range(5))
def test_monotonic_cubic_is_the_best_of_a_general_optimiser(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(size=60))
    y = 5 * (x - 0.6) ** 2 + 0.3 * rng.normal(size=60)  # turns within the range
    mapped = cubic_mapping(x, y)
    free = np.polyval(np.polyfit(x, y, 3), x)
    steps = np.diff(mapped)
    assert (steps >= -1e-12).all() or (steps <= 1e-12).all()
    assert np.diff(free).min() < 0 < np.diff(free).max()
    grid = np.linspace(x[0], x[-1], 400)

    def loss(c: np.ndarray) -> float:
        return float(np.sum((np.polyval(c, x) - y) ** 2))

    found = min(
        optimize.minimize(
            loss,
            start,
            constraints={"type": "ineq", "fun": lambda c, s=s: s * np.polyval(np.polyder(c), grid)},
            options={"maxiter": 500},
            method="SLSQP",
        ).fun
        for s in (1, -1)
        for start in ([0, 0, s, y.mean()],)
    )
    # 1e-3: the grid of 201 positions against the optimiser's tolerance.
    assert np.sum((mapped - y) ** 2) == pytest.approx(found, rel=1e-3)


def test_errors_by_hand() -> None:
    mapped, mos = np.array([1.0, 2, 3, 4, 5, 6]), np.array([1.0, 2.5, 3, 6, 5, 5])
    half = np.full(6, 0.8)
    assert rmse(mapped, mos) == pytest.approx(np.sqrt((0.25 + 4 + 1) / 2))
    assert rmse_star(mapped, mos, half) == pytest.approx(np.sqrt((1.2**2 + 0.2**2) / 2))
    assert outlier_ratio(mapped, mos, half) == pytest.approx(2 / 6)
    assert np.isnan(rmse(mapped[:4], mos[:4]))


def test_tests_of_errors_equal_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=60), 1.3 * rng.normal(size=60)
    ratio = b.var(ddof=1) / a.var(ddof=1)
    expected = 2 * min(stats.f.sf(ratio, 59, 59), stats.f.cdf(ratio, 59, 59))
    assert rmse_test(a.std(ddof=1), b.std(ddof=1), 59) == pytest.approx(expected)
    assert rmse_test(1.0, 1.0, 59) == pytest.approx(1)
    assert np.isnan(rmse_test(0.0, 1.0, 59))
    table = [[30, 70], [15, 85]]
    chi2 = stats.chi2_contingency(table, correction=False).pvalue
    assert outlier_test(0.3, 0.15, 100) == pytest.approx(chi2)
    assert np.isnan(outlier_test(0, 0, 100))


@pytest.mark.slow
def test_paired_residuals_have_a_test_of_their_own() -> None:
    rng = np.random.default_rng(0)
    paired, unpaired = [], []
    for _ in range(1000):
        shared = 2 * rng.normal(size=100)
        a, b = shared + rng.normal(size=(2, 100))
        paired.append(pitman_morgan(a, b) <= 0.05)
        unpaired.append(rmse_test(a.std(ddof=1), b.std(ddof=1), 99) <= 0.05)
    assert 0.035 <= np.mean(paired) <= 0.065  # standard error 0.007
    assert np.mean(unpaired) < 0.02  # too cautious
    assert np.isnan(pitman_morgan(np.ones(5), np.ones(5)))
