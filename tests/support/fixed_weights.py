"""A small CLIP whose weights are the same bytes everywhere: no random generator makes them."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from clipiqa_plus.clip.architectures import random_clip
from clipiqa_plus.clip.conventions import CONFIG, MEAN, STD
from tests.support.models import SMALL_RESNET


def write_fixed_weights(path: Path) -> Path:
    """Write a CLIP whose entries come from integer arithmetic, exact in fp32; return the path.

    Its conventions stand in a file beside it: the weights are the bytes of version 0.1.
    """
    shapes = random_clip(SMALL_RESNET, 0).state_dict()
    save_file({name: _filled(name, tensor) for name, tensor in shapes.items()}, path)
    sizes = {"embed_dim": SMALL_RESNET.embed_dim, "quick_gelu": True}
    model = {**sizes, "vision_cfg": {"width": SMALL_RESNET.vision_width}, "text_cfg": {}}
    config = {"model_cfg": model, "preprocess_cfg": {"mean": list(MEAN), "std": list(STD)}}
    path.with_name(CONFIG).write_text(json.dumps(config))
    return path


def _filled(name: str, like: Tensor) -> Tensor:
    if not like.is_floating_point():
        return torch.zeros_like(like)
    if name == "logit_scale":
        return torch.full_like(like, 3.0)
    if name.endswith("running_var"):
        return torch.full_like(like, 0.125)
    if like.ndim == 1 and name.endswith("weight"):  # of a normalisation
        return torch.ones_like(like)
    # A multiplicative hash of the entry's number, as an odd fraction in (-1, 1).
    numbers = torch.arange(1, like.numel() + 1) * 2_654_435_761 + zlib.crc32(name.encode())
    fraction = ((numbers >> 16) % 32_768 * 2 - 32_767).float() / 32_768
    if name.endswith("embedding") or name.endswith("embedding.weight"):
        return fraction.reshape(like.shape)
    fan_in = like[0].numel() if like.ndim > 1 else 16
    return (fraction * (3 / fan_in) ** 0.5).reshape(like.shape)
