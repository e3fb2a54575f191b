"""Recipes: YAML files with the model, data and trainer options of an experiment."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from clipiqa_plus.data.base import IQADataModule
from clipiqa_plus.data.benchmarks import BENCHMARKS
from clipiqa_plus.data.check import check
from clipiqa_plus.training.class_paths import check_class_paths

_INSTALLED = Path(__file__).parent / "configs"
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "configs"
"""Folder of the recipes: in an installed package beside this file, else in the checkout."""


def recipe_paths() -> dict[str, Path]:
    """Return the paths of all recipes by name: ``koniq_official``, ``csv``, ..., ``kadid10k``."""
    own = {path.stem: path for path in sorted(CONFIGS.glob("*.yaml"))}
    return own | {name: CONFIGS / "benchmarks" / f"{name}.yaml" for name in BENCHMARKS}


def find_recipe(spec: str | Path) -> Path:
    """Return the path of a recipe.

    Args:
        spec: Its path, or its name, see :func:`recipe_paths`. Paths below ``configs/`` are also
            valid outside the checkout.

    Raises:
        FileNotFoundError: If there is no such file and no such name.
    """
    path = Path(spec)
    if path.is_file():
        return path
    names = recipe_paths()
    installed = CONFIGS.parent / path
    if path.parts[:1] == ("configs",) and installed.is_file():
        return installed
    if str(spec) in names:
        return names[str(spec)]
    files = [str(p.relative_to(CONFIGS.parent)) for p in names.values()]
    alike = difflib.get_close_matches(str(spec), [*names, *files], n=3)
    meant = f"; did you mean {' or '.join(alike)}?" if alike else "."
    raise FileNotFoundError(
        f"{spec}: no such recipe{meant} Give a YAML file, or one of {', '.join(names)}"
    )


def read_recipe(path: str | Path) -> dict[str, Any]:
    """Read a recipe.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not a YAML mapping.
    """
    path = find_recipe(path)
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not a readable YAML file ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a recipe; a recipe has sections model, data and trainer")
    return content


def data_of(recipe: dict[str, Any], path: str | Path, **options: Any) -> IQADataModule:
    """Build the data module of a recipe; options are validated as by the training command.

    Args:
        recipe: The recipe.
        path: Its path, for error messages.
        **options: Arguments of the data module that override the recipe's.

    Raises:
        ValueError: If the recipe has no data section or one of its options is invalid.
    """
    section = recipe.get("data")
    if not isinstance(section, dict):
        raise ValueError(f"{path}: the recipe has no data section")
    section = section | {"init_args": (section.get("init_args") or {}) | options}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(IQADataModule, "data")
    try:
        config = parser.parse_object({"data": section})
        check_class_paths(config)
    except Exception as error:
        raise ValueError(f"{path}: data section: {error}") from error
    module: IQADataModule = parser.instantiate_classes(config).data
    return module


def expand(
    specs: Sequence[str], root: str | Path | None = None
) -> tuple[list[Path], dict[str, str]]:
    """Resolve the data sets of an evaluation to one recipe each.

    Args:
        specs: Recipes, short names of benchmarks, or lists of benchmarks: YAML files with a
            section ``benchmarks``. Of a list, the benchmarks present below the root are used.
        root: Folder of all benchmarks (default: ``data``).

    Returns:
        The recipes; and, by name, why a benchmark of a list cannot be used.

    Raises:
        FileNotFoundError: If a recipe, a benchmark or the root does not exist, or no benchmark of
            a list is present.
        ValueError: If a root is given but no data set uses it.
    """
    if root is not None and not Path(root).is_dir():
        raise FileNotFoundError(
            f"--root {root}: no such folder; name the parent folder of the benchmarks' folders "
            f"({', '.join(BENCHMARKS)})"
        )
    found: list[Path] = []
    absent: dict[str, str] = {}
    for spec in specs:
        names = read_recipe(spec).get("benchmarks")
        if names is None:
            found.append(find_recipe(spec))
            continue
        for name in names:
            result = check(name, Path(root or "data") / name)
            if result.ok:
                found.append(find_recipe(name))
            else:
                absent[name] = str(result.problem)
    if not found:
        first = next(iter(absent.items()), ("", "an empty list"))
        raise FileNotFoundError(
            f"{', '.join(specs)}: no benchmark of the list can be used below {root or 'data'} "
            f"({first[0]}: {first[1]}). Name their parent folder with --root; "
            "'clipiqa data list' lists where to obtain them"
        )
    if root is not None and not any(map(benchmark_of, found)):
        raise ValueError(
            f"--root {root} is for short names and lists of benchmarks; {found[0]} names its own "
            "folder in its data section"
        )
    return found, absent


def benchmark_of(recipe: str | Path) -> str | None:
    """Return the short name of the benchmark if this is its recipe, else None."""
    path = Path(recipe)
    own = path.stem in BENCHMARKS and path.resolve().parent == (CONFIGS / "benchmarks").resolve()
    return path.stem if own else None


def rooted(recipe: str | Path, root: str | Path | None) -> dict[str, str]:
    """Return the data module's option ``root`` for a benchmark below a common folder.

    Args:
        recipe: Path of a recipe.
        root: Folder of all benchmarks; None keeps the recipe's own.
    """
    name = benchmark_of(recipe)
    return {} if root is None or name is None else {"root": str(Path(root) / name)}
