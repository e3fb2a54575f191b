"""Krasula's analysis over data sets: pictures of different sets never meet."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from clipiqa_plus.evaluation.analyses.pooled import ALL_SETS, pooled_krasula
from clipiqa_plus.evaluation.analyses.standards import krasula_tables
from clipiqa_plus.evaluation.analyses.tables import add, analyse
from clipiqa_plus.evaluation.units import WITHIN_CONTENT
from clipiqa_plus.metrics.significance import holm
from tests.support.scored_pictures import SOURCES, scored


def rated(**options: int | None) -> pd.DataFrame:
    return scored(**options).assign(mos_std=0.2, n_ratings=12)


def right_signs(table: pd.DataFrame, source: str) -> list[bool]:
    """Of each different pair, whether the better picture has the higher score."""
    mos, score = table["mos"].to_numpy(), table[source].to_numpy()
    limit = stats.norm.ppf(0.975) * np.sqrt(2 * 0.2**2 / 12)
    pairs = combinations(range(len(table)), 2)
    return [
        (score[i] > score[j]) == (mos[i] > mos[j]) for i, j in pairs if abs(mos[i] - mos[j]) > limit
    ]


def test_pairs_are_of_one_set_and_contents_of_their_own() -> None:
    sets = {"one": rated(n=60, contents=20), "two": rated(n=40, contents=None, seed=1)}
    # Another scale of MOS and scores does not matter where pictures are never paired.
    sets["two"][["mos", *SOURCES]] += 10
    found = pooled_krasula(sets, SOURCES, 99)
    rows = found["krasula"].set_index("prompts")
    for source in SOURCES:
        expected = np.mean([r for table in sets.values() for r in right_signs(table, source)])
        assert rows["CC0"][source] == pytest.approx(expected)
    assert set(rows["pairs"]) == {60 * 59 // 2 + 40 * 39 // 2}
    assert set(rows["note"]) == {"pooled: one, two"}
    assert set(found["krasula_pairs"]["resampled"]) == {f"{20 + 40} contents"}


def test_sets_without_ratings_are_left_out_and_named() -> None:
    sets = {"one": rated(), "bare": scored(), "two": rated(seed=1)}
    found = pooled_krasula(sets, SOURCES, 99)
    note = "pooled: one, two; left out: bare (mos_std is unknown)"
    assert set(found["krasula"]["note"]) == set(found["krasula_pairs"]["note"]) == {note}
    assert pooled_krasula({"one": rated(), "bare": scored()}, SOURCES, 99) == {}
    assert set(pooled_krasula(sets, SOURCES[:1], 99)) == {"krasula"}


def test_scores_comparable_within_a_content_stay_there_and_targets_count_once() -> None:
    within = rated(n=60, contents=12).assign(**{WITHIN_CONTENT: True})
    second = rated(seed=1)
    both = pd.concat([second, second.assign(target="alignment", mos=0.5)], ignore_index=True)
    rows = pooled_krasula({"scenes": within, "two": both}, SOURCES, 99)["krasula"]
    assert set(rows["pairs"]) == {12 * (5 * 4 // 2) + 90 * 89 // 2}
    alone = krasula_tables(within, SOURCES, 99).sources
    assert set(alone["pairs"]) == {12 * (5 * 4 // 2)}


def test_the_row_of_all_sets_joins_the_others() -> None:
    sets = {name: rated(seed=seed) for seed, name in enumerate(("one", "two"))}
    tables: dict[str, pd.DataFrame] = {}
    for name, table in sets.items():
        tables = add(tables, name, analyse(table, SOURCES, 99).tables)
    tables = add(tables, ALL_SETS, pooled_krasula(sets, SOURCES, 99))
    pairs = tables["krasula_pairs"]
    assert pairs["data"].tolist() == ["one"] * 3 + ["two"] * 3 + [ALL_SETS] * 3
    np.testing.assert_array_equal(pairs["p_holm"], holm(pairs["p_AUC_BW"]))
    assert ALL_SETS not in set(tables["p1401"]["data"])
