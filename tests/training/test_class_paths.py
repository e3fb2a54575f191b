"""A recipe names classes of roles; whatever else could run code is refused by name."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipiqa_plus.training.class_paths import check_class_paths
from clipiqa_plus.training.recipes import data_of
from tests.support.training_run import run


def with_options(recipe: Path, section: str, **options: Any) -> Path:
    content = yaml.safe_load(recipe.read_text())
    content[section] |= options
    recipe.write_text(yaml.safe_dump(content))
    return recipe


LAMBDA = {
    "class_path": "lightning.pytorch.callbacks.LambdaCallback",
    "init_args": {"on_fit_start": "os.abort"},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("section", "options", "named"),
    [
        ("trainer", {"callbacks": [LAMBDA]}, r"on_fit_start: \w+\.abort is refused"),
        (
            "trainer",
            {"strategy": {"class_path": "lightning.pytorch.strategies.DDPStrategy"}},
            r"trainer\.strategy: lightning\.pytorch\.strategies\S*DDPStrategy is refused",
        ),
        ("model", {"optimizer": "clipiqa_plus.module.CLIPIQAPlus"}, "optimizer"),
        ("model", {"optimizer": "os.system"}, "optimizer"),
        ("trainer", {"callbacks": [{"class_path": "subprocess.Popen"}]}, r"subprocess\.Popen"),
    ],
)
def test_other_classes_and_functions_are_refused(
    recipe: Path, section: str, options: dict[str, Any], named: str, capsys: Any
) -> None:
    with pytest.raises((ValueError, SystemExit)) as refused:
        run(with_options(recipe, section, **options))
    said = str(refused.value) + capsys.readouterr().err
    assert re.search(named, said), said
    assert not (recipe.parent / "run").exists()


@pytest.mark.slow
def test_the_flag_allows_them(recipe: Path) -> None:
    harmless = LAMBDA | {"init_args": {"on_fit_start": "operator.is_"}}
    with_options(recipe, "trainer", callbacks=[harmless], max_epochs=1)
    with pytest.raises(ValueError, match=r"operator\.is_ is refused.*--allow_any_class true"):
        run(recipe)
    run(recipe, "--allow_any_class=true")


@pytest.mark.slow
@pytest.mark.parametrize("alone", [False, True])
def test_classes_of_roles_are_allowed(recipe: Path, alone: bool) -> None:
    stopping = {
        "class_path": "lightning.pytorch.callbacks.EarlyStopping",
        "init_args": {"monitor": "val/SRCC", "mode": "max"},
    }
    callbacks = stopping if alone else [stopping]  # Lightning takes both
    run(with_options(recipe, "trainer", callbacks=callbacks, max_epochs=1))


@pytest.mark.slow
@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system ['true']", "!!python/name:os.system"]
)
def test_yaml_tags_that_build_objects_are_refused(
    recipe: Path, tag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.write_text(f"{recipe.read_text()}\nrun: {tag}\n")
    with pytest.raises((ValueError, SystemExit)) as refused:
        run(recipe)
    said = str(refused.value) + capsys.readouterr().err
    assert "python/" in said
    assert not (recipe.parent / "run").exists()


def test_a_data_section_is_held_to_the_same(tmp_path: Path) -> None:
    section = {"class_path": "subprocess.Popen", "init_args": {"args": ["true"]}}
    with pytest.raises(ValueError, match=r"a\.yaml: data section"):
        data_of({"data": section}, "a.yaml")


def test_class_paths_hidden_in_free_form_values_are_found() -> None:
    with pytest.raises(ValueError, match=r"a\.b\[1\]: subprocess\.Popen is refused"):
        check_class_paths({"a": {"b": [1, {"class_path": "subprocess.Popen"}]}})
    with pytest.raises(ValueError, match=r"a: .*getcwd is refused"):
        check_class_paths({"a": os.getcwd})
