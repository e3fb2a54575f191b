"""Compare zero-shot with learned prompts on data sets: did tuning help?

python evaluate.py --prompts zero_shot runs/demo/prompts.safetensors --data configs/demo.yaml
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from clipiqa_plus.commands.errors import run_entry
from clipiqa_plus.commands.evaluate import evaluate
from clipiqa_plus.commands.main import command_line

if TYPE_CHECKING:
    import pandas as pd


def main(args: list[str] | None = None) -> pd.DataFrame:
    """Evaluate every prompt source on every data set, print the tables and save them.

    Args:
        args: Command-line arguments; None takes the process's own.

    Returns:
        The results, a row for each source, data set and target.
    """
    given = sys.argv[1:] if args is None else args
    chosen, options, _ = command_line().parse_args(["evaluate", *given])
    if chosen is not evaluate:  # --help or --version
        chosen(*options.args, **options.kwargs)
        sys.exit()
    results: pd.DataFrame = evaluate(*options.args, **options.kwargs, command=given)
    return results


if __name__ == "__main__":
    run_entry(main)
