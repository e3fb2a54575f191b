"""Result tables in every form: the numbers are the same, and special characters are harmless."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from clipiqa_plus.evaluation.analyses.gmad import gmad_pairs
from clipiqa_plus.evaluation.analyses.tables import add, analyse
from clipiqa_plus.evaluation.comparison import NOTHING, compare_sources
from clipiqa_plus.evaluation.results import (
    Evaluated,
    cross_set,
    latex,
    load_table,
    markdown,
    printable,
    save,
    start_record,
)
from clipiqa_plus.evaluation.terminal import console, render
from tests.support.scored_pictures import scored

TABLE = pd.DataFrame(
    {
        "data": ["a_b", "100%"],
        "prompts": ["zero_shot", "runs/x|y.safetensors"],
        "SRCC": [0.12345, np.nan],
        "SRCC_low": [0.1, np.nan],
        "SRCC_high": [0.2, np.nan],
        "p_holm": [0.0004, 0.25],
        "n": [30, 2],
        "note": ["", "2 pictures: no correlation"],
    }
)


def test_numbers_stand_with_their_interval() -> None:
    shown = printable(TABLE)
    assert shown["SRCC"].tolist() == ["0.123 [0.100, 0.200]", "-"]
    assert shown["p_holm"].tolist() == ["<0.001", "0.250"]
    assert shown["n"].tolist() == ["30", "2"]
    assert "note" not in printable(TABLE[:1])
    signed = printable(pd.DataFrame({"dSRCC": [0.1], "dSRCC_low": [-0.05], "dSRCC_high": [0.2]}))
    assert signed["dSRCC"].tolist() == ["+0.100 [-0.050, +0.200]"]


def test_markdown_is_one_cell_per_column() -> None:
    lines = markdown(TABLE).splitlines()
    assert lines[0] == "| data | prompts | SRCC | p_holm | n | note |"
    assert lines[2] == r"| a_b | zero_shot | 0.123 [0.100, 0.200] | <0.001 | 30 |  |"
    assert r"runs/x\|y.safetensors" in lines[3]


def test_latex_is_escaped() -> None:
    lines = latex(TABLE).splitlines()
    assert lines[0] == r"\begin{tabular}{llllll}"
    assert lines[2] == r"data & prompts & SRCC & p\_holm & n & note \\"
    assert lines[4] == r"a\_b & zero\_shot & 0.123 [0.100, 0.200] & $<$0.001 & 30 &  \\"
    assert lines[5].startswith(r"100\% & runs/x|y.safetensors & - &")


@pytest.mark.parametrize("width", [80, 200])
def test_terminal_shows_numbers_and_notes(width: int) -> None:
    console = Console(width=width, file=io.StringIO())
    console.print(render(TABLE))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[0.100, 0.200]" in printed
    assert "2 pictures: no" in printed  # the rest may stand on the next line


def test_saved_tables_come_back(tmp_path) -> None:
    scores = scored(contents=4)
    tables = NOTHING.add("mine", compare_sources(scores, ["zero_shot", "a", "b"]))
    thumbnails = pd.DataFrame({"id": [0], "jpeg": [b"x"]})
    sources: dict[str, dict] = {"zero_shot": {}, "a": {}, "b": {}}
    record, about = start_record([]), {"skipped": {"a.png": "not an image"}, "sources": sources}
    way = pd.DataFrame({"source": ["a"], "id": [0], "score": [0.5]})
    further = analyse(scores, ["zero_shot", "a", "b"], 50)
    more = add({}, "mine", further.tables)
    save(tmp_path, "mine", tables, Evaluated(scores, way, thumbnails, about), record, more)
    assert json.loads((tmp_path / "evaluation.json").read_text())["data"] == {"mine": about}
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "mine/interpolation.parquet"), way)
    assert "NaN" not in (tmp_path / "results.json").read_text()
    for name, table in zip(("results", "differences", "pairs"), tables, strict=True):
        loaded = load_table(tmp_path / f"{name}.json")
        pd.testing.assert_frame_equal(loaded, table, check_dtype=False)
        read = pd.read_csv(tmp_path / f"{name}.csv")
        assert read.columns.tolist() == table.columns.tolist()
    for name, table in more.items():
        pd.testing.assert_frame_equal(
            load_table(tmp_path / f"{name}.json"), table, check_dtype=False
        )
        for kind in ("csv", "md", "tex"):
            assert (tmp_path / f"{name}.{kind}").is_file()
    pairs = pd.read_json(tmp_path / "mine/gmad.json")
    pd.testing.assert_frame_equal(pairs, gmad_pairs(scores, [*sources]), check_dtype=False)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "mine/scores.parquet"), scores)
    skipped = pd.read_csv(tmp_path / "mine/skipped.csv")
    assert skipped.to_dict("records") == [{"image": "a.png", "reason": "not an image"}]
    with pytest.raises(FileNotFoundError, match="no such table"):
        load_table(tmp_path / "none.json")


def test_srcc_across_data_sets() -> None:
    rows = [
        ("koniq10k", "mos", "zero_shot", 0.7),
        ("koniq10k", "mos", "learned", 0.9),
        ("spaq", "mos", "zero_shot", 0.6),
        ("spaq", "sharpness", "zero_shot", 0.5),
        ("spaq", "mos", "learned", 0.8),
    ]
    results = pd.DataFrame(rows, columns=["data", "target", "prompts", "SRCC"])
    expected = pd.DataFrame(
        {
            "prompts": ["zero_shot", "learned"],
            "koniq10k": [0.7, 0.9],
            "spaq: mos": [0.6, 0.8],
            "spaq: sharpness": [0.5, np.nan],
        }
    )
    pd.testing.assert_frame_equal(cross_set(results), expected)
    assert cross_set(results[results["data"] == "spaq"]).empty
    assert markdown(cross_set(results)).splitlines()[3] == "| learned | 0.900 | 0.800 | - |"


@pytest.mark.parametrize("width", [30, 45, 60, 80])
def test_a_narrow_terminal_shows_numbers_whole_or_not_at_all(width: int) -> None:
    row = {"target": "mos", "prompts": "a run", "against": "zero_shot", "dSRCC": 0.1234}
    row |= {"dSRCC_low": -0.1, "dSRCC_high": 0.2, "p_SRCC": 0.001, "p_holm": 0.002, "dPLCC": 0.3}
    row |= {"dPLCC_low": 0.2, "dPLCC_high": 0.4, "p_PLCC": 0.003, "p_williams": 0.004}
    console = Console(width=width, file=io.StringIO())
    console.print(render(pd.DataFrame([row])))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, printed.splitlines())) <= width
    assert "a run" in printed
    numbers = set(re.findall(r"[+-]?\d+\.\d+", printed))
    whole = ["+0.123", "-0.100", "+0.200", "0.001", "0.002", "+0.300", "+0.200", "+0.400"]
    assert numbers <= {*whole, "0.003", "0.004"}
    flat = " ".join(printed.split())
    if width < 60:
        assert "too narrow for" in flat
        assert "p_williams" in flat
    if width == 80:
        assert "too narrow" not in flat
        assert len(numbers) == 9


@pytest.mark.parametrize("name", ["[bold]x", "[/red]", "<script>alert(1)</script>", "a'b|c"])
def test_names_are_no_markup(name: str) -> None:
    frame = pd.DataFrame({"data": [name], "target": ["mos"], "prompts": [name], "SRCC": [0.5]})
    console = Console(width=100, file=io.StringIO())
    console.print(render(pd.concat([frame, frame.assign(prompts="b")])))
    assert console.file.getvalue().count(name) == 2  # type: ignore[attr-defined]


def in_terminal(table: pd.DataFrame, width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(render(table))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_long_names_are_numbered_never_broken() -> None:
    names = ["koniq_clipiqa_plus_rn50_seed_1_of_10", "koniq_clipiqa_plus_rn50_seed_2_of_10"]
    scores = scored().rename(columns={"a": names[0], "b": names[1]})
    sources = ["zero_shot", *names]
    results, differences, pairs = NOTHING.add("mine", compare_sources(scores, sources, 50))
    for table in (results, differences, pairs):
        lines = in_terminal(table, 80).splitlines()
        assert max(map(len, lines)) <= 80
        assert all(any(line.strip().endswith(name) for line in lines) for name in names)
        assert f"{table.filter(regex='^d?SRCC$').iloc[-1, 0]:.3f}" in "\n".join(lines)
    # What fits stays as it is.
    assert "(1)" not in in_terminal(results.replace(dict(zip(names, "ab", strict=True))), 80)


def test_columns_without_a_number_are_left_out() -> None:
    row = {"prompts": "a", "SRCC": np.nan, "PLCC": 0.5, "p_williams": np.nan, "SRCC_share": np.nan}
    printed = in_terminal(pd.DataFrame([row]), 80)
    assert "SRCC" in printed  # a metric that does not exist is shown as a dash
    assert "williams" not in printed
    assert "share" not in printed


def test_pipes_get_a_plain_line_for_each_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    results, differences, _ = NOTHING.add("mine", compare_sources(scored(), ["zero_shot", "a"], 50))
    console().print(render(results), render(differences, "differences"))
    lines = capsys.readouterr().out.splitlines()
    assert not any(character in "".join(lines) for character in "\x1b\u2500\u2502")
    (row,) = [line for line in lines if line.startswith("a  ") and "+" not in line]
    shown = printable(results).iloc[1]
    assert [shown[name] in row for name in ("SRCC", "PLCC", "PLCC_logistic")] == [True] * 3


@pytest.mark.parametrize("name", ["NO_COLOR", "TERM"])
def test_no_color_is_heeded_in_a_terminal(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    for value, coloured in ((None, True), ("1" if name == "NO_COLOR" else "dumb", False)):
        if value:
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.stdout", terminal := Terminal())
        console().print(render(TABLE))
        assert ("\x1b[" in terminal.getvalue()) is coloured
