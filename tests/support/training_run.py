"""Run train.py in this process, with the run folder beside the recipe."""

from __future__ import annotations

from pathlib import Path

import train


def run(recipe: Path, *options: str) -> train.TrainCLI:
    folder = recipe.parent / "run"
    return train.main([f"--config={recipe}", f"--run={folder}", *options])
