"""Image quality assessment by prompting CLIP: zero-shot CLIP-IQA and learned CLIP-IQA+."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipiqa_plus.backbone import FrozenCLIP
    from clipiqa_plus.export import export_scorer
    from clipiqa_plus.hub import from_pretrained, push_to_hub
    from clipiqa_plus.module import CLIPIQAPlus, PromptConfig
    from clipiqa_plus.presets import PRESETS
    from clipiqa_plus.prompt_files import load_prompts, save_prompts
    from clipiqa_plus.prompt_imports import export_pyiqa
    from clipiqa_plus.prompts import PAIRS, ContextPrompts, ZeroShotPrompts
    from clipiqa_plus.score_metric import CLIPIQAScore
    from clipiqa_plus.scorer import Scorer, load, score

__version__ = "0.1.0"

__all__ = [
    "PAIRS",
    "PRESETS",
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

# Heavy parts load when they are first used: importing the package costs next to nothing.
_HOMES = {
    "PAIRS": "prompts",
    "PRESETS": "presets",
    "CLIPIQAPlus": "module",
    "CLIPIQAScore": "score_metric",
    "ContextPrompts": "prompts",
    "FrozenCLIP": "backbone",
    "PromptConfig": "module",
    "Scorer": "scorer",
    "ZeroShotPrompts": "prompts",
    "export_pyiqa": "prompt_imports",
    "export_scorer": "export",
    "from_pretrained": "hub",
    "load": "scorer",
    "load_prompts": "prompt_files",
    "push_to_hub": "hub",
    "save_prompts": "prompt_files",
    "score": "scorer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
