"""Scores for users: presets, scorers, picture files at scale, export and the Hub.

In: a preset or a prompt file, and pictures as paths, PIL images, arrays or tensors. Out: scores in
[0, 1], files of scores, exported models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipiqa_plus import import_on_first_use

if TYPE_CHECKING:
    from clipiqa_plus.inference import bulk, conditions, explain, probes, quality_map
    from clipiqa_plus.inference.export import export_scorer
    from clipiqa_plus.inference.hub import from_pretrained, push_to_hub
    from clipiqa_plus.inference.metric import CLIPIQAScore
    from clipiqa_plus.inference.presets import PRESETS, AntonymPairs, Preset
    from clipiqa_plus.inference.scorer import Scorer, load, score

__all__ = [
    "PRESETS",
    "AntonymPairs",
    "CLIPIQAScore",
    "Preset",
    "Scorer",
    "bulk",
    "conditions",
    "explain",
    "export_scorer",
    "from_pretrained",
    "load",
    "probes",
    "push_to_hub",
    "quality_map",
    "score",
]

__getattr__, __dir__ = import_on_first_use(
    __name__,
    {
        "export": ["export_scorer"],
        "hub": ["from_pretrained", "push_to_hub"],
        "metric": ["CLIPIQAScore"],
        "presets": ["PRESETS", "AntonymPairs", "Preset"],
        "scorer": ["Scorer", "load", "score"],
    },
)
