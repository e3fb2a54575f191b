"""clipiqa data."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipiqa_plus.commands.main import main
from clipiqa_plus.data.benchmarks import BENCHMARKS
from tests.support.small_biq2021 import small

__all__ = ["small"]  # a fixture: BIQ2021 from a small repository on this computer


def test_data_list_names_every_benchmark(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["data", "list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in BENCHMARKS)


def test_data_check_of_an_empty_folder_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", "koniq10k", "--root", str(tmp_path)]) == 1
    assert "koniq10k_distributions_sets.csv" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", "koniq10k"]) == 1
    assert "KonIQ-10k in data/koniq10k" in capsys.readouterr().out


def test_unknown_benchmark_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "koniq", "--root", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("clipiqa: no benchmark 'koniq'; there are")


@pytest.mark.slow
def test_data_get_fetches_and_shows_what_is_there(
    small: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "biq2021"
    assert main(["data", "get", "biq2021", "--root", str(root)]) == 0
    assert "complete: ready to use" in capsys.readouterr().out
    assert main(["data", "check", "biq2021", "--root", str(root)]) == 0


def test_data_get_of_a_set_behind_a_form_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "get", "clive", "--root", str(tmp_path / "clive")]) == 1
    assert "cannot be downloaded automatically. Ask for" in capsys.readouterr().err
