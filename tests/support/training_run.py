"""Run train.py, with the run folder beside the recipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import train

ROOT = Path(__file__).parents[2]


def run(recipe: Path, *options: str) -> train.TrainCLI:
    folder = recipe.parent / "run"
    return train.main([f"--config={recipe}", f"--run={folder}", *options])


def run_on_two_processes(recipe: Path, name: str, *options: str) -> dict[str, float]:
    """Train on two processes into the folder of this name; return the metrics of the run."""
    folder = recipe.parent / name
    command = [sys.executable, "train.py", f"--config={recipe}", f"--run={folder}", *options]
    command += ["--trainer.devices=2", "--trainer.strategy=ddp"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, float] = json.loads((folder / "metrics.json").read_text())
    return found
