"""gMAD pairs: against a search over all pairs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from clipiqa_plus.evaluation.analyses.gmad import MOST_SHOWN, gmad_pairs, shown_pairs


def test_pairs_are_those_of_a_search_over_all() -> None:
    rng = np.random.default_rng(0)
    n = 300
    scores = pd.DataFrame({"id": 1000 + np.arange(n), "target": "mos"})
    scores["a"], scores["b"] = rng.permutation(n) / 7, rng.permutation(n) * 3.0
    found = gmad_pairs(scores, ["a", "b"])
    assert len(found) == 2 * 3
    for row in found.itertuples():
        same, apart = (rankdata(scores[name]) for name in (row.same, row.apart))
        third = {"low": (0, 100), "middle": (100, 200), "high": (200, 300)}[row.level]
        members = [i for i in range(n) if third[0] < same[i] <= third[1]]
        # 1% of 300 pictures: ranks at most 3 apart.
        near = [(i, j) for i, j in combinations(members, 2) if abs(same[i] - same[j]) <= 3]
        farthest = max(abs(apart[i] - apart[j]) for i, j in near)
        assert row.rank_difference == farthest / n
        low, high = (row.id_low - 1000, row.id_high - 1000)
        assert apart[high] - apart[low] == farthest
        assert abs(same[high] - same[low]) <= 3


def test_sources_that_agree_or_few_pictures_give_no_pair() -> None:
    scores = pd.DataFrame({"id": range(3), "target": "mos", "a": [1, 2, 3], "b": [1, 1, 1]})
    assert gmad_pairs(scores, ["a", "b"]).empty
    assert gmad_pairs(scores, ["a"]).empty
    constant = pd.DataFrame({"id": range(90), "target": "mos", "a": 0.5, "b": np.arange(90.0)})
    assert set(gmad_pairs(constant, ["a", "b"])["same"]) == {"a"}


def test_the_farthest_pairs_of_each_target_are_shown() -> None:
    rng = np.random.default_rng(0)
    scores = pd.DataFrame({"id": range(200), "target": ["u", "v"] * 100})
    sources = list("abc")
    for source in sources:
        scores[source] = rng.uniform(size=200)
    pairs = gmad_pairs(scores, sources)
    shown = shown_pairs(pairs)
    for target, part in pairs.groupby("target"):
        best = part["rank_difference"].nlargest(MOST_SHOWN).tolist()
        assert len(best) == MOST_SHOWN < len(part)
        assert shown.loc[shown["target"] == target, "rank_difference"].tolist() == best
