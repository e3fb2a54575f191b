"""The frozen CLIP: architectures, weights, and the towers that encode pictures and prompts.

Takes the name of a backbone or its weights file, pictures [B, 3, H, W] and token embeddings;
returns unit image features [B, D] and text features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipiqa_plus import import_on_first_use

if TYPE_CHECKING:
    from clipiqa_plus.clip import conventions, image_tower
    from clipiqa_plus.clip.architectures import (
        ARCHITECTURES,
        Architecture,
        import_clip,
        random_clip,
    )
    from clipiqa_plus.clip.backbone import FrozenCLIP, TextPrecision
    from clipiqa_plus.clip.conventions import BackboneSpec
    from clipiqa_plus.clip.tokenizers import CLIP_TOKENIZER, Tokenizer
    from clipiqa_plus.clip.weights import load_weights

__all__ = [
    "ARCHITECTURES",
    "CLIP_TOKENIZER",
    "Architecture",
    "BackboneSpec",
    "FrozenCLIP",
    "TextPrecision",
    "Tokenizer",
    "conventions",
    "image_tower",
    "import_clip",
    "load_weights",
    "random_clip",
]

__getattr__, __dir__ = import_on_first_use(
    __name__,
    {
        "architectures": ["ARCHITECTURES", "Architecture", "import_clip", "random_clip"],
        "backbone": ["FrozenCLIP", "TextPrecision"],
        "conventions": ["BackboneSpec"],
        "tokenizers": ["CLIP_TOKENIZER", "Tokenizer"],
        "weights": ["load_weights"],
    },
)
