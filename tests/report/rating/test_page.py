"""The rating page in a browser: by keys and by touch, left and opened again, saved and imported."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clipiqa_plus.evaluation.rating import Suggestions, import_ratings
from clipiqa_plus.report.rating import page as rating
from clipiqa_plus.report.rating import write_rating_page
from tests.support.browser import VIEWS, violations, visited
from tests.support.rating_page import COUNT, rating_page, task_of


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_stars_by_keys_and_buttons(tmp_path: Path, width: int, scheme: str) -> None:
    page = rating_page(tmp_path, "stars")
    names = [task_of(page)["pictures"][item[0]]["name"] for item in task_of(page)["items"]]
    with visited(page, width, scheme) as tab:
        assert violations(tab) == []
        tab.get_by_label("Your name").fill("Anna, A.")
        tab.locator("h1").click()  # keys now rate instead of writing
        for key in "1253":
            tab.keyboard.press(key)
        assert tab.locator("#status").inner_text() == f"5 of {COUNT}"
        tab.keyboard.press("Backspace")
        tab.get_by_role("button", name="4 good").click()
        tab.reload()  # goes on where it was
        assert tab.locator("#status").inner_text() == f"5 of {COUNT}"
        assert tab.get_by_label("Your name").input_value() == "Anna, A."
        for _ in range(COUNT - 4):
            tab.get_by_role("button", name="5 excellent").click()
        assert tab.get_by_text("All 8 are rated").is_visible()
        assert violations(tab) == []
        with tab.expect_download() as download:
            tab.get_by_role("button", name="Save CSV").click()
        download.value.save_as(tmp_path / "saved.csv")
        tab.get_by_role("button", name="Show CSV as text").click()
        assert tab.get_by_label("Copy this text").input_value() == (
            (tmp_path / "saved.csv").read_text()
        )
        assert violations(tab) == []
    saved = pd.read_csv(tmp_path / "saved.csv")
    assert saved["image"].tolist() == names
    assert saved["stars"].tolist() == [1, 2, 5, 4, 5, 5, 5, 5]
    assert set(saved["rater"]) == {"Anna, A."}
    kind, table = import_ratings([tmp_path / "saved.csv"], page, tmp_path / "photos")
    assert kind == "stars"
    assert table["n_ratings"].tolist() == [1] * COUNT


@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 390])
def test_pairs_by_keys_and_touch(tmp_path: Path, width: int) -> None:
    page = rating_page(tmp_path, "pairs")
    with visited(page, width, "light") as tab:
        assert violations(tab) == []
        boxes = [figure.bounding_box() for figure in tab.locator("#shown figure").all()]
        assert len(boxes) == 2
        assert boxes[0]["y"] == boxes[1]["y"]  # side by side on a phone too
        tab.keyboard.press("ArrowLeft")
        tab.keyboard.press("ArrowDown")
        tab.get_by_role("button", name="Undo").click()
        tab.get_by_role("button", name="The same").click()
        tab.keyboard.press("ArrowRight")
        tab.get_by_role("button", name="Left is better").click()
        for button in tab.locator(".answers button").all():
            box = button.bounding_box()
            assert box is None or box["height"] >= 44  # a finger's width
        with tab.expect_download() as download:
            tab.get_by_role("button", name="Save CSV").click()
        download.value.save_as(tmp_path / "saved.csv")
    task = task_of(page)
    saved = pd.read_csv(tmp_path / "saved.csv")
    shown = [[task["pictures"][at]["name"] for at in item] for item in task["items"]]
    assert saved[["first", "second"]].to_numpy().tolist() == shown
    assert saved["vote"].tolist() == ["first", "same", "second", "first"]
    assert len(import_ratings([tmp_path / "saved.csv"], page, tmp_path / "photos")[1]) == 4


def noise(folder: Path, count: int, side: int) -> Suggestions:
    """Pictures of noise, which compress worst."""
    rng = np.random.default_rng(0)
    names = [f"{i}.png" for i in range(count)]
    folder.mkdir()
    for name in names:
        pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name, compress_level=1)
    return Suggestions("stars", names, np.arange(count), ["a", "b"])


@pytest.mark.slow
def test_pictures_are_as_large_as_the_page_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = noise(tmp_path / "photos", 4, 700)
    monkeypatch.setattr(rating, "PAGE_BYTES", 2_500_000)
    path, side = write_rating_page(found, tmp_path / "photos", tmp_path / "rate.html")
    assert path.stat().st_size < 2_500_000
    assert side in rating.SIDES
    assert 384 <= side < 700
    shown = task_of(path)["pictures"][0]
    assert max(shown["width"], shown["height"]) == side
    assert f"at most {side} pixels" in path.read_text()
    monkeypatch.setattr(rating, "PAGE_BYTES", 500_000)
    with pytest.raises(ValueError, match=r"do not fit into 0\.5 MB, even at 384 pixels"):
        write_rating_page(found, tmp_path / "photos", tmp_path / "other.html")
    assert not (tmp_path / "other.html").exists()


def test_small_pictures_keep_their_size(tmp_path: Path) -> None:
    page = rating_page(tmp_path, "stars")
    for shown in task_of(page)["pictures"]:
        picture = Image.open(io.BytesIO(base64.b64decode(shown["jpeg"])))
        assert picture.size == (120, 90) == (shown["width"], shown["height"])
    assert "Pictures are at their own size" in page.read_text()
