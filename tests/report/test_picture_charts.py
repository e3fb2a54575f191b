"""Charts: the numbers that they draw, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from clipiqa_plus.report.charts import PALETTE, Chart
from clipiqa_plus.report.picture_charts import (
    MOST_POINTS,
    calibration,
    picture_table,
    scatter_charts,
    shown,
)
from clipiqa_plus.report.summary_charts import (
    group_chart,
    interpolation_charts,
    rank_chart,
    training_charts,
)
from tests.support.scored_pictures import SOURCES, scored


def drawn(chart: Chart, layer: int) -> pd.DataFrame:
    """The data of a layer of a chart."""
    return pd.DataFrame(chart.spec["layer"][layer]["data"]["values"])


def test_calibration_by_hand() -> None:
    score = np.array([0.9, 0.1, 0.2, 0.8, 0.3, 0.7, 0.4, 0.6, 0.5, 0.55])
    frame = pd.DataFrame({"id": range(10), "mos": score**2, "a": score, "b": 0.5})
    found = calibration(picture_table(frame, ["a", "b"]), ["a", "b"])
    assert found["source"].unique().tolist() == ["a"]  # constant scores have no bins
    assert found["n"].tolist() == [5, 5]
    low = np.sort(score)[:5]
    assert found["score"][0] == pytest.approx(low.mean(), abs=1e-4)
    assert found["MOS"][0] == pytest.approx((low**2).mean(), abs=1e-4)
    assert found["low"][0] == pytest.approx(np.quantile(low**2, 0.25), abs=1e-4)
    assert calibration(picture_table(frame[:9], ["a"]), ["a"]).empty


def test_words_are_of_all_pictures_and_points_of_some() -> None:
    scores = scored(2 * MOST_POINTS, contents=None)
    table = picture_table(scores, SOURCES)
    assert len(shown(table)) == MOST_POINTS
    assert shown(table)["id"].tolist()[:1] + shown(table)["id"].tolist()[-1:] == [0, 3999]
    charts = scatter_charts("mine", table, SOURCES)
    alt = charts[1].alt
    srcc = scores["a"].corr(scores["mos"], method="spearman")
    assert alt == f"Score against MOS, 2000 of 4000 pictures, a on mine. SRCC {srcc:.3f}, " + (
        f"PLCC {scores['a'].corr(scores['mos']):.3f}."
    )
    curve = drawn(charts[1], 1)
    assert curve["MOS"].is_monotonic_increasing
    # One axis for all sources: it holds the scores of each.
    (domain,) = {tuple(c.spec["layer"][0]["encoding"]["x"]["scale"]["domain"]) for c in charts}
    assert domain[0] < scores[SOURCES].min().min() < scores[SOURCES].max().max() < domain[1]


def test_groups_are_drawn_in_order_of_the_last_source() -> None:
    table = pd.DataFrame({"group": list("xyz") * 2, "source": ["a"] * 3 + ["b"] * 3})
    table["SRCC"] = [0.1, 0.2, np.nan, 0.5, 0.9, 0.7]
    chart = group_chart("SRCC by distortion", table, ["a", "b"])
    assert chart.spec["layer"][1]["encoding"]["y"]["sort"] == ["y", "z", "x"]
    assert drawn(chart, 1)["SRCC"].tolist() == [0.1, 0.2, 0.5, 0.9, 0.7]
    assert (
        chart.alt == "SRCC by distortion. a: x 0.100, y 0.200, z -; b: x 0.500, y 0.900, z 0.700."
    )
    whole = group_chart("SRCC", table.assign(low=0.0, high=1.0), ["a", "b"])
    assert {"x", "x2"} <= set(whole.spec["layer"][0]["encoding"])


def test_critical_difference_joins_what_is_not_told_apart() -> None:
    ranks = pd.DataFrame({"prompts": list("dabc"), "mean_rank": [3.9, 1.2, 2.0, 2.9]})
    chart = rank_chart(ranks.assign(critical_difference=1.0, data_sets=9))
    # By hand: b - a = 0.8, c - b = 0.9, d - c = 1.0 at most the critical difference; c - a is more.
    assert chart.alt.endswith("Not told apart: a, b; b, c; c, d.")
    bars = drawn(chart, 2)
    assert (bars["high"] - bars["low"]).tolist() == pytest.approx([0.86, 0.96, 1.06])
    alone = rank_chart(ranks.assign(critical_difference=0.5, data_sets=9))
    assert alone.alt.endswith("Not told apart: none.")


def test_long_training_is_thinned_to_means() -> None:
    curve = pd.DataFrame({"prompts": "a", "metric": "train/loss", "step": range(3000)})
    curve["value"] = curve["step"] / 3000
    (chart,) = training_charts(curve, ["zero_shot", "a"])
    steps = pd.DataFrame(chart.spec["data"]["values"])
    assert len(steps) == 300
    assert steps["step"][0] == pytest.approx(4.5)  # the mean of 0 to 9
    assert "0.000 at first, 1.000 at last, 3000 values" in chart.alt


def test_way_is_drawn_as_far_as_it_is_known() -> None:
    way = pd.DataFrame({"source": "b", "weight": [0.0, 0.5, 1.0], "SRCC": [0.1, 0.4, 0.3]})
    way = way.assign(lowest=[0.4, 0.3, 0.2], middle=0.5, highest=[0.6, 0.7, 0.8])
    srcc, thirds = interpolation_charts("mine", way, ["a", "b"])
    assert srcc.alt.endswith("b: 0.100 at 0, 0.300 at 1, most 0.400 at 0.50.")
    scale = srcc.spec["encoding"]["color"]["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True))["b"] == PALETTE[1]
    assert "0.400, 0.500, 0.600 at zero-shot, 0.200, 0.500, 0.800 learned" in thirds.alt
    assert [
        c.caption for c in interpolation_charts("mine", way.assign(SRCC=np.nan), ["a", "b"])
    ] == ["b: scores by interpolation"]
    assert interpolation_charts("mine", way[:0], ["a"]) == []
