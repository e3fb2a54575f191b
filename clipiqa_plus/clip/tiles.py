"""Large pictures through a ResNet in tiles, with the features of one piece.

A cell of the last feature map depends on a bounded neighbourhood of pixels only. Each tile is
therefore read with a margin of that width, its halo: what zero padding changes at the edge of a
tile stays in the margin, which is cut off. The attention pool, which looks at the whole picture,
then gets the whole map.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from clip.model import ModifiedResNet

STRIDE = 32
"""Pixels per cell of the last feature map, in each direction."""

PIECE_PIXELS = 1 << 23
"""Most pixels that a ResNet encodes in one piece by default: about 1 GB of feature maps in RN50."""

_TILE_PIXELS = 1 << 22
"""Most pixels of a tile, half of the above: the whole map and the picture are in memory too."""

# With a side of so many halos, at most 4 times the picture's pixels are computed.
_HALOS_PER_SIDE = 4


def halo_of(visual: ModifiedResNet) -> int:
    """Return the width of the margin of a tile in pixels, a multiple of the stride.

    It is the half-width of the receptive field: each 3x3 convolution adds one step of its input's
    grid. 1x1 convolutions and poolings of 2x2 cells, which the tiles do not split, add nothing.
    213 pixels in RN50, hence 224.
    """
    halo, step = 1 + 2 * 2, 4  # in the stem one convolution at full size and two at half of it
    for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        for block in layer:
            halo += step  # its pooling, if any, follows its 3x3 convolution
            step *= block.stride
    return -(-halo // STRIDE) * STRIDE


class _Span(NamedTuple):
    """A tile along one axis: the pixels read, the cells kept, and their place in the tile's map."""

    pixels: slice
    cells: slice
    kept: slice


def map_in_tiles(
    run: Callable[[Tensor], Tensor], picture: Tensor, halo: int, piece_pixels: int
) -> Tensor:
    """Compute the last feature map of a picture tile by tile.

    Args:
        run: The convolutions: a part of ``picture`` -> [1, C, h, w].
        picture: [1, 3, H, W], of any dtype that ``run`` takes.
        halo: See :func:`halo_of`.
        piece_pixels: Most pixels of a tile, margins included; no more than 4 megapixels are used,
            unless the halo requires it.

    Returns:
        The map of the whole picture, [1, C, h, w], channels last.
    """
    side = max(int(min(piece_pixels, _TILE_PIXELS) ** 0.5), _HALOS_PER_SIDE * halo)
    rows = _spans(picture.shape[2], side, halo)
    columns = _spans(picture.shape[3], side, halo)
    whole: Tensor | None = None
    for row in rows:
        for column in columns:
            part = run(picture[:, :, row.pixels, column.pixels])
            if whole is None:
                size = (1, part.shape[1], rows[-1].cells.stop, columns[-1].cells.stop)
                how: Any = {"dtype": part.dtype, "device": part.device}
                whole = torch.empty(size, memory_format=torch.channels_last, **how)
            whole[:, :, row.cells, column.cells] = part[:, :, row.kept, column.kept]
    assert whole is not None
    return whole


def _spans(length: int, side: int, halo: int) -> list[_Span]:
    """Cut an axis into tiles of equal numbers of cells, as far as possible."""
    cells = -(-length // 2) // (STRIDE // 2)  # the first stride rounds up, the others down
    count = max(1, -(-cells // max(1, (side - 2 * halo) // STRIDE)))
    edges = [cells * index // count for index in range(count + 1)]
    spans = []
    for first, last in pairwise(edges):
        start = max(0, first * STRIDE - halo)
        stop = length if last == cells else min(length, last * STRIDE + halo)
        skipped = start // STRIDE
        kept = slice(first - skipped, last - skipped)
        spans.append(_Span(slice(start, stop), slice(first, last), kept))
    return spans
