"""``clipiqa train``: train with a recipe; ``clipiqa recipes``: list the recipes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

app = App("train", help_flags=(), version_flags=())  # the help is that of the recipe's options
recipes_app = App("recipes")


@app.default
def train(
    *options: Annotated[str, Parameter(allow_leading_hyphen=True)],
    default_recipe: Annotated[Path | None, Parameter(parse=False)] = None,
) -> Any:
    """Tune context tokens with a recipe, then test them.

    Args:
        options: --config RECIPE, and options that override it, see --help.
        default_recipe: Recipe used when none is named.

    Returns:
        The command line, a TrainCLI, with ``model``, ``datamodule`` and ``trainer``.
    """
    from clipiqa_plus.training.help import help_text

    if set(options) & {"-h", "--help"}:
        print(help_text())
        sys.exit()
    from clipiqa_plus.training.cli import TrainCLI

    cli = TrainCLI(default_recipe, list(options))
    with cli.run_lock, cli.handle_lost_processes():
        if not cli.model.is_zero_shot:
            cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=cli.config.ckpt_path)
        cli.trainer.test(cli.model, cli.datamodule)
        cli.run_lock.commit()
    cli.print_closing_lines()
    return cli


@recipes_app.default
def recipes() -> None:
    """List the recipes that come with the package."""
    from rich.table import Table

    from clipiqa_plus.evaluation.terminal import print_table
    from clipiqa_plus.training.recipes import recipe_paths

    table = Table("recipe", "what it is")
    table.columns[0].no_wrap = True
    for name, path in recipe_paths().items():
        comment = []
        for line in path.read_text().splitlines():
            if not line.startswith("#"):
                break
            comment.append(line.removeprefix("#").strip())
        table.add_row(name, " ".join(comment))
    print_table(table)
