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
from clipiqa_plus.training.help import overview

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
    given = sys.argv[1:] if args is None else args
    if set(given) & {"-h", "--help"}:
        print(overview())
        sys.exit()
    from clipiqa_plus.training.cli import TrainCLI  # here: Ctrl-C while torch loads is one line too

    cli = TrainCLI(DEFAULT, args)
    with cli.claim, cli.naming_lost_processes():
        if not cli.model.is_zero_shot:
            cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=cli.config.ckpt_path)
        cli.trainer.test(cli.model, cli.datamodule)
        cli.claim.keep()
    cli.print_closing_lines()
    return cli


if __name__ == "__main__":
    run_entry(main)
