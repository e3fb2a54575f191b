"""``clipiqa recipes``: the recipes that ``--config`` finds by name."""

from __future__ import annotations

from cyclopts import App

app = App("recipes")


@app.default
def recipes() -> None:
    """List the recipes that come with the package."""
    from rich.console import Console
    from rich.table import Table

    from clipiqa_plus.training.recipes import recipes

    table = Table("recipe", "what it is")
    for name, path in recipes().items():
        comment = []
        for line in path.read_text().splitlines():
            if not line.startswith("#"):
                break
            comment.append(line.removeprefix("#").strip())
        table.add_row(name, " ".join(comment))
    Console().print(table)
