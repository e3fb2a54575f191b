"""Mean ranks over data sets: against the test they come from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from clipiqa_plus.evaluation.analyses.ranks import ranks
from clipiqa_plus.metrics.rank_tests import friedman


def results(values: np.ndarray, targets: int = 1) -> pd.DataFrame:
    """Results of the [D, S] values, each the mean over the targets."""
    rows = [
        {"data": f"d{d}", "target": f"t{t}", "prompts": f"s{s}", "SRCC": value + 0.1 * (t - 0.5)}
        if targets > 1
        else {"data": f"d{d}", "target": "mos", "prompts": f"s{s}", "SRCC": value}
        for (d, s), value in np.ndenumerate(values)
        for t in range(targets)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("targets", [1, 2])
def test_a_data_set_counts_once(targets: int) -> None:
    values = np.random.default_rng(0).uniform(size=(8, 4)) + np.array([0.2, 0.1, 0.9, 0])
    expected = friedman(values)
    found = ranks(results(values, targets)).set_index("prompts")
    assert found["mean_rank"].is_monotonic_increasing
    assert found.index[0] == "s2"
    for s in range(4):
        row = found.loc[f"s{s}"]
        assert row["mean_rank"] == expected.ranks[s]
        gain = expected.ranks[0] - expected.ranks[s]
        if s == 0:
            assert row["verdict"] == ""
        elif abs(gain) < expected.critical_difference:
            assert row["verdict"] == "not told apart"
        else:
            assert row["verdict"] == ("better" if gain > 0 else "worse")
    assert set(found["data_sets"]) == {8}
    assert set(found["p_friedman"]) == {expected.p}


def test_few_data_sets_or_sources_have_no_ranks() -> None:
    values = np.random.default_rng(0).uniform(size=(5, 3))
    assert len(ranks(results(values))) == 3
    assert ranks(results(values[:4])).empty
    assert ranks(results(values[:, :2])).empty
    assert ranks(pd.DataFrame()).empty
    undefined = results(values)
    undefined.loc[0, "SRCC"] = np.nan
    assert ranks(undefined).empty
