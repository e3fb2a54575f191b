"""The report: its numbers are those of the tables, nothing is fetched, and a browser shows it."""

from __future__ import annotations

import json
import os
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clipiqa_plus.commands.main import main
from clipiqa_plus.evaluation.results import (
    claimed,
    load_table,
    printable,
    save_training,
)
from clipiqa_plus.report.page import PAGE_BYTES, write_report
from clipiqa_plus.report.sentences import headline, summary
from tests.support.browser import VIEWS, violations, visited
from tests.support.saved_evaluation import evaluation, pictures
from tests.support.scored_pictures import SOURCES

CHARTS = 2 * len(SOURCES) + 2 + 2  # scatter, residuals, distortions, calibration, the way to "a"


class Page(HTMLParser):
    """What the tests ask of a page: tags with attributes, table cells by region, scripts by id."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._region = ""
        self.scripts: dict[str, str] = {}
        self.text = ""
        self._cell = False
        self._script: str | None = None
        self.feed(path.read_text())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if found.get("role") == "region":
            self._region = str(found["aria-label"])
        elif tag == "table":
            self.tables[self._region] = []
        elif tag == "tr":
            self.tables[self._region].append([])
        elif tag in ("td", "th"):
            self.tables[self._region][-1].append("")
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
            self.tables[self._region][-1][-1] += data


def log_training(run: Path) -> None:
    logs = run / "logs/version_0"
    logs.mkdir(parents=True)
    lines = ["step,epoch,train/loss,val/SRCC,lr-SGD", "0,0,0.5,,0.1", "1,0,,0.6,", "2,1,0.25,,"]
    (logs / "metrics.csv").write_text("\n".join(lines))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = evaluation(tmp_path_factory.mktemp("evaluation"), pictures())
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page(folder / "report.html")


def shared_out(table: pd.DataFrame) -> pd.DataFrame:
    """As the page shows it: what all rows share stands above the table."""
    shown = printable(table.dropna(axis=1, how="all"))
    may = ["data", "target", "against", "resampled", "n", "note"]
    return shown.drop(columns=[c for c in may if c in shown and table[c].nunique() == 1])


@pytest.mark.slow
def test_tables_show_the_saved_numbers(folder: Path, page: Page) -> None:
    results, differences = (load_table(folder / f"{n}.json") for n in ("results", "differences"))
    shown = shared_out(results)
    header, *rows = page.tables["Results"]
    at = [header.index(name.replace("_", " ")) for name in shown.columns]
    assert [[row[i] for i in at] for row in rows] == shown.to_numpy().tolist()
    shown = shared_out(differences)
    names = [name.replace("_", " ") for name in shown.columns]
    assert page.tables["Differences"] == [names, *shown.to_numpy().tolist()]
    assert "data: mine, target: mos, resampled: 30 contents, n: 120" in page.text


@pytest.mark.slow
def test_only_a_significant_difference_is_marked(folder: Path, page: Page) -> None:
    differences = load_table(folder / "differences.json")
    assert (differences["p_holm"] < 0.05).tolist() == [True, False]  # else the test shows nothing
    header, *rows = page.tables["Results"]
    marks = [row[header.index("significant")] for row in rows]
    assert marks == ["", "▲ better than zero_shot", ""]
    sentences = summary(load_table(folder / "results.json"), differences)
    assert "a ranks better than zero_shot: SRCC +" in sentences[0][0]
    assert "b is not told apart from zero_shot" in sentences[1][0]
    assert [verdict for _, verdict in sentences] == ["better", ""]
    assert all(sentence in page.text for sentence, _ in sentences)
    worse = differences.assign(dSRCC=-0.3, p_holm=0.001)
    assert "ranks worse than" in summary(load_table(folder / "results.json"), worse)[0][0]


@pytest.mark.slow
def test_points_and_breakdown_are_those_of_the_scores(folder: Path, page: Page) -> None:
    scores = pd.read_parquet(folder / "mine/scores.parquet")
    points = pd.DataFrame(json.loads(page.scripts["points"])["mine/mos"]["columns"])
    np.testing.assert_allclose(points["s1"], scores["a"], atol=5e-5)  # rounded to 4 digits
    np.testing.assert_allclose(points["MOS"], scores["mos"], atol=5e-5)
    assert points["image"].tolist() == scores["image"].tolist()
    blur = scores[scores["distortion"] == "blur"]
    expected = f"{blur['a'].corr(blur['mos'], method='spearman'):.3f}"
    row = page.tables["SRCC by distortion in numbers, mine"][1]
    assert row[:2] == ["blur", "60"]
    assert row[3] == expected


def test_nothing_is_fetched_and_names_are_only_text(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "b")
        for name in ("src", "href", "srcset"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#"))
    policy = next(a for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in str(policy["content"])
    assert "http" not in str(policy["content"])


def test_pictures_and_charts_say_what_they_show(page: Page) -> None:
    images = [a["data-picture"] for t, a in page.tags if t == "img"]
    cards = [a for t, a in page.tags if str(a.get("class")).startswith("picture s")]
    pairs = [a for t, a in page.tags if a.get("class") == "picture"]  # of gMAD
    assert len(cards) > 8
    assert len(pairs) == 12
    assert len(images) == len(cards) + 2 * len(pairs)
    charts = [a for t, a in page.tags if a.get("class") == "chart"]
    assert len(charts) == CHARTS
    assert all("SRCC" in str(a["aria-label"]) for a in charts[: len(SOURCES)])
    assert "my recipe.yaml" in page.text
    assert page.tables["Nearest words, a"][1] == ["c1", "<i> (0.250)"]
    assert "Good photo. 0.500." in page.text
    assert "Good photo. / Bad photo.: 0.900 at 0.0, 0.800 at 1.0." in page.text
    assert "b2" * 32 in page.text


@pytest.mark.slow
def test_data_sets_and_targets_are_seen_together(tmp_path: Path) -> None:
    one = pictures(60)
    targets = [
        one.assign(target=t, mos=one["mos"].to_numpy()[::s])
        for t, s in zip("uvw", (1, -1, 1), strict=True)
    ]
    scores = pd.concat(targets, ignore_index=True)
    page = Page(write_report(evaluation(tmp_path, scores, names=("mine", "yours"), resamples=20)))
    results = load_table(tmp_path / "results.json")
    header, *rows = page.tables["SRCC of each source on each data set"]
    shown = {row[0].strip(): dict(zip(header, row, strict=True)) for row in rows}
    for row in results.itertuples():
        assert shown[row.prompts][f"{row.data}: {row.target}"].strip() == f"{row.SRCC:.3f}"


@pytest.mark.slow
def test_training_beside_a_prompt_file_is_drawn(tmp_path: Path) -> None:
    log_training(tmp_path / "run")
    folder = evaluation(tmp_path / "out", pictures(40))
    assert "No training log was found" in Page(write_report(folder)).text
    save_training(folder, {"zero_shot": "zero_shot", "a": str(tmp_path / "run")})
    charts = [str(a.get("aria-label")) for _, a in Page(write_report(folder)).tags]
    assert any(
        "train/loss in training" in c and "0.500 at first, 0.250 at last" in c for c in charts
    )


@pytest.mark.slow
def test_page_goes_where_it_is_asked_for(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "far/away.html"
    assert write_report(folder, page) == page
    assert page.read_bytes() == (folder / "report.html").read_bytes()


@pytest.mark.slow
def test_command_makes_it_again_without_a_model(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = (folder / "report.html").read_bytes()
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    assert (folder / "report.html").read_bytes() == before
    assert main(["report", str(tmp_path / "nowhere")]) == 1
    assert "no finished evaluation" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_two_thousand_pictures_stay_below_ten_megabytes(tmp_path: Path) -> None:
    evaluation(tmp_path, pictures(2000, contents=100))
    big = pd.DataFrame({"id": range(2000), "jpeg": [bytes(4000)] * 2000})  # 10.7 MB in base64
    big.to_parquet(tmp_path / "mine/thumbnails.parquet")
    page = write_report(tmp_path)
    assert page.stat().st_size <= PAGE_BYTES < 10e6
    kept = json.loads(Page(page).scripts["pictures"])["mine"]
    assert list(kept)[:2] == ["0", "1"]
    assert 1000 < len(kept) < 2000
    assert page.stat().st_size > PAGE_BYTES - 20_000  # another one would not fit


@pytest.mark.slow
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


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with all that a page may show."""
    place = tmp_path_factory.mktemp("whole")
    log_training(place / "run")
    scores = pictures()
    scores["distortion"] = [f"blur_{i % 3}" for i in range(len(scores))]
    folder = evaluation(place / "out", scores, names=("mine", "yours"))
    save_training(folder, {"a": str(place / "run/prompts.safetensors")})
    return write_report(folder)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_a_browser_shows_it(whole: Path, width: int, scheme: str) -> None:
    with visited(whole, width, scheme) as tab:
        assert tab.locator(".vega-embed").count() < tab.locator(".chart").count()
        folded = tab.locator("details:not([open]) > summary")
        while folded.count():
            folded.first.click()
        charts = tab.locator(".chart")
        assert charts.count() == 2 * CHARTS + 2  # of each data set, and two of training
        for chart in charts.all():
            chart.scroll_into_view_if_needed()
            chart.locator("svg").wait_for()
        ink = tab.locator(".chart svg .role-axis-label text").first
        colours = [
            ink.evaluate("e => getComputedStyle(e).fill"),
            tab.evaluate("getComputedStyle(document.body).color"),
        ]
        assert violations(tab) == []
        heights = {
            round(box.bounding_box()["height"])
            for box in tab.locator("[aria-label^='Score against MOS'][aria-label*='mine']").all()
        }
        assert len(heights) == 1

        tab.locator("[aria-label^='Score against MOS'] .mark-symbol path").first.hover(force=True)
        tip = tab.locator("#vg-tooltip-element.visible")
        tip.wait_for()
        assert "co.png" in tip.inner_text()
        assert "score: " in tip.inner_text()
        assert tip.locator("img").get_attribute("src").startswith("data:image/jpeg")
        tab.mouse.move(0, 0)
        tip.wait_for(state="detached")
        tab.locator("[aria-label^='Calibration'] .mark-symbol path").first.hover(force=True)
        tip.wait_for()
        assert "mean score: " in tip.inner_text()

        table = tab.get_by_role("region", name="Results").locator("table")
        button = table.get_by_role("button", name="SRCC", exact=True)
        column = table.locator("thead button").all_inner_texts().index("SRCC") + 1
        values = table.locator(f"tbody tr td:nth-child({column})")
        button.focus()
        tab.keyboard.press("Enter")
        rising = [float(text.split()[0]) for text in values.all_inner_texts()]
        tab.keyboard.press("Enter")
        falling = [float(text.split()[0]) for text in values.all_inner_texts()]
    assert colours[0] == colours[1]
    assert rising == sorted(rising)
    assert falling == sorted(rising, reverse=True)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_pictures_open_large_and_terms_explain_themselves(
    whole: Path, width: int, scheme: str
) -> None:
    with visited(whole, width, scheme) as tab:
        pictures = tab.locator(".pictures").first.locator(".picture")
        pictures.first.focus()
        tab.keyboard.press("Enter")
        viewer = tab.get_by_role("dialog")
        viewer.wait_for()
        count = pictures.count()
        first = viewer.locator(".stage").inner_text()
        assert "MOS" in first
        assert viewer.locator("output").inner_text() == f"1 of {count}"
        assert violations(tab) == []
        tab.keyboard.press("ArrowRight")
        assert viewer.locator("output").inner_text() == f"2 of {count}"
        assert viewer.locator(".stage").inner_text() != first
        tab.keyboard.press("Escape")
        viewer.wait_for(state="hidden")
        # A point of a chart opens its picture too: the first five have one.
        chart = tab.locator("[aria-label^='Score against MOS']").first
        chart.scroll_into_view_if_needed()
        chart.locator(".mark-symbol path").first.click(force=True)
        viewer.wait_for()
        shown = viewer.locator(".stage img")
        assert shown.evaluate("image => image.naturalWidth") == 60
        viewer.get_by_role("button", name="Close").click()

        hint = tab.get_by_role("tooltip")
        assert hint.is_hidden()
        tab.get_by_role("region", name="Results").get_by_role("button", name="PLCC").first.focus()
        assert "Pearson" in hint.inner_text()
        box = hint.bounding_box()
        assert 0 <= box["x"] <= box["x"] + box["width"] <= width
        tab.keyboard.press("Escape")
        assert hint.is_hidden()
        tab.locator("dfn").first.hover()
        assert "Spearman" in hint.inner_text()


@pytest.mark.slow
def test_of_many_data_sets_a_link_opens_the_one(tmp_path: Path) -> None:
    names = ("mine", "yours", "ours", "theirs")
    few, many = (
        write_report(evaluation(tmp_path / str(len(n)), pictures(20), names=n, resamples=20))
        for n in (names[:3], names)
    )
    with visited(few, 1200, "light") as tab:
        assert tab.locator(".set[open]").count() == 3
    with visited(many, 1200, "light") as tab:
        assert tab.locator(".set").count() == 4
        assert tab.locator(".set[open]").count() == 0
        tab.get_by_role("link", name="ours", exact=True).click()
        assert tab.locator(".set[open]").get_attribute("id") == "data-ours"
        tab.locator("#data-ours .picture").first.wait_for()
        tab.goto(f"{many.as_uri()}#data-theirs")
        tab.reload()
        tab.locator("#data-theirs .picture").first.wait_for()


@pytest.mark.slow
def test_paper_shows_everything(whole: Path, tmp_path: Path) -> None:
    with visited(whole, 1200, "light") as tab:
        opened = tab.locator("details[open]").count()
        tab.evaluate("dispatchEvent(new Event('beforeprint'))")
        for chart in tab.locator(".chart").all():
            chart.locator("svg").wait_for(state="attached")
        assert tab.locator("details:not([open])").count() == 0
        tab.emulate_media(media="print")
        assert tab.locator("nav").is_hidden()
        assert tab.locator(".verdict").is_visible()
        (tmp_path / "page.pdf").write_bytes(tab.pdf())
        tab.emulate_media(media="screen")
        tab.evaluate("dispatchEvent(new Event('afterprint'))")
        assert tab.locator("details[open]").count() == opened > 0
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


class Killed(BaseException):
    """What no handler of the code under test catches."""


@pytest.mark.slow
def test_a_kill_at_any_write_leaves_a_whole_evaluation_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, old, new = tmp_path / "out", pictures(20), pictures(24)
    replace, writes, fatal = os.replace, 0, 0

    def dying(source: Path, target: Path) -> None:
        nonlocal writes
        writes += 1
        if writes == fatal:
            raise Killed
        replace(source, target)

    monkeypatch.setattr(os, "replace", dying)
    evaluation(folder, old, resamples=20)
    count = writes
    assert count > 10
    for at in range(1, count + 1):
        writes, fatal = 0, at
        with pytest.raises(Killed):
            evaluation(folder, new, resamples=20)
        fatal = 0
        assert list(folder.rglob("*.part"))
        with pytest.raises(FileNotFoundError, match=r"evaluation\.json: .* no finished evaluation"):
            write_report(folder)
        with claimed(folder):
            assert not list(folder.rglob("*.part"))
            evaluation(folder, old, resamples=20)
        assert (folder / "evaluation.json").is_file()
    assert "</html>" in write_report(folder).read_text()


def test_the_verdict_is_one_sentence_with_the_given_names(folder: Path, page: Page) -> None:
    results, differences = (load_table(folder / f"{n}.json") for n in ("results", "differences"))

    def said(results: pd.DataFrame, differences: pd.DataFrame) -> str:
        return str(headline(results, differences).striptags())

    zero, a, b = (f"{value:.3f}" for value in results["SRCC"])
    three = (
        f"On mine, a ({a}) ranks the pictures better than zero_shot ({zero}); "
        f"b ({b}) is not told apart from zero_shot."
    )
    assert said(results, differences) == three
    assert three in " ".join(page.text.split())
    two = said(results[:2], differences[:1])
    assert two.startswith(f"a ranks the pictures of mine better than zero_shot: SRCC {a} against")
    assert two.endswith(").")
    alone = said(results[1:2], differences[:0])
    assert alone.startswith(f"a ranks 120 pictures of mine with SRCC {a} [")
    again = pd.concat([results, results.assign(data="yours")])
    both = pd.concat([differences, differences.assign(data="yours", p_holm=[0.001, 0.002])])
    both["dSRCC"] = [0.2, 0.1, 0.2, -0.1]
    assert said(again, both) == (
        "Compared with zero_shot on 2 data sets, a ranks pictures better on all 2; "
        "b ranks pictures worse on 1 and is not told apart on 1."
    )
    assert "<b>" not in headline(results.replace("a", "<b>"), differences.replace("a", "<b>"))
