"""A training run that is interrupted can be resumed, and prints how."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import train
from clipiqa_plus.prompts.files import read_prompts
from tests.support.training_run import run

ROOT = Path(__file__).parents[2]


def run_ended(recipe: Path, folder: Path, condition: str, number: int, *options: str) -> str:
    """Train in processes of their own, one of which gets a signal in epoch 2; what they print."""
    script = recipe.parent / "script.py"
    script.write_text(
        f"import os, sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "import train\n"
        "from clipiqa_plus.commands.errors import run_entry\n"
        "from clipiqa_plus.module import CLIPIQAPlus\n"
        "def stop(self):\n"
        f"    if self.trainer.current_epoch == 2 and {condition}:\n"
        f"        os.kill(os.getpid(), {number})\n"
        "CLIPIQAPlus.on_train_epoch_start = stop\n"
        "run_entry(train.main)\n"
    )
    command = [sys.executable, str(script), f"--config={recipe}", f"--run={folder}", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode != 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_sigterm_leaves_prompts_and_a_checkpoint_to_go_on_from(recipe: Path) -> None:
    whole = run(recipe).model.prompts.ctx.detach().clone()
    folder = recipe.parent / "stopped"
    said = run_ended(recipe, folder, "True", signal.SIGTERM)
    assert f"resume with --run {folder} --ckpt_path last" in said
    assert "Traceback" not in said
    assert 6 <= read_prompts(folder)[1]["steps"] < 12
    resumed = train.main([f"--config={recipe}", f"--run={folder}", "--ckpt_path=last"])
    assert torch.equal(resumed.model.prompts.ctx, whole)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_the_survivor_of_two_processes_says_how_to_go_on(recipe: Path, victim: int) -> None:
    folder = recipe.parent / "ddp"
    options = ["--trainer.devices=2", "--trainer.strategy=ddp"]
    said = run_ended(recipe, folder, f"self.global_rank == {victim}", signal.SIGKILL, *options)
    wanted = "another process of this run has ended; resume with --run"
    assert f"{wanted} {folder} --ckpt_path last" in said, said
    assert "Traceback" not in said
    assert read_prompts(folder / "checkpoints/last.ckpt")[1]["epoch"] == 1
