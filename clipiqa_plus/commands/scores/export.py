"""``clipiqa export``: a preset as a file that runs without this package."""

from __future__ import annotations

from typing import Any, Literal

from cyclopts import App

from clipiqa_plus.commands.options import NOTHING, Stated
from clipiqa_plus.commands.pairs import NO_SCALE, Pairs, ScaleOptions, words_of

app = App("export")


@app.default
def export(
    *,
    out: str,
    preset: str = "clipiqa",
    prompts: str | None = None,
    backbone: str | None = None,
    pair: Pairs = None,
    scale: ScaleOptions = NO_SCALE,
    reduction: Literal["mean", "none"] | None = None,
    stated: Stated = NOTHING,
    format: Literal["onnx", "pt2"] = "onnx",
) -> None:
    """Export a preset as one ONNX or torch.export file.

    Args:
        out: Output file; its card is OUT.json.
        preset: Name of the preset, see 'clipiqa presets'.
        prompts: Prompt file, for presets with learned prompts.
        backbone: Name or weights file, instead of the preset's.
        pair: Your own words, see 'clipiqa score'.
        scale: In place of pairs.
        reduction: With several pairs: a score for each (none) or their mean.
        stated: About its weights.
        format: onnx, or pt2 for a torch.export archive.
    """
    import json

    from clipiqa_plus.inference.export import export_scorer
    from clipiqa_plus.inference.scorer import load

    own: dict[str, Any] = {"pairs": words_of(pair), "reduction": reduction, **scale.words}
    tower = stated.about(backbone)
    card = export_scorer(load(preset, prompts, tower, device="cpu", **own), out, format)
    largest = json.loads(card.read_text())["largest_deviation"]
    print(f"{out}: scores within {largest:.1g} of PyTorch's; card in {card}")
