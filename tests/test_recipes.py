"""Recipes: every one in configs/ parses, and a new benchmark or view is found by its class path."""

from __future__ import annotations

from pathlib import Path

import pytest

import train
from clipiqa_plus.data import FlipViews
from clipiqa_plus.recipes import data_of, read_recipe
from tests.data.test_base import Tiny

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_recipe_states_its_source_and_builds_its_data(path: Path) -> None:
    assert path.read_text().startswith("# ")
    data_of(read_recipe(path), path)


@pytest.mark.parametrize(
    "path", [p for p in CONFIGS if "trainer" in read_recipe(p)], ids=lambda path: path.stem
)
def test_training_accepts_every_recipe(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as end:
        train.main([f"--config={path}", "--print_config"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert f"class_path: {read_recipe(path)['data']['class_path']}" in printed


def test_a_new_benchmark_is_one_class(tmp_path: Path) -> None:
    section = {
        "class_path": "tests.data.test_base.Tiny",
        "init_args": {
            "root": str(tmp_path),
            "train_views": {"class_path": "clipiqa_plus.data.FlipViews"},
        },
    }
    data = data_of({"data": section}, "new.yaml")
    assert isinstance(data, Tiny)
    assert isinstance(data.train_views, FlipViews)


def test_defects_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"a\.yaml: not a recipe"):
        read_recipe(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("a: [1")
    with pytest.raises(ValueError, match=r"b\.yaml: not a readable YAML"):
        read_recipe(tmp_path / "b.yaml")
    with pytest.raises(ValueError, match=r"c\.yaml: the recipe has no data section"):
        data_of({}, "c.yaml")
