"""The training command line, its recipes and run folders.

In comes a recipe (YAML) with options; out goes a run folder: config, versions, split, logs,
checkpoints, metrics and the learned prompt file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipiqa_plus import import_on_first_use

if TYPE_CHECKING:
    from clipiqa_plus.training import recipes, run_folder, tracking
    from clipiqa_plus.training.cli import TrainCLI
    from clipiqa_plus.training.curves import sparkline, training_curves
    from clipiqa_plus.training.fits import Fit, Fitted, fit_contexts
    from clipiqa_plus.training.help import help_text
    from clipiqa_plus.training.recipes import find_recipe, read_recipe, recipe_paths

__all__ = [
    "Fit",
    "Fitted",
    "TrainCLI",
    "find_recipe",
    "fit_contexts",
    "help_text",
    "read_recipe",
    "recipe_paths",
    "recipes",
    "run_folder",
    "sparkline",
    "tracking",
    "training_curves",
]

__getattr__, __dir__ = import_on_first_use(
    __name__,
    {
        "cli": ["TrainCLI"],
        "curves": ["sparkline", "training_curves"],
        "fits": ["Fit", "Fitted", "fit_contexts"],
        "help": ["help_text"],
        "recipes": ["find_recipe", "read_recipe", "recipe_paths"],
    },
)
