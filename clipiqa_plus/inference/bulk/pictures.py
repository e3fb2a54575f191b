"""One listed picture, and its way to pixels: where it lies, and how large it may be."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, NamedTuple, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from clipiqa_plus.data.images import RGBImage, open_file, reason, to_rgb
from clipiqa_plus.inference.bulk.durable_files import printable

Oversize = Literal["error", "resize"]

BAD_NAME = "name with a line break or not in UTF-8; rename the file"

# Pillow opens none that is larger: its guard against files that unpack to fill the memory.
_PILLOW_LIMIT = 2 * (Image.MAX_IMAGE_PIXELS or 0)


class Picture(NamedTuple):
    """Where a picture lies. It is small: what it holds is read when it is decoded."""

    name: str
    """Of its row in the output: the path, or ``shard.tar/member`` in a shard."""
    path: str = ""
    """Of the file that it is, or that it lies in; with ``://`` a place that fsspec opens."""
    offset: int = 0
    """First byte in that file."""
    size: int | None = None
    """Number of bytes; None for a whole file."""
    data: bytes | None = None
    """Its bytes, where they cannot be read later."""
    flaw: str = ""
    """Why there is nothing to read."""

    def open(self) -> BinaryIO:
        """Open it for reading.

        Raises:
            OSError: If it cannot be opened.
            ValueError: If its shard ends within it.
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
            raise ValueError("the shard ends within it")
        return io.BytesIO(data)


class Decoded(NamedTuple):
    """A picture's pixels, or the reason why there are none."""

    image: Tensor | None = None
    """uint8 [3, H, W], RGB."""
    reason: str = ""
    resized_from: str = ""
    """Its own size, as ``8000x6000``, if that was above the limit."""


@dataclass(frozen=True)
class SizeLimit:
    """What happens to pictures too large for the memory.

    Args:
        max_pixels: Most pixels that are scored as they are; None knows no limit but Pillow's, twice
            ``PIL.Image.MAX_IMAGE_PIXELS``, beyond which a picture is a failure always.
        oversize: ``error`` lists larger pictures as failures; ``resize`` scores them made smaller
            (to ``max_pixels``, aspect kept, by Pillow's antialiased bicubic filter), which is not
            the published score: each such row is marked.

    Raises:
        ValueError: If the limit is below 1 or beyond Pillow's, or missing for ``resize``.
    """

    max_pixels: int | None = None
    oversize: Oversize = "error"

    def __post_init__(self) -> None:
        if self.oversize not in ("error", "resize"):
            raise ValueError(f"oversize {self.oversize!r}: give error or resize")
        if self.max_pixels is None and self.oversize == "resize":
            raise ValueError("oversize resize: give max_pixels, the size to resize to")
        if self.max_pixels is not None and not 1 <= self.max_pixels <= _PILLOW_LIMIT:
            raise ValueError(f"max_pixels {self.max_pixels}: give 1 to {_PILLOW_LIMIT}")

    @property
    def settings(self) -> dict[str, Any]:
        """What it adds to the settings of the scores: nothing if there is no limit."""
        if self.max_pixels is None:
            return {}
        return {"max_pixels": self.max_pixels, "oversize": self.oversize}


NO_LIMIT = SizeLimit()
"""Every picture that Pillow opens is scored as it is."""


def decode(picture: Picture, least_size: int, limit: SizeLimit) -> Decoded:
    """Decode a picture to RGB by the rules of :func:`~clipiqa_plus.data.images.read_rgb`.

    Args:
        picture: Where it lies.
        least_size: Least height and width that the backbone takes.
        limit: Of its size.

    Returns:
        Pixels or reason; it raises nothing.
    """
    if picture.flaw:
        return Decoded(reason=picture.flaw)
    if printable(picture.name) != picture.name:
        return Decoded(reason=BAD_NAME)
    try:
        with picture.open() as file, Image.open(file) as image:
            width, height = image.size
            is_large = limit.max_pixels is not None and width * height > limit.max_pixels
            if is_large and limit.oversize == "error":
                return Decoded(reason=f"{width}x{height} pixels; the limit is {limit.max_pixels}")
            rgb = to_rgb(image)
    except FileNotFoundError:
        return Decoded(reason="no such file")
    except Exception as error:  # on damaged files Pillow's plugins raise errors of many kinds
        return Decoded(reason=f"not a readable image ({reason(error)})")
    if is_large:
        rgb = _shrink(rgb, cast(int, limit.max_pixels))
    if min(rgb.shape[:2]) < least_size:
        size = f"{rgb.shape[1]}x{rgb.shape[0]} pixels"
        return Decoded(reason=f"{size}; the backbone takes {least_size} or more")
    resized_from = f"{width}x{height}" if is_large else ""
    return Decoded(torch.from_numpy(rgb).permute(2, 0, 1), resized_from=resized_from)


def _shrink(rgb: RGBImage, pixels: int) -> RGBImage:
    height, width = rgb.shape[:2]
    scale = math.sqrt(pixels / (width * height))
    size = max(1, int(width * scale)), max(1, int(height * scale))
    return np.array(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))
