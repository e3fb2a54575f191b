"""The gallery in a browser: what its tools show, and that it is one quiet page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clipiqa_plus.report.gallery import write_gallery
from tests.support.browser import VIEWS, violations, visited

SETTINGS = {"preset": "clipiqa", "backbone": "RN50", "weights_sha256": "a1" * 32}


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = []
    for at in range(30):
        path = tmp_path / f"picture {at:02}.png"
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).save(path)
        rows.append({"image": str(path), "sharp": at / 30, "bright": (at * 7 % 30) / 30})
    pd.DataFrame(rows).to_csv(tmp_path / "scores.csv", index=False)
    return tmp_path / "scores.csv"


def test_the_histogram_is_of_all_scores(scores: Path, tmp_path: Path) -> None:
    page = write_gallery(tmp_path / "g.html", scores, ["sharp"], SETTINGS, most=2).read_text()
    assert "6 of 30: the 2 highest, the 2 lowest, and others evenly in between." in page
    # 0 to 29 thirtieths: the median lies between 14 and 15, the quartiles at 7.25 and 21.75.
    assert "median score 0.483, the middle half from 0.242 to 0.725" in page
    assert page.count('<span style="height:100.0%">') == 30  # one score in each bar, ten are empty
    assert page.count('<span style="height:0.0%">') == 10


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_it_is_sorted_and_filtered(scores: Path, tmp_path: Path, width: int, scheme: str) -> None:
    page = write_gallery(tmp_path / "g.html", scores, ["sharp", "bright"], SETTINGS, most=4)
    table = pd.read_csv(scores)
    with visited(page, width, scheme) as tab:
        assert violations(tab) == []
        items = tab.locator("#gallery > li")

        def shown() -> list[str]:
            return [i.get_attribute("data-name") for i in items.all() if i.is_visible()]

        every = table[table["image"].isin(shown())]
        assert set(table.nlargest(4, "bright")["image"]) <= set(every["image"])
        by_sharp = every.sort_values("sharp", ascending=False)["image"].tolist()
        assert shown() == by_sharp
        tab.get_by_label("Sort by").select_option("bright, lowest first")
        assert shown() == every.sort_values("bright")["image"].tolist()
        tab.get_by_label("sharp from").fill("0.5")
        bright = every[every["sharp"] >= 0.5].sort_values("bright")["image"].tolist()
        assert shown() == bright
        tab.get_by_label("File name contains").fill("PICTURE 29")
        assert shown() == [name for name in bright if "29" in name]
        assert tab.locator("#tools output").inner_text() == "1 shown"
        tab.locator(".picture:visible").click()
        viewer = tab.get_by_role("dialog")
        viewer.wait_for()
        assert viewer.get_by_role("button", name="Next").is_hidden()
        assert "picture 29.png" in viewer.inner_text()
