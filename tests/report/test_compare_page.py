"""The page of two pipelines in a browser: sliders, enlarged pairs, the filtered table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clipiqa_plus.evaluation.before_after.files import save
from clipiqa_plus.evaluation.before_after.statistics import summarise
from clipiqa_plus.report import compare_page
from clipiqa_plus.report.compare_page import write_comparison
from tests.support.browser import VIEWS, violations, visited

N = 20


def comparison(folder: Path, scores: tuple[str, ...] = ("quality",)) -> Path:
    """The folder of a comparison with invented scores: the last pictures lose."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for at in range(N):
        row: dict[str, object] = {"picture": f"a<b>/{at:02}"}
        for side in ("before", "after"):
            path = folder / f"{side}_{at:02}.png"
            size = (60, 40) if at % 2 else (40, 60)
            Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(path)
            row[side] = str(path)
        for name in scores:
            change = (15 - at) / 50 * (1 if name == scores[0] else -1)
            row |= {f"{name}_before": 0.4, f"{name}_after": 0.4 + change}
            row[f"{name}_difference"] = change
        rows.append(row)
    pictures = pd.DataFrame(rows)
    settings = {"before": "in/raw", "after": "in/<new>", "preset": "clipiqa", "backbone": "RN50"}
    settings |= {"pairs": [["Good.", "Bad."], ["New.", "Old."]], "mean": [0.5, 0.25], "size": None}
    left_out = {"in/raw/lost & found.png": "in one folder only"}
    save(folder, summarise(pictures, scores), pictures, left_out, settings)
    return folder


def test_a_verdict_with_the_names_of_the_folders(tmp_path: Path) -> None:
    page = write_comparison(comparison(tmp_path / "one")).read_text()
    assert (
        "<strong>&lt;new&gt;</strong> is better than <strong>raw</strong>: <span>+0.110 [" in page
    )
    assert "it wins on 78% of 20 pictures [" in page
    assert "in/raw/lost &amp; found.png: in one folder only" in page
    assert "<dt>pairs</dt><dd>Good. / Bad., New. / Old.</dd>" in page
    assert "<dt>mean</dt><dd>0.5, 0.25</dd>" in page
    assert "<dt>size</dt><dd>-</dd>" in page
    both = write_comparison(comparison(tmp_path / "two", ("sharp", "bright"))).read_text()
    assert "is better than <strong>raw</strong> by <strong>sharp</strong>: " in both
    assert "is worse than <strong>raw</strong> by <strong>bright</strong>: " in both


def test_the_histogram_parts_gains_from_losses(tmp_path: Path) -> None:
    page = write_comparison(comparison(tmp_path / "one")).read_text()
    # 15 gains and no difference once, 4 losses, 0.02 apart: each has a bin of 0.0097 of its own.
    bars = page.split('class="histogram"')[1].split("</div>")[0]
    assert bars.count('class="better" style="height:100.0%"') == 16
    assert bars.count('class="worse" style="height:100.0%"') == 4
    assert bars.rindex('class="worse"') < bars.index('class="better"')


def test_a_large_table_holds_the_largest_differences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare_page, "ROWS", 3)
    page = write_comparison(comparison(tmp_path / "one")).read_text()
    assert "The 3 largest differences; all 20 are in pictures.csv." in page
    table = page.split('aria-label="Pictures"')[1].split("</table>")[0]
    assert [f"a&lt;b&gt;/{at:02}</td>" in table for at in range(4)] == [True, True, True, False]


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_a_browser_shows_it(tmp_path: Path, width: int, scheme: str) -> None:
    page = write_comparison(comparison(tmp_path / "one"))
    with visited(page, width, scheme) as tab:
        assert violations(tab) == []
        sliders = tab.locator(".pair .slider")
        assert sliders.count() == 8 + 4
        first = sliders.first
        handle = first.get_by_role("slider")
        cut = "e => getComputedStyle(e.querySelector('.after')).clipPath"

        handle.focus()
        assert first.evaluate(cut).endswith("50%)")
        for _ in range(10):
            tab.keyboard.press("ArrowLeft")
        assert first.evaluate(cut).endswith("40%)")
        box = first.bounding_box()
        # Waits until the slider stands still in the window.
        first.hover(position={"x": 0.4 * box["width"], "y": box["height"] / 2})
        box = first.bounding_box()
        middle = box["y"] + box["height"] / 2
        tab.mouse.down()
        tab.mouse.move(box["x"] + 0.9 * box["width"], middle, steps=5)
        tab.mouse.up()
        assert float(handle.input_value()) == pytest.approx(90, abs=5)  # of a thumb's width
        assert f"{handle.input_value()}%)" in first.evaluate(cut)

        tab.locator(".enlarge").first.click()
        viewer = tab.get_by_role("dialog")
        viewer.wait_for()
        assert violations(tab) == []
        assert viewer.locator("output").inner_text() == "1 of 8"
        assert viewer.locator("img").count() == 2
        large = viewer.locator(".slider").bounding_box()
        assert large["width"] >= min(box["width"], 0.8 * width)
        assert large["height"] <= 0.75 * 800
        viewer.get_by_role("slider").fill("25")
        assert viewer.locator(".slider").evaluate(cut).endswith("25%)")
        viewer.get_by_role("button", name="Next").click()
        assert "a<b>/01" in viewer.locator(".stage").inner_text()
        tab.keyboard.press("Escape")
        viewer.wait_for(state="hidden")

        rows = tab.get_by_role("region", name="Pictures").locator("tbody tr:visible")
        assert rows.count() == N
        tab.get_by_role("combobox", name="Show").select_option("losses")
        assert rows.count() == 4
        tab.get_by_label("Name contains").fill("B>/19")
        assert [text.split()[0] for text in rows.all_inner_texts()] == ["a<b>/19"]
        assert tab.locator("#tools output").inner_text() == "1 shown"


@pytest.mark.slow
def test_paper_shows_both_sides_of_a_pair(tmp_path: Path) -> None:
    page = write_comparison(comparison(tmp_path / "one"))
    with visited(page, 1200, "light") as tab:
        tab.emulate_media(media="print")
        before, after = (
            image.bounding_box() for image in tab.locator(".slider").first.locator("img").all()
        )
        assert before["x"] + before["width"] <= after["x"]
        assert tab.locator("#tools").is_hidden()
