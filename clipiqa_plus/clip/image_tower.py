"""The image tower: encodes pictures of any size with openai-clip's weights.

A ViT and the attention pool of a ResNet have a positional embedding: a table with one row for the
class (or mean) token and g*g rows for a grid of g x g cells, 7x7 at 224x224. A picture of another
size has h x w cells; :data:`PosEmbedding` names the ways to handle it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

if TYPE_CHECKING:
    from clip.model import AttentionPool2d, ModifiedResNet, VisionTransformer

Precision = Literal["fp32", "bf16", "fp16"]

PosEmbedding = Literal["none", "grid", "table"]
"""``none``: no positional embedding (CLIP-IQA, section 3.2). ``grid``: the grid is resized
bicubically to h x w cells. ``table``: the whole table of 1 + g*g rows is resized cubically along
its rows to 1 + h*w, as in pyiqa, the official code and piq."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def check_images(images: Tensor, least_size: int) -> None:
    """Refuse anything but RGB pictures [B, 3, H, W] as uint8 or as floats in [0, 1].

    Raises:
        ValueError: If they are anything else; the message states what was given and expected.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"pictures of shape {tuple(images.shape)}; expected [B, 3, H, W], RGB")
    if min(images.shape[2:]) < least_size:
        raise ValueError(
            f"a picture of {images.shape[3]}x{images.shape[2]} pixels is too small: this backbone "
            f"takes sides of {least_size} or more"
        )
    if images.dtype == torch.uint8:
        return
    if not images.is_floating_point():
        raise ValueError(f"pictures of type {images.dtype}; expected uint8, or floats in [0, 1]")
    low, high = images.aminmax()
    # Allows rounding errors of resampling, but not 0-255 floats or CLIP-normalised input.
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise ValueError(
            f"float pictures range from {low:g} to {high:g}; expected [0, 1] (divide 0-255 by 255, "
            "and do not apply CLIP's mean and standard deviation: encode_image does)"
        )


def position_name(given: PosEmbedding | bool | None, is_vit: bool = False) -> PosEmbedding:
    """Return how to treat the positional embedding, by name.

    Args:
        given: The name itself; None for the default, ``none`` on a ResNet and ``grid`` on a ViT;
            or a boolean of earlier recipes and files: True is ``grid``, False the default.
        is_vit: Whether the backbone is a ViT.

    Raises:
        ValueError: If the name is unknown.
    """
    if given is None or given is False:
        return "grid" if is_vit else "none"
    if given is True:
        return "grid"
    if given not in get_args(PosEmbedding):
        raise ValueError(
            f"pos_embedding {given!r}; choose from {', '.join(get_args(PosEmbedding))}"
        )
    return given


def prepare(visual: ModifiedResNet | VisionTransformer, precision: Precision) -> None:
    """Convert a frozen image tower to the given precision, in place.

    In fp32 and bf16 each BatchNorm is folded into the preceding convolution. In fp16 it is not:
    OpenAI's weights are fp16 numbers, and folding would round them again, which changes features
    more than all rounding of activations. As in openai-clip, norms keep fp32 weights; so do
    embeddings, the attention pool and the last projection, which cost little.
    """
    if precision != "fp16":
        _fold_batchnorm(visual)
    visual.to(memory_format=torch.channels_last)
    for name, layer in visual.named_modules():
        kind = isinstance(layer, nn.Conv2d | nn.Linear | nn.MultiheadAttention)
        if kind and not name.startswith("attnpool"):
            layer.to(DTYPES[precision])


def encode_normalised(
    visual: ModifiedResNet | VisionTransformer, images: Tensor, pos_embedding: PosEmbedding
) -> Tensor:
    """Run the image tower with plain torch operations, which every exporter supports.

    Args:
        visual: Image tower of openai-clip, after :func:`prepare`.
        images: [B, 3, H, W] in the dtype of its convolutions, normalised by the mean and
            deviation of its weights.
        pos_embedding: See :data:`PosEmbedding`.

    Returns:
        Features, float32 [B, D], not normalised.
    """
    if hasattr(visual, "class_embedding"):
        return _encode_vit(visual, images, pos_embedding)
    return _encode_resnet(visual, images, pos_embedding)


def _encode_resnet(visual: ModifiedResNet, images: Tensor, pos_embedding: PosEmbedding) -> Tensor:
    return pool_first_query(visual.attnpool, feature_map(visual, images), pos_embedding)


def feature_map(visual: ModifiedResNet, images: Tensor) -> Tensor:
    """Last feature map of a ResNet, [B, C, H // 32, W // 32], of normalised [B, 3, H, W]."""
    x = visual.relu1(visual.bn1(visual.conv1(images)))
    x = visual.relu2(visual.bn2(visual.conv2(x)))
    x = visual.relu3(visual.bn3(visual.conv3(x)))
    x = visual.avgpool(x)
    return visual.layer4(visual.layer3(visual.layer2(visual.layer1(x))))


def pool_first_query(pool: AttentionPool2d, x: Tensor, pos_embedding: PosEmbedding) -> Tensor:
    """Attention pooling for the mean token only; openai-clip computes all queries and keeps one.

    Args:
        pool: The attention pool of a ResNet, in fp32.
        x: Last feature map, [B, C, h, w].
        pos_embedding: See :data:`PosEmbedding`.

    Returns:
        Features, float32 [B, D].
    """
    height, width = x.shape[2:]
    x = x.float().flatten(2).transpose(1, 2)  # [B, hw, C]: no copy of a map in channels last
    mean = x.mean(dim=1, keepdim=True)  # [B, 1, C]
    if pos_embedding != "none":
        table = resize_positions(pool.positional_embedding, height, width, pos_embedding)
        mean, x = mean + table[:1], x + table[1:]
    # The key and value projections are applied to the single query and the single result instead
    # of all 1 + hw tokens: q . (K x) = (K^T q) . x, and the sum of a_i (V x_i) is V (sum of a_i
    # x_i). The key bias shifts all logits of a head equally, so the softmax cancels it. The mean
    # token stays apart from the others: a joint tensor would be a copy of the map, which is most
    # of the memory that a large picture takes.
    heads = pool.num_heads
    query = pool.q_proj(mean[:, 0]).unflatten(-1, (heads, -1))  # [B, heads, C / heads]
    key_map = pool.k_proj.weight.unflatten(0, (heads, -1))  # [heads, C / heads, C]
    value_map = pool.v_proj.weight.unflatten(0, (heads, -1))
    query = torch.einsum("bhd,hdc->bhc", query * query.shape[-1] ** -0.5, key_map)
    logits = torch.cat([query @ mean.transpose(1, 2), query @ x.transpose(1, 2)], dim=-1)
    weights = logits.softmax(dim=-1)  # [B, heads, 1 + hw]
    tokens = weights[..., :1] * mean + weights[..., 1:] @ x  # [B, heads, C]
    pooled = torch.einsum("bhc,hdc->bhd", tokens, value_map).flatten(1) + pool.v_proj.bias
    return pool.c_proj(pooled)


def _encode_vit(visual: VisionTransformer, images: Tensor, pos_embedding: PosEmbedding) -> Tensor:
    x = visual.conv1(images)  # [B, C, h, w]; pixels beyond the last whole patch are dropped
    height, width = x.shape[2:]
    x = x.flatten(2).transpose(1, 2)  # [B, hw, C]
    x = torch.cat([visual.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1), x], dim=1)
    if pos_embedding != "none":
        table = resize_positions(visual.positional_embedding, height, width, pos_embedding)
        x = x + table.to(x.dtype)
    x = visual.transformer(visual.ln_pre(x).transpose(0, 1))  # LND
    return visual.ln_post(x[0].float()) @ visual.proj


def resize_positions(
    embedding: Tensor, height: int, width: int, pos_embedding: PosEmbedding
) -> Tensor:
    """Resize a positional embedding [1 + g*g, C] to [1 + height*width, C] in one of the ways."""
    resize = resize_grid if pos_embedding == "grid" else _resize_table
    return resize(embedding, height, width)


def resize_grid(embedding: Tensor, height: int, width: int) -> Tensor:
    """Resize a table of 1 + g*g rows to 1 + height*width: its grid, by bicubic interpolation."""
    side = math.isqrt(len(embedding) - 1)
    first, grid = embedding[:1], embedding[1:]
    grid = grid.T.reshape(1, -1, side, side)
    grid = F.interpolate(grid, (height, width), mode="bicubic", align_corners=False)
    return torch.cat([first, grid[0].flatten(1).T])


def _resize_table(embedding: Tensor, height: int, width: int) -> Tensor:
    # pyiqa and the others treat the table as a picture of one channel, 1 + g*g pixels high and C
    # wide. The width stays, so the resize acts along the rows only, class token included.
    size = (1 + height * width, embedding.shape[1])
    table = F.interpolate(embedding[None, None], size, mode="bicubic", align_corners=False)
    return table[0, 0]


def _fold_batchnorm(visual: nn.Module) -> None:
    """Fold each BatchNorm of a frozen ResNet into the preceding convolution.

    With fixed statistics the two are one affine map; folding changes only the rounding and saves a
    pass over every feature map. openai-clip names them ``convN``, ``bnN``, or ``0``, ``1`` in a
    downsampling branch. The weights are replaced rather than overwritten, since their tensors may
    belong to a state dict that is used again.
    """
    for module in visual.modules():
        for name, norm in list(module.named_children()):
            if isinstance(norm, nn.BatchNorm2d):
                before = name.replace("bn", "conv") if name.startswith("bn") else "0"
                _fold(cast(nn.Conv2d, getattr(module, before)), norm)
                setattr(module, name, nn.Identity())


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    weight, conv.bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        cast(Tensor, norm.running_mean),
        cast(Tensor, norm.running_var),
        norm.eps,
        norm.weight,
        norm.bias,
    )
    # The fastest layout for convolutions on CPU and GPU; converted layer by layer, so that the
    # whole tower is never in memory twice.
    conv.weight = nn.Parameter(
        weight.detach().contiguous(memory_format=torch.channels_last), requires_grad=False
    )
