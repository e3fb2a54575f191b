"""SRCC within contents and distortions: against scipy, and intervals by simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from clipiqa_plus.evaluation.analyses.breakdown import breakdown, fisher_interval
from clipiqa_plus.metrics.significance import holm
from tests.support.scored_pictures import SOURCES, scored


def distorted() -> pd.DataFrame:
    scores = scored(n=240, contents=12)
    return scores.assign(distortion=np.repeat(["blur", "noise", "jpeg"], 80))


def test_every_group_and_source_has_its_correlation() -> None:
    scores = distorted()
    found = breakdown(scores, SOURCES)
    assert found["by"].value_counts().to_dict() == {"content": 12 * 3, "distortion": 3 * 3}
    for row in found.itertuples():
        part = scores[scores[row.by] == row.group]
        expected = stats.spearmanr(part[row.prompts], part["mos"]).statistic
        assert pytest.approx(expected) == row.SRCC
        assert len(part) == row.n
        assert row.SRCC_low < row.SRCC < row.SRCC_high
    first = found[found["prompts"] == SOURCES[0]]
    assert first[["dSRCC", "p_SRCC", "p_holm"]].isna().all(axis=None)
    assert (first[["against", "verdict"]] == "").all(axis=None)
    found = found.drop(index=first.index)
    for _, kind in found.groupby("by"):
        tested = kind[kind["p_SRCC"].notna()]
        np.testing.assert_allclose(tested["p_holm"], holm(tested["p_SRCC"]))
    assert set(found["verdict"]) <= {"better", "worse", "not told apart", "too few"}


def test_small_groups_are_left_out_and_few_pictures_are_too_few() -> None:
    scores = scored(n=14, contents=None).assign(content=["x"] * 5 + ["y"] * 4 + ["z"] * 5)
    found = breakdown(scores, SOURCES)
    assert set(found["group"]) == {"x", "z"}
    assert set(found["verdict"]) == {"", "too few"}
    assert breakdown(scored(contents=None), SOURCES).empty


def test_interval_holds_the_true_correlation() -> None:
    rng = np.random.default_rng(0)
    r = 0.7
    true = 6 / np.pi * np.arcsin(r / 2)  # SRCC of a normal distribution with PLCC r
    inside = []
    for _ in range(500):
        x = rng.normal(size=40)
        y = r * x + np.sqrt(1 - r**2) * rng.normal(size=40)
        low, high = fisher_interval(stats.spearmanr(x, y).statistic, 40)
        inside.append(low <= true <= high)
    assert 0.92 <= np.mean(inside) <= 0.98  # standard error 0.01
    assert fisher_interval(1.0, 10) == (1, 1)
    assert np.isnan(fisher_interval(0.5, 3)).all()
