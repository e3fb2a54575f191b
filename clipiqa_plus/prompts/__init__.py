"""Prompts of CLIP: fixed words or learned context tokens, and the files that hold them.

Takes antonym pairs or scales of K prompts, prompt files or checkpoints; returns text features
[P, K, D] and prompt files.
Zero-shot and learned prompts differ only in their source object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipiqa_plus import import_on_first_use

if TYPE_CHECKING:
    from clipiqa_plus.prompts import checkpoints, files, nearest_words, scales, words
    from clipiqa_plus.prompts.config import PromptConfig, prompt_source, regressor, summary
    from clipiqa_plus.prompts.ensembles import combine_prompts
    from clipiqa_plus.prompts.files import load_prompts, read_prompts, save_prompts
    from clipiqa_plus.prompts.importers import (
        QUALICLIP_PAIRS,
        QUALICLIP_TEMPERATURE,
        export_pyiqa,
        import_prompts,
        imported_position,
    )
    from clipiqa_plus.prompts.scales import PAIRS, SCALES
    from clipiqa_plus.prompts.schedule import scheduled
    from clipiqa_plus.prompts.sources import (
        ContextPrompts,
        PromptSource,
        StoredPrompts,
        ZeroShotPrompts,
    )

__all__ = [
    "PAIRS",
    "QUALICLIP_PAIRS",
    "QUALICLIP_TEMPERATURE",
    "SCALES",
    "ContextPrompts",
    "PromptConfig",
    "PromptSource",
    "StoredPrompts",
    "ZeroShotPrompts",
    "checkpoints",
    "combine_prompts",
    "export_pyiqa",
    "files",
    "import_prompts",
    "imported_position",
    "load_prompts",
    "nearest_words",
    "prompt_source",
    "read_prompts",
    "regressor",
    "save_prompts",
    "scales",
    "scheduled",
    "summary",
    "words",
]

__getattr__, __dir__ = import_on_first_use(
    __name__,
    {
        "config": ["PromptConfig", "prompt_source", "regressor", "summary"],
        "ensembles": ["combine_prompts"],
        "files": ["load_prompts", "read_prompts", "save_prompts"],
        "importers": [
            *("QUALICLIP_PAIRS", "QUALICLIP_TEMPERATURE"),
            *("export_pyiqa", "import_prompts", "imported_position"),
        ],
        "schedule": ["scheduled"],
        "scales": ["PAIRS", "SCALES"],
        "sources": ["ContextPrompts", "PromptSource", "StoredPrompts", "ZeroShotPrompts"],
    },
)
