"""Positional embedding and half precision, against openai-clip's own image tower."""

from __future__ import annotations

import copy
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.conventions import MEAN, STD
from clipiqa_plus.clip.image_tower import PosEmbedding, position_name
from clipiqa_plus.clip.weights import import_clip, random_clip
from tests.support.models import SMALL_RESNET, SMALL_VIT

CELL = {False: 32, True: 16}  # pixels of a cell, ResNet and ViT


def cubic(rows: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Resize [N, ...] along its first axis: cubic convolution of Keys with a = -0.75.

    Centres of pixels lie at one half, and the outermost row goes on beyond the edge.
    """

    def kernel(x: float, a: float = -0.75) -> float:
        x = abs(x)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0

    result = np.zeros((count, *rows.shape[1:]))
    for target in range(count):
        source = (target + 0.5) * len(rows) / count - 0.5
        for near in range(int(np.floor(source)) - 1, int(np.floor(source)) + 3):
            clamped = min(max(near, 0), len(rows) - 1)
            result[target] += kernel(source - near) * rows[clamped]
    return result


def resized(table: Tensor, height: int, width: int, way: PosEmbedding) -> NDArray[np.float64]:
    rows = table.double().numpy()
    if way == "none":
        return np.zeros_like(rows[:1])
    if way == "table":
        return cubic(rows, 1 + height * width)
    side = round((len(rows) - 1) ** 0.5)
    grid = cubic(rows[1:].reshape(side, side, -1), height)
    grid = cubic(grid.transpose(1, 0, 2), width).transpose(1, 0, 2)
    return np.concatenate([rows[:1], grid.reshape(height * width, -1)])


def features_of_openai_clip(
    clip: nn.Module, images: Tensor, way: PosEmbedding, vit: bool
) -> Tensor:
    """Features by openai-clip's forward pass with a positional embedding that fits."""
    clip = copy.deepcopy(clip)
    holder: Any = clip.visual if vit else clip.visual.attnpool
    height, width = (side // CELL[vit] for side in images.shape[2:])
    table = resized(holder.positional_embedding, height, width, way)
    holder.positional_embedding = nn.Parameter(torch.as_tensor(table).float(), False)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return F.normalize(clip.encode_image((images - mean) / std), dim=-1)


@pytest.mark.slow
@pytest.mark.parametrize("vit", [False, True])
@pytest.mark.parametrize("way", get_args(PosEmbedding))
@pytest.mark.parametrize("size", [(64, 64), (96, 160), (160, 32), (32, 32)])
def test_positional_embedding_is_the_one_of_the_formula(
    vit: bool, way: PosEmbedding, size: tuple[int, int]
) -> None:
    clip = random_clip(SMALL_VIT if vit else SMALL_RESNET, seed=3)
    theirs = copy.deepcopy(clip)  # ours folds its BatchNorm in place
    ours = FrozenCLIP(clip, "small", "0" * 64, pos_embedding=way)
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    expected = features_of_openai_clip(theirs, images, way, vit)
    # fp32 in another order; features have norm 1.
    torch.testing.assert_close(ours.encode_image(images), expected, atol=5e-6, rtol=0)
    # The path with gradients, which fuses nothing.
    images.requires_grad_()
    found = ours.encode_image(images, differentiable=True)
    torch.testing.assert_close(found, expected, atol=5e-6, rtol=0)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((found * weights).sum(), images)
    (wanted,) = torch.autograd.grad(
        (features_of_openai_clip(theirs, images, way, vit) * weights).sum(), images
    )
    torch.testing.assert_close(gradient, wanted, atol=1e-4 * float(wanted.abs().max()), rtol=0)


@pytest.mark.parametrize("vit", [False, True])
def test_ways_agree_at_the_native_size_alone(vit: bool) -> None:
    clip = random_clip(SMALL_VIT if vit else SMALL_RESNET, seed=3)
    grid, table = (
        FrozenCLIP(copy.deepcopy(clip), "small", "0" * 64, way) for way in ("grid", "table")
    )
    native, other = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 96, 160)
    torch.testing.assert_close(grid.encode_image(native), table.encode_image(native))
    assert (grid.encode_image(other) - table.encode_image(other)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("given", "resnet", "vit"),
    [
        (None, "none", "grid"),
        (False, "none", "grid"),  # earlier versions always kept that of a ViT
        (True, "grid", "grid"),
        ("none", "none", "none"),
        ("grid", "grid", "grid"),
        ("table", "table", "table"),
    ],
)
def test_names_defaults_and_earlier_booleans(
    given: PosEmbedding | bool | None, resnet: PosEmbedding, vit: PosEmbedding
) -> None:
    assert (position_name(given), position_name(given, is_vit=True)) == (resnet, vit)


def test_unknown_way_is_refused() -> None:
    with pytest.raises(ValueError, match="'bilinear'; choose from none, grid, table"):
        FrozenCLIP(random_clip(SMALL_RESNET), "small", "0" * 64, "bilinear")  # type: ignore[arg-type]


@pytest.mark.slow
def test_fp16_deviates_less_than_openai_clip_in_fp16() -> None:
    """As on OpenAI's weights, which are fp16 numbers; features of the pictures point apart."""
    half = import_clip().model.convert_weights
    clip = random_clip("RN50", seed=0)
    half(clip)
    clip.float()
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(6, 3, 4, 4, generator=generator)
    images = F.interpolate(coarse, (96, 96)) * torch.rand(6, 1, 1, 1, generator=generator)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    theirs = clip.visual
    theirs.attnpool.positional_embedding.zero_()
    theirs.attnpool.positional_embedding.data = theirs.attnpool.positional_embedding[:1]
    inputs = (images - mean) / std
    theirs.attnpool.c_proj.bias -= theirs(inputs).mean(dim=0).half()
    exact = F.normalize(theirs(inputs), dim=-1)
    assert F.cosine_similarity(exact[:1], exact[1:]).max() < 0.9
    ours = FrozenCLIP(copy.deepcopy(clip), "RN50", "0" * 64, precision="fp16")
    half(clip)
    rounded = F.normalize(theirs(inputs.half()).float(), dim=-1)
    assert 0 < (ours.encode_image(images) - exact).norm() < 0.8 * (rounded - exact).norm()
