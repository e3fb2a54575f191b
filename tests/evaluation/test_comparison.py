"""Result tables: against scipy and the statistics, and what the notes say where numbers end."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch

from clipiqa_plus.evaluation.comparison import (
    DIFFERENCES,
    NO_WILLIAMS,
    NOTHING,
    RESULTS,
    adjust,
    compare_sources,
    correlations,
)
from clipiqa_plus.metrics.functional import logistic_mapping
from clipiqa_plus.metrics.ratings import noise_ceiling
from clipiqa_plus.metrics.resampling import bootstrap, interval
from clipiqa_plus.metrics.significance import (
    compare_correlations,
    compare_losses,
    holm,
    williams,
)
from tests.support.scored_pictures import SOURCES, scored


def test_correlations_equal_scipy() -> None:
    rng = np.random.default_rng(0)
    mos = rng.uniform(size=50)
    prediction = (0.7 * mos + 0.1 * rng.normal(size=50)).round(2)
    found = correlations(prediction, mos)
    assert found["SRCC"] == pytest.approx(scipy.stats.spearmanr(prediction, mos).statistic)
    assert found["PLCC"] == pytest.approx(scipy.stats.pearsonr(prediction, mos).statistic)
    assert found["KRCC"] == pytest.approx(scipy.stats.kendalltau(prediction, mos).statistic)
    assert found["RMSE"] == pytest.approx(np.sqrt(np.mean((prediction - mos) ** 2)))
    assert found["n"] == 50
    assert found["RMSE_logistic"] < found["RMSE"]


def test_tables_hold_what_the_statistics_say() -> None:
    scores = scored()
    results, differences, _ = compare_sources(scores, SOURCES, resamples=500)
    assert list(results.columns) == ["target", "prompts", *RESULTS]
    assert list(differences.columns) == ["target", "prompts", "against", *DIFFERENCES]
    x, y = scores[SOURCES].to_numpy().T, scores["mos"].to_numpy()
    samples = bootstrap(x, y, scores["content"], resamples=500)
    row, gain = results.iloc[1], differences.iloc[0]
    assert row["SRCC"] == pytest.approx(scipy.stats.spearmanr(x[1], y).statistic)
    assert (row["SRCC_low"], row["SRCC_high"]) == interval(samples["SRCC"][1])
    assert (row["PLCC_low"], row["PLCC_high"]) == interval(samples["PLCC"][1])
    assert (row["resampled"], row["note"]) == ("30 contents", "")
    test = compare_correlations(x, y, [(0, 1)], scores["content"], flips=500)["SRCC"]
    assert (gain["prompts"], gain["against"]) == ("a", "zero_shot")
    assert gain["dSRCC"] == pytest.approx(row["SRCC"] - results.iloc[0]["SRCC"])
    assert (gain["dSRCC_low"], gain["dSRCC_high"], gain["p_SRCC"]) == (test.low, test.high, test.p)
    assert np.isnan(gain["p_williams"])
    assert gain["note"] == NO_WILLIAMS
    alone = compare_sources(scored(contents=None), SOURCES, resamples=50).differences.iloc[0]
    r = np.corrcoef([*x[:2], y])
    assert alone["p_williams"] == pytest.approx(williams(r[0, 2], r[1, 2], r[0, 1], 90)[1])
    assert NO_WILLIAMS not in alone["note"]


def test_residuals_of_the_five_parameter_logistic_are_compared() -> None:
    scores = scored()
    results, differences, _ = compare_sources(scores, SOURCES, resamples=500)
    x, y = (torch.tensor(scores[c].to_numpy()) for c in (SOURCES, "mos"))
    residuals = np.stack([(logistic_mapping(row, y, 5) - y).numpy() for row in x.T])
    roots = np.sqrt((residuals**2).mean(axis=1))
    np.testing.assert_allclose(results["RMSE_logistic5"], roots)
    mapped = residuals[0] + y.numpy()
    expected = scipy.stats.pearsonr(mapped, y).statistic
    assert results["PLCC_logistic5"][0] == pytest.approx(expected)
    row, test = (
        differences.iloc[0],
        compare_losses(residuals**2, [(0, 1)], scores["content"], flips=500),
    )
    assert row["dRMSE_logistic5"] == pytest.approx(roots[1] - roots[0])
    assert (row["dRMSE_logistic5_low"], row["p_residuals"]) == (test.low, test.p)
    variances = (residuals**2).sum(axis=1) / 85
    assert row["F"] == pytest.approx(variances[0] / variances[1])  # above 1: the smaller residuals
    p = 2 * min(f(row["F"], 85, 85) for f in (scipy.stats.f.sf, scipy.stats.f.cdf))
    assert row["p_F"] == pytest.approx(p)


@pytest.mark.slow
def test_ceiling_stands_beside_every_source_where_the_noise_is_known() -> None:
    scores = scored().assign(mos_std=0.3, n_ratings=10)
    results = compare_sources(scores, SOURCES, resamples=50).results
    ceiling = noise_ceiling(scores["mos"], scores["mos_std"], scores["n_ratings"])
    for metric in ("SRCC", "PLCC"):
        value, low, high = ceiling[metric]
        assert set(results[f"{metric}_ceiling"]) == {value}
        assert set(results[f"{metric}_ceiling_low"]) == {low}
        assert set(results[f"{metric}_ceiling_high"]) == {high}
        np.testing.assert_allclose(results[f"{metric}_share"], results[metric] / value)
    assert compare_sources(scores, SOURCES, resamples=50).results.equals(results)  # seeded
    for unknown in (
        scores.drop(columns="n_ratings"),
        scores.assign(mos_std=[np.nan, *scores["mos_std"][1:]]),
        scores.assign(n_ratings=1),
    ):
        results = compare_sources(unknown, SOURCES, resamples=50).results
        assert results.filter(regex="ceiling|share").isna().all(axis=None)


def test_every_pair_of_three_sources_is_compared() -> None:
    scores = scored(contents=None)
    found = NOTHING.add("one", compare_sources(scores, SOURCES, resamples=200))
    named = list(zip(found.pairs["prompts"], found.pairs["against"], strict=True))
    assert named == [("a", "zero_shot"), ("b", "zero_shot"), ("b", "a")]
    last = found.pairs.iloc[2]
    alone = compare_sources(scores, ["a", "b"], resamples=200)
    expected = alone.differences.iloc[0]
    for column in ("dSRCC", "dSRCC_low", "p_SRCC", "dPLCC_high", "p_williams"):
        assert last[column] == pytest.approx(expected[column])
    np.testing.assert_array_equal(found.pairs["p_holm"], holm(found.pairs["p_SRCC"]))
    assert alone.pairs.empty


def test_a_verdict_is_one_word() -> None:
    numbers = {"dSRCC": [0.1, -0.1, 0.1, 0.1, np.nan], "p_SRCC": [1e-4, 1e-4, 0.4, np.nan, np.nan]}
    verdicts = adjust(pd.DataFrame(numbers))["verdict"]
    assert verdicts.tolist() == ["better", "worse", "not told apart", "too few", "undefined"]


def test_holm_is_over_all_data_sets() -> None:
    first, second = (compare_sources(scored(seed=s), SOURCES, resamples=200) for s in (0, 1))
    both = NOTHING.add("one", first).add("two", second)
    assert both.results["data"].tolist() == ["one"] * 3 + ["two"] * 3
    assert both.differences["data"].tolist() == ["one"] * 2 + ["two"] * 2
    expected = holm([*first.differences["p_SRCC"], *second.differences["p_SRCC"]])
    np.testing.assert_array_equal(both.differences["p_holm"], expected)
    assert adjust(both.differences).equals(both.differences)


def test_unknown_contents_are_said() -> None:
    scores = scored(contents=None)
    note = "contents unknown: resampled by picture"
    found = compare_sources(scores, SOURCES, resamples=50)
    assert set(found.results["note"]) == set(found.differences["note"]) == {note}
    assert set(found.results["resampled"]) == {"90 pictures"}
    scores["content"] = ["c"] * 88 + [None] * 2
    found = compare_sources(scores, SOURCES, resamples=50)
    assert set(found.results["note"]) == {"2 contents missing: resampled by picture"}


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_pictures_have_no_correlation(n: int) -> None:
    results, differences, _ = compare_sources(scored(n, None), SOURCES)
    assert results[["SRCC", "PLCC", "KRCC", "SRCC_low", "PLCC_high"]].isna().all(axis=None)
    assert differences[["dSRCC", "dSRCC_low", "p_SRCC", "p_williams"]].isna().all(axis=None)
    assert results["note"].str.startswith(("1 picture: no", "2 pictures: no")).all()


def test_few_contents_are_said() -> None:
    results, differences, _ = compare_sources(scored(contents=4), SOURCES)
    assert results["SRCC"].notna().all()
    assert results["SRCC_low"].isna().all()
    assert differences["p_SRCC"].isna().all()
    assert set(results["note"]) == {"4 contents: too few for an interval"}
    rough, tested, _ = compare_sources(scored(contents=8), SOURCES, resamples=200)
    assert set(rough["note"]) == {"8 contents: rough interval"}
    assert rough["SRCC_low"].notna().all()
    assert set(tested["note"]) == {f"8 contents: approximate test; {NO_WILLIAMS}"}


def test_too_few_contents_to_be_significant_have_no_p_value() -> None:
    results, differences, _ = compare_sources(scored(contents=5), SOURCES, resamples=200)
    assert results["SRCC_low"].notna().all()
    limited = ["dSRCC_low", "dSRCC_high", "p_SRCC", "dPLCC_low", "p_PLCC"]
    assert differences[limited].isna().all(axis=None)
    few = "5 contents: too few for a test, which needs 6"
    assert set(differences["note"]) == {f"{few}; {NO_WILLIAMS}"}
    enough = compare_sources(scored(contents=6), SOURCES, resamples=200).differences
    assert (enough["p_SRCC"] >= 2 / 64).all()


@pytest.mark.filterwarnings("error")
def test_constant_scores_are_said_and_the_others_stand() -> None:
    scores = scored()
    scores["a"] = 0.5
    results, differences, _ = compare_sources(scores, SOURCES, resamples=50)
    assert results["note"].tolist() == ["", "constant scores of a: no correlation", ""]
    assert results["SRCC"].isna().tolist() == [False, True, False]
    assert results["RMSE"].notna().all()
    assert differences["p_SRCC"].isna().tolist() == [True, False]
    assert np.isnan(adjust(differences)["p_holm"][0])
    assert adjust(differences)["p_holm"][1] == differences["p_SRCC"][1]
    scores["mos"] = 0.5
    assert "constant MOS" in compare_sources(scores, SOURCES, resamples=50).results["note"][0]


def test_one_source_has_nothing_to_differ_from() -> None:
    found = NOTHING.add("one", compare_sources(scored(), ["a"], resamples=50))
    assert len(found.results) == 1
    assert found.differences.empty
    assert "p_holm" in found.differences


def test_different_backbones_are_said_of_every_source_and_difference() -> None:
    towers = {"zero_shot": "RN50 without positional embedding", "b": "ViT-B/32 with it"}
    towers["a"] = towers["zero_shot"]
    found = compare_sources(scored(), SOURCES, resamples=20, backbones=towers)
    assert found.results["note"].tolist() == [f"features of {towers[name]}" for name in SOURCES]
    different = "different backbones: ViT-B/32 with it against RN50 without positional embedding"
    notes = found.differences["note"].tolist()
    assert notes == [NO_WILLIAMS, f"{different}; {NO_WILLIAMS}"]
    same = compare_sources(
        scored(), SOURCES, resamples=20, backbones=dict.fromkeys(SOURCES, "RN50")
    )
    assert set(same.results["note"]) == {""}
