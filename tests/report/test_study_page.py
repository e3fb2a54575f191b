"""The page of a study: its sentence, chart and table, in a browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clipiqa_plus.evaluation.studies.layouts import COLUMNS
from clipiqa_plus.report.charts import Chart
from clipiqa_plus.report.study_page import curves, dots, write_study
from tests.support.browser import VIEWS, violations, visited


def over_ratings() -> Chart:
    table = pd.DataFrame(
        {"ratings": [25, 100, 400] * 2, "source": ["zero-shot"] * 3 + ["probe"] * 3}
    )
    table["SRCC"] = [0.5, 0.5, 0.5, 0.4, 0.55, 0.6]
    table["SRCC_low"], table["SRCC_high"] = table["SRCC"] - 0.05, table["SRCC"] + 0.05
    return curves(table, "ratings", "SRCC", "source", log=True)


def over_layouts() -> Chart:
    rows = pd.DataFrame({name: ["x"] * 6 for name in COLUMNS})
    rows["n_ctx"], rows["fold"] = np.repeat([4, 16], 3), [0, 1, 2] * 2
    rows["SRCC"] = [0.5, 0.6, 0.55, 0.7, 0.6, 0.65]
    return dots(rows)


def test_charts_in_words() -> None:
    words = over_ratings().alt
    assert words == (
        "SRCC against ratings. zero-shot: 0.500 at 25, 0.500 at 400; "
        "probe: 0.400 at 25, 0.600 at 400."
    )
    assert over_layouts().alt == "SRCC by n_ctx: 16 0.650, 4 0.550."


@pytest.mark.slow
@pytest.mark.parametrize("chart", [over_ratings, over_layouts])
@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_a_browser_shows_it(tmp_path: Path, chart: object, width: int, scheme: str) -> None:
    table = pd.DataFrame(
        {"ratings": [25, 100], "SRCC": [0.5, 0.6], "SRCC_low": 0.4, "SRCC_high": 0.7}
    )
    page = tmp_path / "report.html"
    sentence = "More than 100 ratings gain less than 0.005."
    write_study(page, "How many ratings", sentence, table, chart(), "A note.")  # type: ignore[operator]
    with visited(page, width, scheme) as tab:
        tab.locator(".chart svg").wait_for()
        assert tab.locator(".verdict").inner_text() == sentence
        assert tab.get_by_role("region").locator("tbody tr").count() == 2
        assert violations(tab) == []
