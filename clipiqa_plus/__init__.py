"""Image quality assessment by prompting CLIP: zero-shot CLIP-IQA and learned CLIP-IQA+."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipiqa_plus.backbone import FrozenCLIP
    from clipiqa_plus.module import CLIPIQAPlus, PromptConfig
    from clipiqa_plus.prompt_files import load_prompts, save_prompts
    from clipiqa_plus.prompts import PAIRS, ContextPrompts, ZeroShotPrompts

__version__ = "0.1.0"

__all__ = [
    "PAIRS",
    "CLIPIQAPlus",
    "ContextPrompts",
    "FrozenCLIP",
    "PromptConfig",
    "ZeroShotPrompts",
    "__version__",
    "load_prompts",
    "save_prompts",
]

# Heavy parts load when they are first used: importing the package costs next to nothing.
_HOMES = {
    "PAIRS": "prompts",
    "CLIPIQAPlus": "module",
    "ContextPrompts": "prompts",
    "FrozenCLIP": "backbone",
    "PromptConfig": "module",
    "ZeroShotPrompts": "prompts",
    "load_prompts": "prompt_files",
    "save_prompts": "prompt_files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
