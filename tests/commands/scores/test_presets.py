"""clipiqa presets."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipiqa_plus.commands.main import main
from clipiqa_plus.inference.presets import PRESETS


def test_presets_are_listed_with_all_that_fixes_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert main(["presets"]) == 0
    printed = capsys.readouterr().out
    for preset in PRESETS.values():
        assert preset.name in printed
        assert f"source: {preset.source}" in printed
        assert preset.published in printed
        for file in preset.files:
            assert f"{file.name} ({file.licence}; {file.authors}), downloaded when first" in printed
            assert file.addresses[0] in printed
    assert "positional embedding table; native size; fp32" in printed
    assert "logit scale 100" in printed
    assert printed.count("temperature 2") == 4  # fixed by two, and in two summaries
