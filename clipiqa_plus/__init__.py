"""Image quality assessment by prompting CLIP: zero-shot CLIP-IQA and learned CLIP-IQA+."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipiqa_plus.clip.backbone import FrozenCLIP
    from clipiqa_plus.clip.conventions import BackboneSpec
    from clipiqa_plus.inference.export import export_scorer
    from clipiqa_plus.inference.hub import from_pretrained, push_to_hub
    from clipiqa_plus.inference.metric import CLIPIQAScore
    from clipiqa_plus.inference.presets import PRESETS
    from clipiqa_plus.inference.scorer import Scorer, load, score
    from clipiqa_plus.module import CLIPIQAPlus
    from clipiqa_plus.prompts.config import PromptConfig
    from clipiqa_plus.prompts.files import load_prompts, save_prompts
    from clipiqa_plus.prompts.importers import export_pyiqa
    from clipiqa_plus.prompts.sources import PAIRS, ContextPrompts, ZeroShotPrompts

__version__ = "0.2.0"

__all__ = [
    "PAIRS",
    "PRESETS",
    "BackboneSpec",
    "CLIPIQAPlus",
    "CLIPIQAScore",
    "ContextPrompts",
    "FrozenCLIP",
    "PromptConfig",
    "Scorer",
    "ZeroShotPrompts",
    "__version__",
    "export_pyiqa",
    "export_scorer",
    "from_pretrained",
    "load",
    "load_prompts",
    "push_to_hub",
    "save_prompts",
    "score",
]

# Heavy modules are imported on first use, so importing the package costs next to nothing.
_HOMES = {
    "PAIRS": "prompts.sources",
    "PRESETS": "inference.presets",
    "BackboneSpec": "clip.conventions",
    "CLIPIQAPlus": "module",
    "CLIPIQAScore": "inference.metric",
    "ContextPrompts": "prompts.sources",
    "FrozenCLIP": "clip.backbone",
    "PromptConfig": "prompts.config",
    "Scorer": "inference.scorer",
    "ZeroShotPrompts": "prompts.sources",
    "export_pyiqa": "prompts.importers",
    "export_scorer": "inference.export",
    "from_pretrained": "inference.hub",
    "load": "inference.scorer",
    "load_prompts": "prompts.files",
    "push_to_hub": "inference.hub",
    "save_prompts": "prompts.files",
    "score": "inference.scorer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
