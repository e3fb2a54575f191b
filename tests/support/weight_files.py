"""Small architectures, and their weights in the file formats that are read."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from clipiqa_plus.clip.architectures import (
    Architecture,
    import_clip,
)

RESNET = Architecture(32, 64, (1, 2, 1, 1), 8, None, 64, 1, 2, context_length=16, vocab_size=99)


VIT = Architecture(32, 64, 2, 64, 16, 128, 2, 3, context_length=16, vocab_size=99)


SMALL = pytest.mark.parametrize("architecture", [RESNET, VIT], ids=["resnet", "vit"])


def pictures(count: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, 3, 5, 5, generator=generator) * 4 - 2
    return nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")


def save_jit(model: nn.Module, path: Path) -> None:
    """Write an archive as OpenAI's are: traced, fp16 matrices, three constants as buffers."""
    clip = import_clip().model
    clip.convert_weights(model)
    constants = {
        "input_resolution": model.visual.input_resolution,
        "context_length": model.context_length,
        "vocab_size": model.vocab_size,
    }
    del model.context_length, model.vocab_size
    for name, value in constants.items():
        model.register_buffer(name, torch.tensor(value))
    size = constants["input_resolution"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = torch.rand(1, 3, size, size), torch.ones(1, 16, dtype=torch.long)
        torch.jit.trace(model, inputs, check_trace=False).save(path)


def save_plain(model: nn.Module, path: Path) -> None:
    torch.save(model.state_dict(), path)
