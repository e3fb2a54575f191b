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
        out: The file; its card is OUT.json.
        preset: The way of scoring, see 'clipiqa presets'.
        prompts: Prompt file, for presets with learned prompts.
        backbone: Name or weights file, in place of the preset's.
        format: ONNX, or torch.export's archive.
    """
    import json

    from clipiqa_plus.inference.export import export_scorer
    from clipiqa_plus.inference.scorer import load

    card = export_scorer(load(preset, prompts, backbone, device="cpu"), out, format)
    largest = json.loads(card.read_text())["largest_deviation"]
    print(f"{out}: scores within {largest:.1g} of PyTorch's; card in {card}")
