"""Tables of Krasula's analysis and ITU-T P.1401: against the functions and formulas by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from clipiqa_plus.evaluation.analyses.standards import krasula_tables, p1401_tables
from clipiqa_plus.evaluation.units import WITHIN_CONTENT
from clipiqa_plus.metrics.p1401 import cubic_mapping
from tests.support.scored_pictures import SOURCES, scored

PAIRS = [("a", "zero_shot"), ("b", "zero_shot"), ("b", "a")]


def rated(**options: int | None) -> pd.DataFrame:
    scores = scored(**options)
    rng = np.random.default_rng(9)
    return scores.assign(mos_std=rng.uniform(0.1, 0.3, len(scores)), n_ratings=12)


def named(pairs: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(pairs["prompts"], pairs["against"], strict=True))


def test_errors_beyond_the_intervals_of_mos_by_hand() -> None:
    scores = rated()
    found = p1401_tables(scores, SOURCES, flips=300)
    mos = scores["mos"].to_numpy()
    half = stats.t.ppf(0.975, 11) * scores["mos_std"].to_numpy() / np.sqrt(12)
    for row in found.sources.itertuples():
        mapped = cubic_mapping(scores[row.prompts], mos)
        error = np.abs(mapped - mos)
        assert pytest.approx(np.sqrt(np.sum(error**2) / 86)) == row.RMSE
        beyond = np.maximum(error - half, 0)
        assert pytest.approx(np.sqrt(np.sum(beyond**2) / 86)) == row.RMSE_star
        assert pytest.approx(np.mean(error > half)) == row.outlier_ratio
        assert pytest.approx(stats.pearsonr(mapped, mos).statistic) == row.PLCC
    assert named(found.pairs) == PAIRS
    first, second = (found.sources.iloc[i] for i in (0, 1))
    pair = found.pairs.iloc[0]
    for name in ("RMSE", "RMSE_star", "outlier_ratio"):
        assert pair[f"d{name}"] == pytest.approx(second[name] - first[name])
        assert pair[f"d{name}_low"] < pair[f"d{name}"] < pair[f"d{name}_high"]
        assert (pair[f"p_{name}"] <= 0.05) == (
            not pair[f"d{name}_low"] <= 0 <= pair[f"d{name}_high"]
        )
    ratio = (first["RMSE"] / second["RMSE"]) ** 2
    expected = 2 * min(stats.f.sf(ratio, 86, 86), stats.f.cdf(ratio, 86, 86))
    assert pair["p_standard_RMSE"] == pytest.approx(expected)


def test_what_needs_ratings_is_left_out_and_named() -> None:
    unknown = scored()
    found = p1401_tables(unknown, SOURCES, flips=99)
    assert found.sources["RMSE"].notna().all()
    assert found.sources[["RMSE_star", "outlier_ratio"]].isna().all(axis=None)
    assert found.pairs["p_RMSE"].notna().all()
    missing = [c for c in found.pairs if "star" in c or "outlier" in c]
    assert found.pairs[missing].isna().all(axis=None)
    note = "no RMSE* and outlier ratio: mos_std is unknown"
    assert set(found.sources["note"]) == set(found.pairs["note"]) == {note}
    krasula = krasula_tables(rated().assign(n_ratings=[np.nan] * 2 + [9] * 88), SOURCES)
    note = "left out: n_ratings is unknown for 2 of 90 pictures"
    assert set(krasula.sources["note"]) == set(krasula.pairs["note"]) == {note}
    assert krasula.sources[["AUC_DS", "AUC_BW", "CC0"]].isna().all(axis=None)
    assert named(krasula.pairs) == PAIRS
    single = krasula_tables(rated().assign(n_ratings=[1] + [9] * 89), SOURCES).sources
    assert set(single["note"]) == {"left out: 1 of 90 pictures have a single rating"}


def test_krasula_of_every_pair_of_sources() -> None:
    scores = rated()
    found = krasula_tables(scores, SOURCES, flips=300)
    variance = (scores["mos_std"] ** 2 / 12).to_numpy()
    mos, x = scores["mos"].to_numpy(), scores["a"].to_numpy()
    right = []
    for i, j in combinations(range(90), 2):
        z = (mos[i] - mos[j]) / np.sqrt(variance[i] + variance[j])
        if abs(z) > stats.norm.ppf(0.975):
            right.append((x[i] > x[j]) == (z > 0))
    assert found.sources["CC0"][1] == pytest.approx(np.mean(right))
    assert set(found.sources["different"]) == {len(right)}
    assert set(found.sources["pairs"]) == {90 * 89 // 2}
    assert named(found.pairs) == PAIRS
    for at, (one, other) in enumerate([(0, 1), (0, 2), (1, 2)]):
        for name in ("AUC_DS", "AUC_BW", "CC0"):
            effect = found.sources[name][other] - found.sources[name][one]
            assert found.pairs[f"d{name}"][at] == pytest.approx(effect)
            ends = (found.pairs[f"d{name}_low"][at], found.pairs[f"d{name}_high"][at])
            assert ends[0] < effect < ends[1]
    alone = krasula_tables(scores, ["zero_shot", "b"], flips=300).pairs.iloc[0]
    assert alone["p_standard_AUC_BW"] == pytest.approx(found.pairs["p_standard_AUC_BW"][1])


def test_pictures_are_paired_within_contents_or_data_sets_where_scales_differ() -> None:
    scores = rated(contents=9)
    within = krasula_tables(scores.assign(**{WITHIN_CONTENT: True}), SOURCES, 99)
    assert set(within.sources["pairs"]) == {9 * (10 * 9 // 2)}
    pooled = pd.concat([scores.assign(data=name) for name in ("one", "two")], ignore_index=True)
    found = krasula_tables(pooled, SOURCES, 99)
    assert set(found.sources["pairs"]) == {2 * (90 * 89 // 2)}
    alone = krasula_tables(scores, SOURCES, 99).sources
    # Of equal sets, sampling all pairs within each: the pooled CC0 is that of one.
    np.testing.assert_allclose(found.sources["CC0"], alone["CC0"])
    assert "18 contents" in set(found.pairs["resampled"])
