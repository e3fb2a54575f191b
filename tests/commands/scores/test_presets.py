"""clipiqa presets."""

from __future__ import annotations

import pytest

from clipiqa_plus.commands.main import main
from clipiqa_plus.inference.presets import PRESETS


def test_presets_are_listed_with_what_they_fix(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["presets"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in PRESETS)
    assert "RN50" in printed
