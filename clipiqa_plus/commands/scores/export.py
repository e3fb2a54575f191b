"""``clipiqa export``: a preset as a file that runs without this package."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

app = App("export")


@app.default
def export(
    *,
    out: str,
    preset: str = "clipiqa",
    prompts: str | None = None,
    backbone: str | None = None,
    format: Literal["onnx", "pt2"] = "onnx",
) -> None:
    """Export a preset as one ONNX or torch.export file.

    Args:
        out: Output file; its card is OUT.json.
        preset: Name of the preset, see 'clipiqa presets'.
        prompts: Prompt file, for presets with learned prompts.
        backbone: Name or weights file, instead of the preset's.
        format: onnx, or pt2 for a torch.export archive.
    """
    import json

    from clipiqa_plus.inference.export import export_scorer
    from clipiqa_plus.inference.scorer import load

    card = export_scorer(load(preset, prompts, backbone, device="cpu"), out, format)
    largest = json.loads(card.read_text())["largest_deviation"]
    print(f"{out}: scores within {largest:.1g} of PyTorch's; card in {card}")
