"""Tune context tokens by a recipe, then test them: python train.py --config configs/demo.yaml.

Any option of the recipe can be changed behind it: --trainer.max_epochs 20, --data.batch_size 128.
With --model.prompts.mode zero_shot nothing is trained: the fixed words are tested. The run folder
(runs/<recipe>) gets the config, versions, logs, checkpoints, metrics and prompts.safetensors.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from clipiqa_plus.commands.errors import run_entry
from clipiqa_plus.commands.train import train

if TYPE_CHECKING:
    from clipiqa_plus.training.cli import TrainCLI

DEFAULT = Path(__file__).parent / "configs" / "demo.yaml"


def main(args: list[str] | None = None) -> TrainCLI:
    """Train and test.

    Args:
        args: Command-line arguments; None takes the process's own.

    Returns:
        The command line, with ``model``, ``datamodule`` and ``trainer``.
    """
    cli: TrainCLI = train(*(sys.argv[1:] if args is None else args), default_recipe=DEFAULT)
    return cli


if __name__ == "__main__":
    run_entry(main)
