"""Options of training that are flags, as in the other commands."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.training_run import run


@pytest.mark.slow
@pytest.mark.parametrize("given", [["--overwrite"], ["--overwrite", "true"], ["--overwrite=true"]])
def test_overwrite_is_a_flag_and_takes_a_value_too(recipe: Path, given: list[str]) -> None:
    few = ["--trainer.max_epochs=1", "--features.enabled=false"]
    run(recipe, *few)
    run(recipe, *given, *few, "--seed_everything=3")
    config = yaml.safe_load((recipe.parent / "run/config.yaml").read_text())
    assert config["seed_everything"] == 3
