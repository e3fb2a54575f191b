"""Spread of ratings: against scipy, formulas and simulated panels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from clipiqa_plus.metrics.ratings import confidence, noise_ceiling


def test_confidence_interval_equals_scipy() -> None:
    ratings = np.random.default_rng(0).normal(3, 1, size=(4, 12))
    found = confidence(ratings.std(axis=1, ddof=1), np.full(4, 12))
    for row, half in zip(ratings, found, strict=True):
        interval = stats.ttest_1samp(row, 0).confidence_interval(0.95)
        assert half == pytest.approx((interval.high - interval.low) / 2)
    assert np.isnan(confidence([1.0], [1])).all()


def test_ceiling_is_the_reliability_that_the_panels_were_made_with() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=4000)
    std, n = np.full(4000, 3.0), np.full(4000, 9)  # error variance 1: reliability 1/2
    first, second = true + rng.normal(size=(2, 4000))
    found = noise_ceiling(first, std, n, panels=50)
    assert found["PLCC"].value == pytest.approx(0.5, abs=0.03)  # standard error 0.013
    assert found["PLCC"].value == pytest.approx(np.corrcoef(first, second)[0, 1], abs=0.04)
    assert found["SRCC"].value == pytest.approx(stats.spearmanr(first, second)[0], abs=0.04)
    for ceiling in found.values():
        assert ceiling.low < ceiling.value < ceiling.high


def test_ceiling_at_its_ends() -> None:
    mos = np.random.default_rng(0).normal(size=50)
    n = np.full(50, 10)
    assert noise_ceiling(mos, np.zeros(50), n, panels=3)["SRCC"].value == pytest.approx(1)
    nothing = noise_ceiling(mos, np.full(50, 100.0), n, panels=200)["SRCC"]
    assert nothing.value == pytest.approx(0, abs=0.04)  # standard error 0.01
    assert nothing == noise_ceiling(mos, np.full(50, 100.0), n, panels=200)["SRCC"]
    assert np.isnan(noise_ceiling(np.ones(50), np.ones(50), n)["PLCC"].value)
