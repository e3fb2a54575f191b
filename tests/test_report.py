"""The report: its numbers are those of the tables, nothing is fetched, and a browser shows it."""

from __future__ import annotations

import io
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clipiqa_plus.cli import main
from clipiqa_plus.comparison import NOTHING, compare_sources
from clipiqa_plus.report import summary, write_report
from clipiqa_plus.results import load_table, printable, save, start_record
from tests.test_comparison import SOURCES, scored

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Page(HTMLParser):
    """What the tests ask of a page: tags with attributes, table cells, text of scripts by id."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.scripts: dict[str, str] = {}
        self.text = ""
        self._cell = False
        self._script: str | None = None
        self.feed(path.read_text())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = True
        elif tag == "script":
            self._script = found.get("id") or f"script {len(self.scripts)}"
            self.scripts[self._script] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False
        elif tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[self._script] += data
            return
        self.text += data
        if self._cell:
            self.tables[-1][-1][-1] += data


def jpeg(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()


def evaluation(folder: Path, scores: pd.DataFrame, sources: list[str] = SOURCES) -> Path:
    tables = NOTHING.add("mine", compare_sources(scores, sources, resamples=300))
    thumbnails = pd.DataFrame({"id": range(5), "jpeg": [jpeg(i) for i in range(5)]})
    record = start_record(["--data", "my recipe.yaml"])
    about = {
        "backbone": "RN50",
        "weights_sha256": "a1" * 32,
        "pairs": [["Good photo.", "Bad photo."]],
        "file_sha256": None,
    }
    inside = {"nearest_words": {"c1": [["<i>", 0.25]]}, "text_cosines": [["Good photo.", 0.5]]}
    record["data"]["mine"] = {
        "dataset": "Mine",
        "part": "test",
        "pictures": len(scores),
        "skipped": {},
        "split": "official",
        "split_sha256": "b2" * 32,
        "mos_range": [1, 5],
        "resize": None,
        "sources": dict.fromkeys(sources, about) | {"a": {**about, **inside}},
    }
    save(folder, "mine", tables, scores, thumbnails, record)
    return folder


def pictures(n: int = 120, **options: int) -> pd.DataFrame:
    scores = scored(n, **options)
    scores["image"] = [f"</script><b>{i}</b> & co.png" for i in range(n)]
    scores["distortion"] = ["blur" if i % 2 else "noise" for i in range(n)]
    return scores


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = evaluation(tmp_path_factory.mktemp("evaluation"), pictures())
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page(folder / "report.html")


def test_tables_show_the_saved_numbers(folder: Path, page: Page) -> None:
    results, differences = (load_table(folder / f"{n}.json") for n in ("results", "differences"))
    shown = printable(results)
    header, *rows = page.tables[0]
    at = [header.index(name) for name in shown.columns]
    assert [[row[i] for i in at] for row in rows] == shown.to_numpy().tolist()
    shown = printable(differences)
    assert page.tables[1] == [list(shown.columns), *shown.to_numpy().tolist()]


def test_only_a_significant_difference_is_marked(folder: Path, page: Page) -> None:
    differences = load_table(folder / "differences.json")
    assert (differences["p_holm"] < 0.05).tolist() == [True, False]  # else the test shows nothing
    header, *rows = page.tables[0]
    marks = [row[header.index("significant")] for row in rows]
    assert marks == ["", "▲ better than zero_shot", ""]
    sentences = summary(load_table(folder / "results.json"), differences)
    assert "a ranks better than zero_shot: SRCC +" in sentences[0]
    assert "b does not differ significantly from zero_shot" in sentences[1]
    assert all(sentence in page.text for sentence in sentences)
    worse = differences.assign(dSRCC=-0.3, p_holm=0.001)
    assert "ranks worse than" in summary(load_table(folder / "results.json"), worse)[0]


def test_points_and_breakdown_are_those_of_the_scores(folder: Path, page: Page) -> None:
    scores = pd.read_parquet(folder / "mine/scores.parquet")
    specs = json.loads(page.scripts["specs"])
    points = pd.DataFrame(specs["mine-mos-2"]["layer"][0]["data"]["values"])
    np.testing.assert_allclose(points["score"], scores["a"], atol=5e-5)  # rounded to 4 digits
    np.testing.assert_allclose(points["MOS"], scores["mos"], atol=5e-5)
    assert points["image"].tolist() == scores["image"].tolist()
    curve = pd.DataFrame(specs["mine-mos-2"]["layer"][1]["data"]["values"])
    assert curve["MOS"].is_monotonic_increasing
    blur = scores[scores["distortion"] == "blur"]
    expected = f"{blur['a'].corr(blur['mos'], method='spearman'):.3f}"
    assert page.tables[2][1][:2] == ["blur", "60"]
    assert page.tables[2][1][3] == expected


def test_nothing_is_fetched_and_names_are_only_text(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "b")
        for name in ("src", "href", "srcset"):
            assert (attributes.get(name) or "data:").startswith("data:")
    policy = next(a for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in str(policy["content"])
    assert "http" not in str(policy["content"])


def test_pictures_and_charts_say_what_they_show(page: Page) -> None:
    images = [a for t, a in page.tags if t == "img"]
    assert all("MOS" in str(a["alt"]) for a in images)
    charts = [a for t, a in page.tags if a.get("class") == "chart"]
    assert len(charts) == 2 * len(SOURCES)
    assert all("SRCC" in str(a["aria-label"]) for a in charts[::2])
    assert "my recipe.yaml" in page.text
    assert page.tables[-1][1] == ["c1", "<i> (0.250)"]
    assert "Good photo. 0.500." in page.text
    assert "b2" * 32 in page.text


def test_command_makes_it_again_without_a_model(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = (folder / "report.html").read_bytes()
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    assert (folder / "report.html").read_bytes() == before
    assert main(["report", str(tmp_path)]) == 1
    assert "no such table" in capsys.readouterr().err


def test_two_thousand_pictures_stay_below_ten_megabytes(tmp_path: Path) -> None:
    evaluation(tmp_path, pictures(2000, contents=100))
    big = pd.DataFrame({"id": range(2000), "jpeg": [bytes(4000)] * 2000})  # 10.7 MB in base64
    big.to_parquet(tmp_path / "mine/thumbnails.parquet")
    page = write_report(tmp_path)
    assert page.stat().st_size < 10e6
    kept = json.loads(Page(page).scripts["thumbnails"])["mine"]
    assert list(kept)[:2] == ["0", "1"]
    assert 1000 < len(kept) < 2000


@pytest.mark.parametrize("case", ["two pictures", "constant scores", "one source", "bare"])
def test_what_has_no_answer_is_said(tmp_path: Path, case: str) -> None:
    scores = pictures(2 if case == "two pictures" else 40, contents=2)
    if case == "constant scores":
        scores["a"] = 0.5
    if case == "bare":
        scores = scores.drop(columns=["content", "distortion"])
    sources = ["a"] if case == "one source" else ["zero_shot", "a"]
    evaluation(tmp_path, scores, sources)
    if case == "bare":
        (tmp_path / "mine/thumbnails.parquet").unlink()
    page = Page(write_report(tmp_path))
    says = {
        "two pictures": "2 pictures: no correlation",
        "constant scores": "constant scores of a: no correlation",
        "one source": "On mine (mos), a has SRCC",
        "bare": "contents unknown: resampled by picture",
    }
    assert says[case] in page.text
    assert "nan" not in page.text.lower()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_a_browser_shows_it(folder: Path, width: int, scheme: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-background-networking"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        said: list[str] = []
        asked: list[str] = []
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(f"file://{folder / 'report.html'}")
        charts = tab.locator(".chart svg")
        charts.nth(2 * len(SOURCES) - 1).wait_for()
        assert charts.count() == 2 * len(SOURCES)
        assert tab.evaluate("document.documentElement.scrollWidth") == width

        tab.locator(".chart svg .mark-symbol path").first.hover(force=True)
        tip = tab.locator("#vg-tooltip-element.visible")
        tip.wait_for()
        assert "co.png" in tip.inner_text()
        assert tip.locator("img").get_attribute("src").startswith("data:image/jpeg")

        button = tab.locator("table").first.get_by_role("button", name="SRCC", exact=True)
        values = tab.locator("table").first.locator("tbody tr td:nth-child(5)")
        button.focus()
        tab.keyboard.press("Enter")
        rising = [float(text.split()[0]) for text in values.all_inner_texts()]
        tab.keyboard.press("Enter")
        falling = [float(text.split()[0]) for text in values.all_inner_texts()]
        browser.close()
    assert rising == sorted(rising)
    assert falling == sorted(rising, reverse=True)
    assert said == []
    assert [url for url in asked if not url.startswith(("data:", f"file://{folder}"))] == []
