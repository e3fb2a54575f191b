"""Small random CLIPs of the true class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.conventions import OPENAI
from clipiqa_plus.clip.image_tower import PosEmbedding
from clipiqa_plus.clip.weights import Architecture, random_clip

SMALL_RESNET = Architecture(
    embed_dim=32,
    image_resolution=64,
    vision_layers=(1, 1, 1, 1),
    vision_width=8,
    vision_patch_size=None,
    context_length=77,
    vocab_size=49408,
    transformer_width=32,
    transformer_heads=2,
    transformer_layers=2,
)


SMALL_VIT = Architecture(
    embed_dim=32,
    image_resolution=64,
    vision_layers=2,
    vision_width=64,
    vision_patch_size=16,
    context_length=77,
    vocab_size=49408,
    transformer_width=32,
    transformer_heads=2,
    transformer_layers=2,
)


def small_clip(
    pos_embedding: PosEmbedding | bool | None = None, seed: int = 0, vit: bool = False
) -> FrozenCLIP:
    """A FrozenCLIP of a few thousand weights beside its vocabulary."""
    clip = random_clip(SMALL_VIT if vit else SMALL_RESNET, seed)
    name = f"small-{'vit' if vit else 'resnet'}-{seed}"
    return FrozenCLIP(clip, name, f"{name}".ljust(64, "0"), pos_embedding)


def write_weights(
    path: Path, architecture: Architecture = SMALL_RESNET, seed: int = 0, **facts: Any
) -> Path:
    """Write the weights of a random CLIP with their conventions, OpenAI's unless told otherwise."""
    known = OPENAI.describe() | facts
    metadata = {k: v if isinstance(v, str) else json.dumps(v) for k, v in known.items()}
    save_file(random_clip(architecture, seed).state_dict(), path, metadata=metadata)
    return path
