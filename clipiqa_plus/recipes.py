"""Recipes: YAML files in which training and evaluation find their data and model sections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from clipiqa_plus.data.base import IQADataModule


def read_recipe(path: str | Path) -> dict[str, Any]:
    """Read a recipe.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a YAML mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such recipe")
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not a readable YAML file ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a recipe; a recipe has sections model, data and trainer")
    return content


def data_of(recipe: dict[str, Any], path: str | Path) -> IQADataModule:
    """Build the data module of a recipe, its options checked as on the command line of training.

    Raises:
        ValueError: If the recipe has no data section or an option in it does not fit.
    """
    if "data" not in recipe:
        raise ValueError(f"{path}: the recipe has no data section")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(IQADataModule, "data")
    try:
        config = parser.parse_object({"data": recipe["data"]})
    except Exception as error:
        raise ValueError(f"{path}: data section: {error}") from error
    module: IQADataModule = parser.instantiate_classes(config).data
    return module
