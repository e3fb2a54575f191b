"""Friedman and Nemenyi: Demsar's worked example, and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from clipiqa_plus.metrics.rank_tests import friedman

# Demsar, JMLR 7, 2006, table 6: AUC of C4.5, C4.5+m, C4.5+cf and C4.5+m+cf on 14 data sets.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],  # printed as 0.975, ranked 2 and 3: rounded there
        [0.957, 0.978, 0.946, 0.970],
    ]
)


def test_worked_example_of_demsar() -> None:
    found = friedman(DEMSAR)
    np.testing.assert_allclose(found.ranks, [3.143, 2.000, 2.893, 1.964], atol=5e-4)
    assert found.critical_difference == pytest.approx(1.25, abs=5e-3)


@pytest.mark.parametrize("values", [DEMSAR, np.random.default_rng(0).normal(size=(12, 4)).round(1)])
def test_p_is_that_of_the_corrected_chi_square(values: np.ndarray) -> None:
    sets = len(values)
    chi2 = stats.friedmanchisquare(*values.T).statistic  # corrected for ties
    expected = stats.f.sf((sets - 1) * chi2 / (sets * 3 - chi2), 3, 3 * (sets - 1))
    assert friedman(values).p == pytest.approx(expected)


def test_ends() -> None:
    same_order = np.tile([3.0, 2.0, 1.0], (6, 1))
    found = friedman(same_order)
    np.testing.assert_array_equal(found.ranks, [1, 2, 3])
    assert found.p == pytest.approx(1 / math.factorial(3) ** 5)
    assert math.isnan(friedman(np.ones((6, 3))).p)
    for few in (same_order[:4], same_order[:, :2]):
        found = friedman(few)
        assert math.isnan(found.p)
        assert math.isnan(found.critical_difference)
        assert found.ranks[0] == 1
    with pytest.raises(ValueError, match="finite"):
        friedman([[1.0, np.nan]])
