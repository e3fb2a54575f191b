"""``clipiqa presets``: the built-in scoring configurations."""

from __future__ import annotations

from cyclopts import App

app = App("presets")


@app.default
def presets() -> None:
    """List the presets and what each of them fixes."""
    from rich.console import Console
    from rich.table import Table

    from clipiqa_plus.inference.presets import PRESETS

    table = Table(show_lines=True)
    table.add_column("preset", no_wrap=True)
    table.add_column("what it is, and what it fixes", overflow="fold")
    for preset in PRESETS.values():
        position = preset.pos_embedding or "none (grid on a ViT)"
        backbone = f"{preset.backbone}, positional embedding {position}"
        fixed = "backbone and positional embedding of the file" if preset.learned else backbone
        size = f"pictures at their own size, {preset.precision}"
        table.add_row(preset.name, f"{preset.summary}\n{fixed}; {size}\n{preset.source}")
    Console().print(table)
