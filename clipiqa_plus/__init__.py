"""Image quality assessment by prompting CLIP: zero-shot CLIP-IQA and learned CLIP-IQA+."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
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
    from clipiqa_plus.prompts.scales import PAIRS
    from clipiqa_plus.prompts.sources import ContextPrompts, ZeroShotPrompts

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


def import_on_first_use(
    package: str, names: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` for a package whose public names are imported lazily.

    Importing the package then costs next to nothing, however heavy its modules are.

    Args:
        package: Name of the package.
        names: Public names, by the module of the package that defines them.
    """
    modules = {name: module for module, defined in names.items() for name in defined}

    def load_name(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    def list_names() -> list[str]:
        return sorted(sys.modules[package].__all__)

    return load_name, list_names


__getattr__, __dir__ = import_on_first_use(
    __name__,
    {
        "clip.backbone": ["FrozenCLIP"],
        "clip.conventions": ["BackboneSpec"],
        "inference.export": ["export_scorer"],
        "inference.hub": ["from_pretrained", "push_to_hub"],
        "inference.metric": ["CLIPIQAScore"],
        "inference.presets": ["PRESETS"],
        "inference.scorer": ["Scorer", "load", "score"],
        "module": ["CLIPIQAPlus"],
        "prompts.config": ["PromptConfig"],
        "prompts.files": ["load_prompts", "save_prompts"],
        "prompts.importers": ["export_pyiqa"],
        "prompts.sources": ["PAIRS", "ContextPrompts", "ZeroShotPrompts"],
    },
)
