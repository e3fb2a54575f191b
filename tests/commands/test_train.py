"""clipiqa train, recipes and evaluate: the code of train.py and evaluate.py, from any folder."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields
from pathlib import Path

import pytest

from clipiqa_plus.commands.evaluate import FeatureOptions
from clipiqa_plus.commands.main import main
from clipiqa_plus.data.benchmarks import BENCHMARKS
from clipiqa_plus.features import FeatureCache
from clipiqa_plus.training.recipes import CONFIGS, find_recipe, recipe_paths
from tests.support.small_recipe import recipe, weights

__all__ = ["recipe", "weights"]


@pytest.mark.parametrize("line", ["train", "train --config koniq_oficial", "evaluate --data nope"])
def test_no_recipe_or_an_unknown_one_is_answered_by_the_names(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == 1
    message = capsys.readouterr().err
    assert message.startswith("clipiqa: ")
    assert all(name in message for name in ("koniq_official", "csv", *BENCHMARKS))
    assert ("did you mean koniq_official" in message) == ("oficial" in line)


@pytest.mark.slow
def test_recipes_are_listed_and_found_by_name_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_recipe("koniq_official") == CONFIGS / "koniq_official.yaml"
    assert find_recipe("configs/koniq_official.yaml") == CONFIGS / "koniq_official.yaml"
    assert find_recipe("kadid10k") == CONFIGS / "benchmarks" / "kadid10k.yaml"
    assert set(recipe_paths().values()) == set(CONFIGS.rglob("*.yaml"))
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["recipes"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in recipe_paths())
    with pytest.raises(SystemExit) as ended:
        main(["train", "--config", "koniq_official", "--print_config"])
    assert ended.value.code == 0
    assert "max_steps: 80000" in capsys.readouterr().out


def test_train_has_its_own_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert "--model.backbone" in capsys.readouterr().out


def test_the_feature_options_are_those_of_the_cache() -> None:
    cache = list(inspect.signature(FeatureCache).parameters.values())
    options = [(field.name, field.default) for field in fields(FeatureOptions)]
    assert options == [(parameter.name, parameter.default) for parameter in cache]


def test_a_root_that_does_not_exist_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = "evaluate --data koniq10k --root nowhere --backbone demo"
    assert main(line.split()) == 1
    message = capsys.readouterr().err
    assert message.startswith("clipiqa: --root nowhere: no such folder")
    assert all(name in message for name in BENCHMARKS)


@pytest.mark.slow
def test_training_closes_with_result_files_and_next_command(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["train", f"--config={recipe}", f"--run={run}", "--trainer.max_epochs=1"]) == 0
    result, files, following = capsys.readouterr().out.splitlines()[-3:]
    srcc = json.loads((run / "metrics.json").read_text())["test/SRCC"]
    assert result.startswith("result: ")
    assert f"SRCC {srcc:.4f}" in result
    assert files == (
        f"files:  {run}/ with prompts.safetensors, prompts_best.safetensors, metrics.json, "
        "config.yaml, logs"
    )
    prompts, data = run / "prompts.safetensors", run / "config.yaml"
    assert following == f"next:   clipiqa evaluate --prompts zero_shot {prompts} --data {data}"
