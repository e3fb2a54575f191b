"""Krasula's analysis: against brute force over pairs, and by simulation."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from clipiqa_plus.metrics.krasula import compare, delong, delong_test, krasula, rated_pairs


def rated(n: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two sources with ties, MOS, deviations, numbers of ratings."""
    rng = np.random.default_rng(seed)
    mos = rng.uniform(1, 5, n)
    x = (mos + rng.normal(size=(2, n)) * [[0.5], [1.5]]).round(1)
    return x, mos, rng.uniform(0.5, 1, n), rng.integers(10, 30, n)


def test_analysis_equals_a_loop_over_pairs() -> None:
    x, mos, std, n = rated()
    found = krasula(x, rated_pairs(mos, std, n))
    for s in range(2):
        different, similar, better, right = [], [], [], []
        for i, j in combinations(range(40), 2):
            z = (mos[i] - mos[j]) / np.sqrt(std[i] ** 2 / n[i] + std[j] ** 2 / n[j])
            change = x[s, i] - x[s, j]
            if 2 * stats.norm.sf(abs(z)) < 0.05:
                different.append(abs(change))
                better.append(change if z > 0 else -change)
                right.append(0.5 if change == 0 else float((change > 0) == (z > 0)))
            else:
                similar.append(abs(change))
        worse = [-change for change in better]
        for name, a, b in (("AUC_DS", different, similar), ("AUC_BW", better, worse)):
            area = stats.mannwhitneyu(a, b).statistic / (len(a) * len(b))
            assert found[name].value[s] == pytest.approx(area)
        assert found["CC0"].value[s] == pytest.approx(np.mean(right))
    assert found["AUC_BW"].value[0] > found["AUC_BW"].value[1]


def test_delong_by_brute_force() -> None:
    rng = np.random.default_rng(1)
    labels = rng.random(30) < 0.4
    x = (labels + rng.normal(size=(2, 30))).round(1)
    areas, parts = [], []
    for row in x:
        kernel = np.array(
            [[(a > b) + (a == b) / 2 for b in row[~labels]] for a in row[labels]], np.float64
        )
        areas.append(kernel.mean())
        parts.append((kernel.mean(axis=1), kernel.mean(axis=0)))
    area, placements = delong(x, labels)
    np.testing.assert_allclose(area, areas)
    for s in range(2):
        np.testing.assert_allclose(placements[s][labels], parts[s][0])
        np.testing.assert_allclose(placements[s][~labels], parts[s][1])
    covariance = np.cov([p[0] for p in parts]) / labels.sum()
    covariance += np.cov([p[1] for p in parts]) / (~labels).sum()
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    z = (areas[1] - areas[0]) / np.sqrt(variance)
    assert delong_test(x, labels) == pytest.approx(2 * stats.norm.sf(abs(z)))
    assert krasula_p(x) == pytest.approx(krasula_p(x[::-1]))


def krasula_p(x: np.ndarray) -> float:
    rng = np.random.default_rng(2)
    pairs = rated_pairs(rng.uniform(1, 5, 30), np.ones(30), np.full(30, 20))
    return float(krasula(x, pairs, [(0, 1)])["AUC_BW"].p_delong[0])


@pytest.mark.slow
def test_level_holds_although_pairs_share_pictures() -> None:
    rng = np.random.default_rng(0)
    rejected: dict[str, list[bool]] = {name: [] for name in ("AUC_DS", "AUC_BW", "CC0", "DeLong")}
    for _ in range(600):
        mos = rng.uniform(1, 5, 60)
        x = mos + rng.normal(size=(2, 60))
        pairs = rated_pairs(mos, np.ones(60), np.full(60, 20))
        analyses = krasula(x, pairs, [(0, 1)])
        for name, test in compare(analyses, pairs, [(0, 1)], np.arange(60), flips=199).items():
            rejected[name].append(bool(test.p[0] <= 0.05))
        rejected["DeLong"].append(bool(analyses["AUC_BW"].p_delong[0] <= 0.05))
    for name in ("AUC_DS", "AUC_BW", "CC0"):
        assert 0.025 <= np.mean(rejected[name]) <= 0.075  # standard error 0.009
    assert np.mean(rejected["DeLong"]) > 0.15  # what taking pairs as independent would cost


@pytest.mark.slow
def test_level_holds_where_few_pairs_are_sampled() -> None:
    rng = np.random.default_rng(0)
    rejected: dict[str, list[bool]] = {name: [] for name in ("AUC_DS", "AUC_BW", "CC0")}
    for seed in range(1000):
        mos = rng.uniform(1, 5, 100)
        x = mos + rng.normal(size=(2, 100))
        pairs = rated_pairs(mos, np.ones(100), np.full(100, 20), most=500, seed=seed)
        analyses = krasula(x, pairs)
        for name, test in compare(analyses, pairs, [(0, 1)], np.arange(100), flips=199).items():
            rejected[name].append(bool(test.p[0] <= 0.05))
    for name, found in rejected.items():
        assert 0.029 <= np.mean(found) <= 0.071, (
            name
        )  # three standard errors; 0.01 if pairs counted twice


def test_flipped_signs_have_the_variance_for_dyadic_data() -> None:
    x, mos, std, n = rated(60)
    pairs = rated_pairs(mos, std, n, most=400)  # some twice
    found = krasula(x, pairs)["AUC_BW"]
    unit = np.arange(60) // 2
    change = found.influence[1] - found.influence[0]
    ends = [{unit[i], unit[j]} for i, j in zip(pairs.first, pairs.second, strict=True)]
    variance = sum(
        change[p] * change[q] for p, q in product(range(400), repeat=2) if ends[p] & ends[q]
    )
    between = np.mean([len(pair) == 2 for pair in ends])
    variance /= 1 - (1 + between) ** 2 / 30
    effect = found.value[1] - found.value[0]
    spread = np.sqrt(variance * 29 / 30 + effect**2 / 30)
    test = compare({"AUC_BW": found}, pairs, [(0, 1)], unit, flips=20_000)["AUC_BW"]
    # Sums of 30 flipped terms are nearly normal; 20,000 patterns have a standard error of 0.004.
    assert test.p[0] == pytest.approx(2 * stats.norm.sf(abs(effect) / spread), abs=0.015)


@pytest.mark.slow
def test_level_holds_with_few_contents() -> None:
    rng = np.random.default_rng(0)
    content = np.repeat(np.arange(20), 5)
    rejected: dict[str, list[bool]] = {name: [] for name in ("AUC_DS", "AUC_BW", "CC0")}
    for _ in range(1000):
        mos = rng.uniform(1, 5, 100)
        x = mos + 0.7 * rng.normal(size=(2, 20))[:, content] + rng.normal(size=(2, 100))
        pairs = rated_pairs(mos, np.ones(100), np.full(100, 20))
        analyses = krasula(x, pairs)
        for name, test in compare(analyses, pairs, [(0, 1)], content, flips=199).items():
            rejected[name].append(bool(test.p[0] <= 0.05))
    for found in rejected.values():
        assert 0.029 <= np.mean(found) <= 0.071  # 3 standard errors


def test_the_order_of_the_pictures_plays_no_part() -> None:
    x, mos, std, n = rated()
    order = np.random.default_rng(3).permutation(40)
    found = [
        krasula(x[:, rows], rated_pairs(mos[rows], std[rows], n[rows]), [(0, 1)])
        for rows in (np.arange(40), order)
    ]
    for name in ("AUC_DS", "AUC_BW", "CC0"):
        np.testing.assert_allclose(found[0][name].value, found[1][name].value, rtol=1e-12)
        np.testing.assert_allclose(found[0][name].p_delong, found[1][name].p_delong, rtol=1e-9)


@pytest.mark.slow
def test_interval_of_a_difference_is_that_of_resampled_pictures() -> None:
    rng = np.random.default_rng(0)
    mos = rng.uniform(1, 5, 80)
    x = mos + rng.normal(size=(2, 80)) * [[2], [1]]
    pairs = rated_pairs(mos, np.ones(80), np.full(80, 20))
    analyses = krasula(x, pairs)
    found = compare(analyses, pairs, [(0, 1)], np.arange(80))["CC0"]
    values = []
    for _ in range(200):
        rows = rng.integers(0, 80, 80)
        drawn = krasula(x[:, rows], rated_pairs(mos[rows], np.ones(80), np.full(80, 20)))
        values.append(np.diff(drawn["CC0"].value)[0])
    assert found.low[0] < np.diff(analyses["CC0"].value)[0] < found.high[0]
    width = 2 * 1.96 * np.std(values)
    assert found.high[0] - found.low[0] == pytest.approx(width, rel=0.2)  # of 200: 5%


def test_pictures_of_two_sets_are_never_paired_and_many_pairs_are_drawn() -> None:
    x, mos, std, n = rated()
    sets = np.repeat(["a", "b"], 20)
    pairs = rated_pairs(mos, std, n, sets)
    assert len(pairs.first) == 2 * 190
    assert (sets[pairs.first] == sets[pairs.second]).all()
    parts = [rated_pairs(mos[h], std[h], n[h]).relation for h in (slice(0, 20), slice(20, 40))]
    np.testing.assert_array_equal(pairs.relation, np.concatenate(parts))
    drawn = rated_pairs(mos, std, n, sets, most=200)
    assert (sets[drawn.first] == sets[drawn.second]).all()
    assert len(drawn.first) == 200
    drawn = rated_pairs(mos, std, n, most=500)
    assert len(drawn.first) == 500
    assert (drawn.first < drawn.second).all()
    whole = krasula(x, rated_pairs(mos, std, n))["AUC_BW"].value
    np.testing.assert_allclose(krasula(x, drawn)["AUC_BW"].value, whole, atol=0.05)


def test_what_does_not_exist_is_nan() -> None:
    x, mos, _, n = rated()
    alike = krasula(x, rated_pairs(mos, np.full(40, 1e3), n))
    assert all(np.isnan(alike[name].value).all() for name in ("AUC_DS", "AUC_BW", "CC0"))
    apart = krasula(x, rated_pairs(mos, np.zeros(40), n))
    assert np.isnan(apart["AUC_DS"].value).all()
    assert np.isfinite(apart["AUC_BW"].value).all()


@pytest.mark.parametrize(("field", "value"), list(product(["mos_std", "n_ratings"], [-1, np.nan])))
def test_missing_deviations_or_numbers_are_refused(field: str, value: float) -> None:
    facts = {"mos_std": np.ones(5), "n_ratings": np.full(5, 20.0)}
    facts[field][3] = value
    with pytest.raises(ValueError, match=f"{field} of picture 3"):
        rated_pairs(np.arange(5), **facts)
