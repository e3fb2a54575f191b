"""Charts: the numbers that they draw, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from clipiqa_plus.report.picture_charts import (
    MOST_POINTS,
    PALETTE,
    calibration,
    picture_charts,
    picture_table,
    shown,
)
from clipiqa_plus.report.summary_charts import heatmap, interpolation_charts, radar, training_charts
from tests.support.scored_pictures import SOURCES, scored


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
    alt = picture_charts("mine", table, SOURCES)[1].alt
    srcc = scores["a"].corr(scores["mos"], method="spearman")
    assert alt == f"Score against MOS, 2000 of 4000 pictures, a on mine. SRCC {srcc:.3f}, " + (
        f"PLCC {scores['a'].corr(scores['mos']):.3f}."
    )
    curve = pd.DataFrame(
        picture_charts("mine", table, SOURCES)[1].spec["layer"][1]["data"]["values"]
    )
    assert curve["MOS"].is_monotonic_increasing


def test_radar_puts_one_at_the_rim_and_the_least_at_the_centre() -> None:
    values = pd.DataFrame({"a": [1.0, -0.3, 0.35, np.nan]}, index=list("wxyz"))
    chart = radar("SRCC", list("wxyz"), values)
    drawn = pd.DataFrame(chart.spec["layer"][1]["data"]["values"])
    radius = np.hypot(drawn["x"], drawn["y"]).tolist()
    assert radius == pytest.approx([1, 0, 0.5, 0, 1], abs=1e-3)  # closed: the first again
    assert drawn["SRCC"].tolist() == ["1.000", "-0.300", "0.350", "-", "1.000"]
    assert chart.alt == "SRCC. a: w 1.000, x -0.300, y 0.350, z -."


def test_heatmap_shows_every_cell() -> None:
    matrix = pd.DataFrame({"prompts": ["a", "b"], "one": [0.5, np.nan], "two": [0.1, 0.9]})
    chart = heatmap(matrix)
    cells = {(c["prompts"], c["data"]): c["text"] for c in chart.spec["data"]["values"]}
    assert cells == {
        ("a", "one"): "0.500",
        ("b", "one"): "-",
        ("a", "two"): "0.100",
        ("b", "two"): "0.900",
    }
    assert chart.alt == "SRCC. a: one 0.500, two 0.100; b: one -, two 0.900."


def test_long_training_is_thinned_to_means() -> None:
    curve = pd.DataFrame({"prompts": "a", "metric": "train/loss", "step": range(3000)})
    curve["value"] = curve["step"] / 3000
    (chart,) = training_charts(curve, ["zero_shot", "a"])
    drawn = pd.DataFrame(chart.spec["data"]["values"])
    assert len(drawn) == 300
    assert drawn["step"][0] == pytest.approx(4.5)  # the mean of 0 to 9
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
