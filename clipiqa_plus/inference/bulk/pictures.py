"""A picture to score: its location, the limit on its size, and decoding."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, NamedTuple, cast, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from clipiqa_plus.data.images import RGBImage, open_file, reason, to_rgb
from clipiqa_plus.inference.bulk.durable_files import printable

Oversize = Literal["tile", "error", "resize"]

BAD_NAME = "the name has a line break or is not UTF-8; rename the file"

# Pillow refuses larger pictures, to guard against decompression bombs.
_PILLOW_LIMIT = 2 * (Image.MAX_IMAGE_PIXELS or 0)


class Picture(NamedTuple):
    """The location of a picture; its bytes are read when it is decoded."""

    name: str
    """Name in the output: the path, or ``shard.tar/member`` in a shard."""
    path: str = ""
    """The file that contains it; a URL (``://``) is opened by fsspec."""
    offset: int = 0
    """Position of its first byte in the file."""
    size: int | None = None
    """Number of bytes; None for the whole file."""
    data: bytes | None = None
    """Its bytes, if they cannot be read later."""
    flaw: str = ""
    """Why it cannot be read."""

    def open(self) -> BinaryIO:
        """Open it for reading.

        Raises:
            OSError: If it cannot be opened.
            ValueError: If its shard is truncated.
        """
        if self.data is not None:
            return io.BytesIO(self.data)
        if "://" in self.path:
            import fsspec

            with fsspec.open(self.path) as file:
                return io.BytesIO(file.read())
        if self.size is None:
            return open_file(self.path)
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) < self.size:
            raise ValueError("the shard is truncated")
        return io.BytesIO(data)


class Decoded(NamedTuple):
    """The pixels of a picture, or the reason of a failure."""

    image: Tensor | None = None
    """uint8 [3, H, W], RGB."""
    reason: str = ""
    resized_from: str = ""
    """Original size, such as ``8000x6000``, if it was above the limit."""

    @property
    def pixels(self) -> int:
        """Number of pixels; 0 for a failure."""
        return 0 if self.image is None else self.image[0].numel()


@dataclass(frozen=True)
class SizeLimit:
    """Limit on the size of pictures, for bounded memory.

    Args:
        max_pixels: Maximum number of pixels of one piece; None leaves it to the backbone, with no
            limit other than Pillow's, twice ``PIL.Image.MAX_IMAGE_PIXELS``, beyond which a picture
            always fails.
        oversize: ``tile`` encodes larger pictures in tiles, with the scores of one piece; on a ViT,
            which cannot be tiled, they are failures. ``error`` records them as failures.
            ``resize`` downsizes them to ``max_pixels`` (keeping the aspect ratio, by Pillow's
            antialiased bicubic filter) and marks their rows, since this does not give the
            published score.

    Raises:
        ValueError: If ``max_pixels`` is below 1, above Pillow's limit, or missing for ``resize`` or
            ``error``.
    """

    max_pixels: int | None = None
    oversize: Oversize = "tile"

    def __post_init__(self) -> None:
        if self.oversize not in get_args(Oversize):
            raise ValueError(f"oversize {self.oversize!r}: give {', '.join(get_args(Oversize))}")
        if self.max_pixels is None and self.oversize != "tile":
            raise ValueError(f"oversize {self.oversize}: give max_pixels, the largest size")
        if self.max_pixels is not None and not 1 <= self.max_pixels <= _PILLOW_LIMIT:
            raise ValueError(f"max_pixels {self.max_pixels}: give 1 to {_PILLOW_LIMIT}")

    @property
    def settings(self) -> dict[str, Any]:
        """Settings to record with the scores; empty if the backbone decides."""
        if self.max_pixels is None:
            return {}
        return {"max_pixels": self.max_pixels, "oversize": self.oversize}

    def refusal(self, width: int, height: int, tiles: bool) -> str:
        """Return why a picture of a size is not scored; empty if it is.

        Args:
            width: Its width.
            height: Its height.
            tiles: Whether the backbone encodes in tiles.
        """
        if self.max_pixels is None or width * height <= self.max_pixels:
            return ""
        size = f"{width}x{height} pixels; the limit is {self.max_pixels}"
        if self.oversize == "tile" and not tiles:
            return f"{size}, and a ViT has no tiles: --oversize resize, or a higher --max-pixels"
        return size if self.oversize == "error" else ""


NO_LIMIT = SizeLimit()
"""No limit other than Pillow's; the backbone decides when to tile."""


def decode(
    picture: Picture,
    least_size: int,
    only_size: tuple[int, int] | None = None,
    limit: SizeLimit = NO_LIMIT,
    tiles: bool = True,
    enter: Callable[[int], None] = lambda pixels: None,
) -> Decoded:
    """Decode a picture to RGB by the rules of :func:`~clipiqa_plus.data.images.read_rgb`.

    Args:
        picture: The picture.
        least_size: Minimum height and width for the backbone.
        only_size: The one height and width that the backbone takes; None for any.
        limit: Limit on its size.
        tiles: Whether the backbone can encode in tiles.
        enter: Called with the number of pixels before they are decoded; it may wait.

    Returns:
        Its pixels, or the reason of the failure; no exception is raised.
    """
    if picture.flaw:
        return Decoded(reason=picture.flaw)
    if printable(picture.name) != picture.name:
        return Decoded(reason=BAD_NAME)
    try:
        with picture.open() as file, Image.open(file) as image:
            width, height = image.size
            if why := limit.refusal(width, height, tiles):
                return Decoded(reason=why)
            enter(width * height)
            is_large = limit.oversize == "resize" and width * height > (limit.max_pixels or 0)
            rgb = to_rgb(image)
    except FileNotFoundError:
        return Decoded(reason="no such file")
    except Exception as error:  # on damaged files Pillow's plugins raise errors of many kinds
        return Decoded(reason=f"not a readable image ({reason(error)})")
    if is_large:
        rgb = _shrink(rgb, cast(int, limit.max_pixels))
    size = f"{rgb.shape[1]}x{rgb.shape[0]} pixels"
    if only_size is not None and rgb.shape[:2] != only_size:
        only = f"{only_size[1]}x{only_size[0]}"
        return Decoded(reason=f"{size}; the backbone takes {only} only: resize the pictures")
    if min(rgb.shape[:2]) < least_size:
        return Decoded(reason=f"{size}; the backbone needs at least {least_size} per side")
    resized_from = f"{width}x{height}" if is_large else ""
    return Decoded(torch.from_numpy(rgb).permute(2, 0, 1), resized_from=resized_from)


def _shrink(rgb: RGBImage, pixels: int) -> RGBImage:
    height, width = rgb.shape[:2]
    scale = math.sqrt(pixels / (width * height))
    size = max(1, int(width * scale)), max(1, int(height * scale))
    return np.array(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))
