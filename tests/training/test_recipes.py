"""Recipes: every one in configs/ parses, and a new benchmark or view is found by its class path."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

import train
from clipiqa_plus.data import FlipViews
from clipiqa_plus.data.benchmarks import BENCHMARKS
from clipiqa_plus.training import recipes
from clipiqa_plus.training.recipes import data_of, expand, read_recipe
from tests.support.tiny_data import Tiny

FOLDER = Path(__file__).parents[2] / "configs"
CONFIGS = sorted(p for p in FOLDER.rglob("*.yaml") if p.name != "benchmarks.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_recipe_states_its_source_and_builds_its_data(path: Path) -> None:
    assert path.read_text().startswith("# ")
    scale = {"mos_range": [1, 5]} if path.stem in ("csv", "csv_fast") else {}  # every user's own
    data_of(read_recipe(path), path, **scale)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("given", ["none", "table", "true", "null"])
def test_positional_embedding_by_name_and_as_in_earlier_recipes(
    given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = f"--config={FOLDER / 'koniq_pyiqa.yaml'}"
    with pytest.raises(SystemExit):
        train.main([recipe, f"--model.pos_embedding={given}", "--print_config"])
    assert f"pos_embedding: {given}\n" in capsys.readouterr().out


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


@pytest.mark.slow
def test_every_benchmark_has_its_recipe_and_is_in_the_list() -> None:
    assert {p.stem for p in (FOLDER / "benchmarks").glob("*.yaml")} == set(BENCHMARKS)
    assert read_recipe(FOLDER / "benchmarks.yaml")["benchmarks"] == list(BENCHMARKS)
    for name, benchmark in BENCHMARKS.items():
        data = data_of(read_recipe(name), name)
        assert type(data) is benchmark
        assert data.resize == benchmark.usual_resize


@pytest.mark.slow
def test_a_list_takes_what_is_present_and_says_what_is_absent(
    tmp_path: Path, make_picture: Callable[..., Path]
) -> None:
    present = tmp_path / "kadid10k/kadid10k"
    (present / "images").mkdir(parents=True)
    names = [f"I{r:02d}_{t:02d}_{n:02d}.png" for r, t, n in product(*map(range, (82, 26, 6)))]
    names = [n for n in names if "00" not in n]
    rows = [f"{name},{name[:3]}.png,3.0,0.5" for name in names]
    (present / "dmos.csv").write_text("\n".join(["dist_img,ref_img,dmos,var", *rows]))
    for name in names:
        (present / "images" / name).touch()
    found, absent = expand([str(FOLDER / "benchmarks.yaml"), "spaq"], tmp_path)
    assert [path.stem for path in found] == ["kadid10k", "spaq"]
    assert len(absent) == len(BENCHMARKS) - 1
    assert "no folder" in absent["ava"]
    with pytest.raises(FileNotFoundError, match=r"koniq: no such recipe; .* koniq10k"):
        expand(["koniq"])


def test_a_root_holds_benchmarks_by_their_short_names(tmp_path: Path) -> None:
    own = tmp_path / "spaq.yaml"  # of the user: not the benchmark's own recipe
    own.write_text("data: {}")
    assert recipes.rooted(recipes.find_recipe("spaq"), tmp_path) == {"root": f"{tmp_path}/spaq"}
    assert recipes.rooted(own, tmp_path) == {}
    assert recipes.rooted(recipes.find_recipe("spaq"), None) == {}
    with pytest.raises(ValueError, match=f"--root {tmp_path} is for short names"):
        expand([str(own)], tmp_path)


def test_a_list_of_which_nothing_is_present_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no benchmark of the list .* --root"):
        expand([str(FOLDER / "benchmarks.yaml")], tmp_path)


def test_a_typing_error_is_answered_by_the_nearest_name() -> None:
    with pytest.raises(FileNotFoundError, match=r"did you mean kadid10k"):
        expand(["kadid-10k"])
    with pytest.raises(FileNotFoundError, match=r"did you mean configs/demo.yaml"):
        expand(["config/demo.yml"])
