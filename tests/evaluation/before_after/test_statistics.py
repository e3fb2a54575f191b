"""Paired differences before and after a change: against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from clipiqa_plus.evaluation.before_after.statistics import paired


def test_differences_and_wins_by_hand() -> None:
    before = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    after = before + np.array([0.1, 0.1, 0.1, 0.1, 0.1, -0.1, 0.0, 0.1])
    found = paired(before, after)
    assert found["difference"] == pytest.approx(0.5 / 8)
    assert found["before"] == pytest.approx(0.45)
    assert found["after"] == pytest.approx(0.45 + 0.5 / 8)
    assert (found["wins"], found["losses"], found["ties"], found["n"]) == (6, 1, 1, 8)
    assert found["win_rate"] == pytest.approx(6.5 / 8)
    # Without the tie, the sign test; with it, each sign pattern of the others occurs twice.
    assert found["p_win_rate"] == pytest.approx(stats.binomtest(6, 7).pvalue)


def test_p_value_and_interval_are_near_those_of_the_t_test() -> None:
    rng = np.random.default_rng(0)
    before = rng.uniform(size=400)
    after = before + 0.01 + 0.1 * rng.normal(size=400)
    found = paired(before, after)
    test = stats.ttest_rel(after, before)
    ends = test.confidence_interval(0.95)
    assert found["p_difference"] == pytest.approx(test.pvalue, abs=0.01)  # 10,000 patterns: 0.002
    assert found["difference_low"] == pytest.approx(ends.low, abs=1e-3)
    assert found["difference_high"] == pytest.approx(ends.high, abs=1e-3)
    share = stats.binomtest(found["wins"], 400).proportion_ci(0.95)
    assert found["win_rate_low"] == pytest.approx(share.low, abs=0.01)
    assert found["win_rate_high"] == pytest.approx(share.high, abs=0.01)


def test_versions_of_one_content_are_no_witnesses_of_their_own() -> None:
    rng = np.random.default_rng(0)
    change = np.repeat(0.4 + rng.normal(size=12), 30)
    before, groups = rng.normal(size=360), np.repeat(np.arange(12), 30)
    alone, together = paired(before, before + change), paired(before, before + change, groups)
    assert alone["difference"] == together["difference"]
    assert together["p_difference"] > 5 * alone["p_difference"]
    few = paired([0.1, 0.2], [0.3, 0.4])
    assert few["difference"] == pytest.approx(0.2)
    assert np.isnan([few["p_difference"], few["difference_low"], few["win_rate_high"]]).all()


@pytest.mark.parametrize(("rate", "pictures"), [(0.5, 40), (0.9, 40), (0.98, 40), (0.98, 200)])
@pytest.mark.parametrize("versions", [1, 5])
def test_interval_of_the_win_rate_covers_it(rate: float, pictures: int, versions: int) -> None:
    rng = np.random.default_rng(0)
    groups, covered = np.repeat(np.arange(pictures), versions), 0
    for _ in range(400):
        change = np.where(rng.random(pictures) < rate, 1.0, -1.0).repeat(versions)
        found = paired(np.zeros(len(change)), change, groups, flips=39)
        covered += found["win_rate_low"] <= rate <= found["win_rate_high"]
    # Wilson's interval covers 95% on average, by few pictures a little more or less for each rate;
    # the standard error of 400 repeats is 0.011.
    assert covered / 400 >= 0.92


def test_interval_of_a_certain_win_is_not_certain() -> None:
    always = paired(np.zeros(24), np.ones(24))
    t = stats.t.ppf(0.975, 23)
    assert always["win_rate_low"] == pytest.approx(24 / (24 + t**2))
    assert always["win_rate_high"] == 1
    never = paired(np.ones(24), np.zeros(24))
    assert never["win_rate_high"] == pytest.approx(1 - always["win_rate_low"])
    # Alike versions of a content tell nothing new, independent ones do.
    change = np.repeat([1.0, -1.0], [20, 4])
    few = paired(np.zeros(24), change)
    again = paired(np.zeros(240), change.repeat(10), np.arange(24).repeat(10))
    assert again["win_rate_low"] == pytest.approx(few["win_rate_low"])
    assert again["win_rate_high"] == pytest.approx(few["win_rate_high"])
