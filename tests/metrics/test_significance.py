"""Tests of differences: against scipy, permutations by hand, simulation, published examples."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from clipiqa_plus.metrics.significance import (
    FEWEST_TO_TEST,
    compare_correlations,
    compare_losses,
    holm,
    over_splits,
    sign_flips,
    wilcoxon,
    williams,
)

Floats = NDArray[np.float64]


def alike(
    contents: int, pictures: int, sources: int, rng: np.random.Generator
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Interchangeable sources that err by content as well as by picture; MOS; contents."""
    groups = np.repeat(np.arange(contents), pictures)
    mos = rng.normal(size=contents)[groups] / 2 + rng.normal(size=len(groups))
    by_content = rng.normal(size=(sources, contents))[:, groups]
    return mos + 0.7 * by_content + rng.normal(size=(sources, len(groups))), mos, groups


@pytest.mark.slow
@pytest.mark.parametrize("contents", [6, 8, 20, 100])
def test_level_of_5_percent_holds(contents: int) -> None:
    rng = np.random.default_rng(contents)
    rejected: dict[str, list[float]] = {"SRCC": [], "PLCC": []}
    for _ in range(100):
        x, mos, groups = alike(contents, 8, 80, rng)
        pairs = [(2 * k, 2 * k + 1) for k in range(40)]
        for metric, found in compare_correlations(x, mos, pairs, groups, flips=199).items():
            rejected[metric] += (found.p <= 0.05).tolist()
    for values in rejected.values():
        assert len(values) == 4000  # the standard error of 0.05 is 0.0034
        assert 0.035 <= np.mean(values) <= 0.065


def test_scales_of_scores_do_not_matter() -> None:
    x, mos, groups = alike(20, 3, 2, np.random.default_rng(0))
    expected = compare_correlations(x, mos, [(0, 1)], groups)
    monotone = compare_correlations([np.exp(3 * x[0]), x[1]], mos, [(0, 1)], groups)
    np.testing.assert_array_equal(monotone["SRCC"], expected["SRCC"])
    linear = compare_correlations([5 + x[0] / 100, x[1]], mos, [(0, 1)], groups)
    np.testing.assert_allclose(linear["PLCC"], expected["PLCC"])


def test_interval_covers_a_true_difference() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        x, mos, groups = alike(8, 12, 2, rng)
        x[1] += 1.5 * rng.normal(size=x.shape[1])
        found = compare_correlations(x, mos, [(0, 1)], groups)["PLCC"]
        # Variances: MOS 1.25, its own errors 1.49 and 3.74.
        true = np.sqrt(1.25 / (1.25 + 3.74)) - np.sqrt(1.25 / (1.25 + 1.49))
        covered.append(found.low[0] <= true <= found.high[0])
    assert 0.92 <= np.mean(covered) <= 0.98  # standard error 0.011


def test_sign_flips_equal_scipy_permutations() -> None:
    t = np.random.default_rng(0).normal(0.4, size=9)
    expected = stats.permutation_test(
        (t, np.zeros(9)), lambda a, b: np.sum(a - b), permutation_type="samples"
    )
    assert expected.null_distribution.size == 2**9  # exact
    assert sign_flips(t, np.ones(9)).p[0] == pytest.approx(expected.pvalue)
    drawn = sign_flips(t, np.ones(9), flips=255)  # fewer than there are: random
    assert drawn.p[0] == pytest.approx(expected.pvalue, abs=0.05)  # standard error 0.02


def test_swapping_ranks_within_contents_by_hand() -> None:
    x, mos, groups = alike(9, 5, 2, np.random.default_rng(3))
    x[1] += 0.6 * mos
    ranks, target = stats.rankdata(x, axis=1), stats.rankdata(mos)
    differences = []
    for swapped in product([False, True], repeat=9):
        a, b = np.where(np.array(swapped)[groups], ranks[::-1], ranks)
        differences.append(np.corrcoef(b, target)[0, 1] - np.corrcoef(a, target)[0, 1])
    by_hand = np.mean(np.abs(differences) >= np.abs(differences[0]) - 1e-12)
    found = compare_correlations(x, mos, [(0, 1), (1, 0)], groups)["SRCC"]
    # By hand the correlations are computed anew for every pattern, not to first order.
    assert found.p[0] == pytest.approx(by_hand, abs=0.01)
    assert 0.01 < by_hand < 0.2
    assert found.p[1] == found.p[0]
    np.testing.assert_allclose(found.low, -found.high[::-1])


@pytest.mark.parametrize("units", [6, 9, 30])
def test_interval_holds_what_the_test_does_not_reject(units: int) -> None:
    rng = np.random.default_rng(units)
    t, w = rng.normal(0.3, size=(3, units)), rng.uniform(0.5, 2, size=(3, units))
    found = sign_flips(t, w, flips=999)
    for k in range(3):
        assert found.low[k] < t[k].sum() / w[k].sum() < found.high[k]
        for end, outward in ((found.low[k], -1e-6), (found.high[k], 1e-6)):
            assert sign_flips(t[k] - (end + outward) * w[k], w[k], flips=999).p[0] <= 0.05
            assert sign_flips(t[k] - (end - outward) * w[k], w[k], flips=999).p[0] > 0.05


def test_fewer_units_than_a_test_needs() -> None:
    t = np.arange(1.0, FEWEST_TO_TEST + 1)
    assert sign_flips(t, np.ones_like(t)).p[0] == 2 / 64  # the smallest: all signs agree
    assert np.isnan(sign_flips(t[1:], np.ones(5))).all()
    assert np.isnan(sign_flips(t, np.ones_like(t), flips=18)).all()  # 19 patterns: above 0.05


def test_equal_and_constant_sources() -> None:
    x, mos, groups = alike(8, 4, 1, np.random.default_rng(0))
    x = np.concatenate([x, x, np.ones_like(x)])
    for found in compare_correlations(x, mos, [(0, 1), (0, 2)], groups).values():
        assert (found.low[0], found.high[0], found.p[0]) == (0, 0, 1)
        assert np.isnan([found.low[1], found.high[1], found.p[1]]).all()


def test_pictures_are_units_where_contents_are_unknown() -> None:
    x, mos, _ = alike(40, 1, 2, np.random.default_rng(0))
    alone = compare_correlations(x, mos, [(0, 1)])["SRCC"]
    assert alone == compare_correlations(x, mos, [(0, 1)], np.arange(40))["SRCC"]
    repeated = compare_correlations(
        np.repeat(x, 9, axis=1), np.repeat(mos, 9), [(0, 1)], np.repeat(np.arange(40), 9)
    )["SRCC"]
    np.testing.assert_allclose(repeated, alone)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"mos \[N\]"):
        compare_correlations(np.zeros((2, 5)), np.zeros(4), [(0, 1)])
    with pytest.raises(ValueError, match="groups"):
        compare_correlations(np.zeros((2, 5)), np.zeros(5), [(0, 1)], groups=np.zeros(4))


def test_williams_published_example() -> None:
    # Documentation of bruceR's cor_diff: r = .20 and .45 with r_cov = .80, n = 100.
    t, p = williams(0.20, 0.45, 0.80, 100)
    assert t == pytest.approx(-4.56, abs=0.005)
    assert p == pytest.approx(1e-5, rel=0.6)  # printed with one digit, 0.00001
    # By hand: |R| = .59, m = .35: t = -.3 sqrt(9 * 1.3 / (18 / 7 * .59 + .1225 * .343)).
    determinant = 1 - 0.04 - 0.25 - 0.09 + 2 * 0.2 * 0.5 * 0.3
    by_hand = -0.3 * np.sqrt(9 * 1.3 / (18 / 7 * determinant + 0.1225 * 0.343))
    assert williams(0.2, 0.5, 0.3, 10)[0] == pytest.approx(by_hand)


def test_williams_without_an_answer_is_nan() -> None:
    assert np.isnan(williams(0.1, 0.2, 0.3, 3)).all()
    assert np.isnan(williams(float("nan"), 0.2, 0.3, 30)).all()
    assert np.isnan(williams(0.2, 0.2, 1.0, 30)).all()


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.01, np.nan, 0.02]), [0.02, np.nan, 0.02])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1, 1])
    assert holm([]).shape == (0,)


def test_over_splits_by_hand() -> None:
    summary = over_splits([0.8, 0.9, 0.7, 0.84])
    assert (summary.k, summary.median) == (4, pytest.approx(0.82))
    assert summary.mean == pytest.approx(0.81)
    assert summary.std == pytest.approx(np.sqrt((0.01**2 + 0.09**2 + 0.11**2 + 0.03**2) / 3))
    assert np.isnan(over_splits([0.5]).std)
    with pytest.raises(ValueError, match="finite"):
        over_splits([0.5, float("nan")])


def test_wilcoxon_by_hand() -> None:
    # All six differences have one sign: 2 of the 2^6 sign patterns are as extreme.
    assert wilcoxon([1, 2, 3, 4, 5, 6], [0.9, 1.8, 2.7, 3.6, 4.5, 5.4]) == pytest.approx(2 / 64)
    assert np.isnan(wilcoxon([0.5, 0.6], [0.5, 0.6]))
    with pytest.raises(ValueError, match="the same splits"):
        wilcoxon([1.0], [1.0, 2.0])


def test_p_values_of_williams_are_uniform_without_a_difference() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(1000):
        y = rng.normal(size=80)
        x = y + rng.normal(size=(2, 80))
        r = np.corrcoef([*x, y])
        found.append(williams(r[0, 2], r[1, 2], r[0, 1], 80)[1])
    # 1,000 experiments at 5%: the standard error is 0.7%.
    assert 0.03 <= np.mean(np.array(found) < 0.05) <= 0.07


def test_losses_are_compared_as_means_or_as_roots() -> None:
    rng = np.random.default_rng(0)
    losses = rng.normal(size=(3, 60)) ** 2 * [[1], [2], [4]]
    groups = np.repeat(np.arange(20), 3)
    pairs = [(0, 1), (0, 2)]
    found = compare_losses(losses, pairs, groups, root=False)
    means = losses.mean(axis=1)
    for at, (first, second) in enumerate(pairs):
        summed = (losses[second] - losses[first]).reshape(20, 3).sum(axis=1)
        alone = sign_flips(summed, np.full(20, 3))
        assert (found.low[at], found.high[at], found.p[at]) == (alone.low, alone.high, alone.p)
        assert found.low[at] < means[second] - means[first] < found.high[at]
    roots = compare_losses(losses, pairs, groups)
    np.testing.assert_array_equal(roots.p, found.p)  # the same question on another scale
    scale = np.sqrt(means[[1, 2]]) + np.sqrt(means[0])
    np.testing.assert_allclose(roots.low, found.low / scale)
    losses[1, 0] = np.nan
    assert np.isnan(compare_losses(losses, pairs, groups).p).tolist() == [True, False]
    assert np.isnan(compare_losses(np.zeros((2, 60)), [(0, 1)]).p).all()
