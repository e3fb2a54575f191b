"""What many tests share: small random CLIPs of the true class, and pictures made on the spot."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.conventions import OPENAI
from clipiqa_plus.clip.image_tower import PosEmbedding
from clipiqa_plus.clip.weights import Architecture, random_clip
from clipiqa_plus.data.benchmarks import Benchmark

torch.set_num_threads(min(2, os.cpu_count() or 1))

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


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test out of the user's caches."""
    monkeypatch.setenv("CLIPIQA_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def clip() -> FrozenCLIP:
    return small_clip()


@pytest.fixture
def make_picture() -> Callable[..., Path]:
    """Writes a random picture of a size to a path and returns the path."""

    def make(path: Path, width: int = 64, height: int = 48, seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path)
        return path

    return make


@pytest.fixture
def incomplete(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets a few rows pass for a whole benchmark."""

    def allow(*kinds: type[Benchmark]) -> None:
        for kind in kinds:
            monkeypatch.setattr(kind, "expected_rows", ())
            monkeypatch.setattr(kind, "official_sizes", None)

    return allow
