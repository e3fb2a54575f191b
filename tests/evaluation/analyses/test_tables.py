"""All further tables: what is added over data sets, and what is left out and named."""

from __future__ import annotations

import numpy as np
import pytest

from clipiqa_plus.evaluation.analyses.tables import add, analyse, left_out_lines
from clipiqa_plus.evaluation.units import WITHIN_CONTENT
from clipiqa_plus.metrics.significance import holm
from tests.support.scored_pictures import SOURCES, scored


@pytest.mark.slow
def test_verdicts_are_corrected_over_all_data_sets() -> None:
    scores = [scored(400, 100, seed).assign(mos_std=0.2, n_ratings=10) for seed in (0, 1)]
    tables: dict = {}
    for name, part in zip(("one", "two"), scores, strict=True):
        found = analyse(part, SOURCES, 200)
        assert found.left_out == []
        tables = add(tables, name, found.tables)
    for name, metric, sign in (("krasula_pairs", "AUC_BW", 1), ("p1401_pairs", "RMSE", -1)):
        table = tables[name]
        assert table["data"].tolist() == ["one"] * 3 + ["two"] * 3
        np.testing.assert_array_equal(table["p_holm"], holm(table[f"p_{metric}"]))
        told = table[table["p_holm"] < 0.05]
        assert len(told)
        better = told["verdict"] == "better"
        assert (better == (sign * told[f"d{metric}"] > 0)).all()


def test_what_is_left_out_is_named() -> None:
    unknown = analyse(scored(), SOURCES, 99)
    line = "mos: no noise ceiling, Krasula's analysis, RMSE* and outlier ratio: mos_std is unknown"
    assert unknown.left_out == [line]
    record = {"data": {"mine": {"left_out": unknown.left_out}, "older": {}}}
    assert left_out_lines(record) == [f"mine: {line}"]
    within = analyse(scored(contents=9).assign(**{WITHIN_CONTENT: True}), SOURCES, 99)
    assert "no ITU-T P.1401 and noise ceiling" in within.left_out[0]
    assert "p1401" not in within.tables
    assert set(within.tables["breakdown"]["by"]) == {"content"}
