"""``clipiqa presets``: the built-in scoring configurations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cyclopts import App

if TYPE_CHECKING:
    from clipiqa_plus.inference.presets import Preset

app = App("presets")


@app.default
def presets() -> None:
    """List the presets: what each fixes, files and licences, a published number, the source."""
    from rich.table import Table

    from clipiqa_plus.evaluation.terminal import print_table
    from clipiqa_plus.inference.presets import PRESETS

    table = Table(show_lines=True)
    table.add_column("preset", no_wrap=True)
    table.add_column("what it is, and what it fixes", overflow="fold")
    for preset in PRESETS.values():
        lines = [preset.summary, *_fixed(preset)]
        lines += [f"published: {preset.published}"] if preset.published else []
        table.add_row(preset.name, "\n".join([*lines, f"source: {preset.source}"]))
    print_table(table)


def _fixed(preset: Preset) -> list[str]:
    """What a preset fixes, and the files that it needs."""
    weights = preset.weights.name if preset.weights else preset.backbone
    position = preset.pos_embedding or "none (grid on a ViT)"
    size = "crops of 224x224 and the picture at 224x224" if preset.crops else "native size"
    parts = [f"backbone {weights}", f"positional embedding {position}", size, preset.precision]
    if preset.logit_scale is not None:
        parts.append(f"logit scale {preset.logit_scale:g}")
    elif preset.temperature != 1:
        parts.append(f"temperature {preset.temperature:g}")
    lines = ["; ".join(parts)]
    for file in preset.files:
        there = file.find()
        state = f"at hand: {there}" if there else f"downloaded when first used: {file.addresses[0]}"
        lines.append(f"{file.name} ({file.licence}; {file.authors}), {state}")
    return lines
