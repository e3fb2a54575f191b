"""clipiqa score."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clipiqa_plus.commands.main import main


def test_score_and_its_errors(
    tmp_path: Path, make_picture: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = make_picture(tmp_path / "a.png"), tmp_path / "scores.jsonl"
    assert main(["score", str(path), "--backbone", "demo", "--out", str(out)]) == 0
    assert f"1 scores by clipiqa in {out}" in capsys.readouterr().out
    row = json.loads(out.read_text())
    assert (row["image"], row["preset"], row["backbone"]) == (str(path), "clipiqa", "demo")
    assert main(["score", str(path), "--preset", "best", "--out", str(out)]) == 1
    assert capsys.readouterr().err.startswith("clipiqa: unknown preset 'best'; choose from")
