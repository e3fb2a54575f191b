"""The image towers of open_clip at the picture's own size.

Convolutional towers take any size as they are. Vision transformers have a table of positions for
one grid; it is resized to the grid of the picture, as each library does it itself. Any other tower
takes the size that it was built for, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from clipiqa_plus.clip.image_tower import PosEmbedding, resize_grid


@dataclass(frozen=True)
class ImageTower:
    """How an image tower is run.

    Attributes:
        run: The tower and normalised pictures, float32 [B, 3, H, W] -> features, float32 [B, D].
        patch: Height and width of a patch: sides are cut to multiples of it.
        least: Smallest side in pixels.
        pos_embedding: ``grid`` if it has a positional embedding, ``none`` otherwise.
        only: The one (height, width) that it takes; None for any.
    """

    run: Callable[[nn.Module, Tensor], Tensor]
    least: int
    pos_embedding: PosEmbedding
    patch: tuple[int, int] = (1, 1)
    only: tuple[int, int] | None = None

    def __call__(self, visual: nn.Module, images: Tensor) -> Tensor:
        """Run it; pixels beyond the last whole patch are dropped, as openai-clip drops them."""
        sizes = zip(images.shape[2:], self.patch, strict=True)
        height, width = (side // step * step for side, step in sizes)
        return self.run(visual, images[:, :, :height, :width])


def image_tower(visual: nn.Module) -> ImageTower:
    """Return how to run an image tower of open_clip, which may be prepared in place.

    Args:
        visual: The ``visual`` of a model of open_clip.
    """
    if type(visual).__name__ == "VisionTransformer" and not getattr(visual, "output_tokens", False):
        patch = cast(Any, visual).patch_size
        return ImageTower(_open_clip_vit, max(patch), "grid", tuple(patch))
    trunk = cast(Any, getattr(visual, "trunk", None))
    kind = type(trunk).__name__
    if kind in ("VisionTransformer", "Eva"):
        _let_any_size(trunk)
        patch = trunk.patch_embed.patch_size
        rotary = getattr(trunk, "rope", None) is not None
        run = _with_rotary_positions if rotary else _itself
        return ImageTower(run, max(patch), "grid", tuple(patch))
    if kind == "NaFlexVit":  # its own embedding resizes the table to the picture's aspect
        patch = trunk.embeds.patch_size
        return ImageTower(_itself, max(patch), "grid", tuple(patch))
    if kind == "ConvNeXt":
        return ImageTower(_itself, 32, "none")
    height, width = cast(Any, visual).image_size
    return ImageTower(_itself, 1, "grid", only=(height, width))


def _itself(visual: nn.Module, images: Tensor) -> Tensor:
    return cast(Tensor, visual(images))


def _with_rotary_positions(visual: Any, images: Tensor) -> Tensor:
    """Rotary positions are cached for one grid: set them to that of the pictures."""
    patch = visual.trunk.patch_embed.patch_size
    grid = [side // step for side, step in zip(images.shape[2:], patch, strict=True)]
    visual.trunk.rope.update_feat_shape(grid)
    return cast(Tensor, visual(images))


def _let_any_size(trunk: Any) -> None:
    """Switch timm's transformer to what its argument ``dynamic_img_size`` does."""
    from timm.layers import Format

    trunk.dynamic_img_size = True
    trunk.patch_embed.strict_img_size = False
    trunk.patch_embed.flatten = False
    trunk.patch_embed.output_fmt = Format.NHWC


def _open_clip_vit(visual: Any, images: Tensor) -> Tensor:
    x = visual.conv1(images)  # [B, C, h, w]
    height, width = x.shape[2:]
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(x.shape[0], 1, -1), x], dim=1)
    x = visual.ln_pre(x + resize_grid(visual.positional_embedding, height, width))
    pooled, _ = visual._pool(visual.transformer(x))
    return cast(Tensor, pooled if visual.proj is None else pooled @ visual.proj)
