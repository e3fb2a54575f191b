"""Commands that print a table: plain lines in a pipe, whole names on 80 columns."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest

from clipiqa_plus.commands.main import main
from clipiqa_plus.data.benchmarks import BENCHMARKS
from clipiqa_plus.evaluation.published import PUBLISHED
from clipiqa_plus.inference.presets import PRESETS
from clipiqa_plus.training.recipes import recipe_paths

LISTS: dict[str, Callable[[], list[str]]] = {
    "data list": lambda: list(BENCHMARKS),
    "presets": lambda: list(PRESETS),
    "recipes": lambda: list(recipe_paths()),
    "reproduce": lambda: list(PUBLISHED),
}
"""Commands, and the names that each lists."""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("command", LISTS)
def test_a_pipe_gets_one_plain_line_for_each_name(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")  # asks for colour, but a table of lines has none
    assert main(command.split()) == 0
    printed = capsys.readouterr().out
    names = [
        line.split()[0] for line in printed.splitlines() if line.split()[0] in LISTS[command]()
    ]
    assert names == LISTS[command]()
    assert printed.isascii()  # no lines of a box
    assert "\x1b" not in printed
    assert all(line == line.rstrip() for line in printed.splitlines())


@pytest.mark.parametrize("command", LISTS)
def test_80_columns_hold_every_name_whole(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    shown = Terminal()
    monkeypatch.setattr(sys, "stdout", shown)
    assert main(command.split()) == 0
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in shown.getvalue()
    assert "…" not in shown.getvalue()  # nothing is cut
    words = {word for line in lines for word in line.split()}
    assert set(LISTS[command]()) <= words
