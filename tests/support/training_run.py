"""train.py in this process, in the run folder beside a recipe."""

from __future__ import annotations

from pathlib import Path

import train


def run(recipe: Path, *options: str) -> train.TrainCLI:
    folder = recipe.parent / "run"
    return train.main([f"--config={recipe}", f"--run={folder}", *options])
