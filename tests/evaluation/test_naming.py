"""Names of sources and data sets: short, distinct, and harmless wherever they are shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipiqa_plus.evaluation.naming import LEARNED, name_data, name_sources


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/a", "runs/b", "old/a", "runs/=cmd()\n[bold]", "runs/mos"):
        (tmp_path / folder / "checkpoints").mkdir(parents=True)
        for name in ("prompts.safetensors", "prompts_best.safetensors", "checkpoints/last.ckpt"):
            (tmp_path / folder / name).touch()
    (tmp_path / "plus_512.safetensors").touch()
    return tmp_path


def test_a_source_is_named_after_its_run_or_as_it_is_given(runs: Path) -> None:
    specs = {
        "zero_shot": "zero_shot",
        "a": "runs/a/prompts.safetensors",
        "b": str(runs / "runs/b"),
        "plus_512": "plus_512.safetensors",
        "b-best": "runs/b/prompts_best.safetensors",
        "b-last": "runs/b/checkpoints/last.ckpt",
    }
    assert name_sources(list(specs.values())) == specs
    assert name_sources(["mine=runs/a", "b=runs/a/prompts_best.safetensors", "runs/b"]) == {
        "mine": "runs/a",
        "b": "runs/a/prompts_best.safetensors",
        "runs-b": "runs/b",
    }


def test_names_that_would_be_equal_get_the_folders_above(runs: Path) -> None:
    assert list(name_sources(["runs/a", "runs/b", "old/a"])) == ["runs-a", "b", "old-a"]
    # A column of the table of scores.
    assert list(name_sources(["runs/mos"])) == ["runs-mos"]


def test_names_are_one_printable_line_and_no_formula(runs: Path) -> None:
    (name,) = name_sources(["runs/=cmd()\n[bold]"])
    assert name == "cmd() [bold]"


def test_names_and_sources_given_twice_or_unfit_are_refused(runs: Path) -> None:
    with pytest.raises(ValueError, match="one source twice: runs/a"):
        name_sources(["runs/a/prompts.safetensors", "runs/a"])
    with pytest.raises(ValueError, match="two sources are named 'x'"):
        name_sources(["x=runs/a", "x=runs/b"])
    for name in ("mos", LEARNED, "", "=x", "two\nlines"):
        with pytest.raises(ValueError, match="write NAME=PATH"):
            name_sources([f"{name}=runs/a"])
    with pytest.raises(FileNotFoundError, match="runs/c: no such prompt file"):
        name_sources(["mine=runs/c"])


def test_a_source_may_be_called_learned(runs: Path) -> None:
    assert name_sources(["learned=runs/a"]) == {"learned": "runs/a"}


def test_data_sets_are_named_after_recipe_or_folder() -> None:
    recipes = ["configs/demo.yaml", "x/config.yaml", "y/config.yaml", "z/spaq.yaml", "spaq.yaml"]
    recipes.append("configs/demo.yaml")
    found = name_data(recipes)
    here = Path.cwd().name
    assert list(found) == ["demo", "x", "y", "z-spaq", f"{here}-spaq"]
    assert found["y"] == Path("y/config.yaml")
