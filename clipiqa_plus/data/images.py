"""Picture files to RGB, by one documented rule for each colour mode."""

from __future__ import annotations

import os
import stat
from os import PathLike, fspath
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

RGBImage = NDArray[np.uint8]  # [H, W, 3]

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def read_rgb(path: str | PathLike[str], least: int | None = None) -> RGBImage:
    """Decode a picture file to 8-bit RGB.

    The rules, by the mode of the file:

    - EXIF orientation is applied first.
    - Grey (``1``, ``L``) is copied to three channels; palettes are looked up.
    - Transparency (``RGBA``, ``LA``, palettes with it) is composited over white.
    - ``CMYK``, ``YCbCr``, ``LAB`` and ``HSV`` are converted by Pillow, without a colour profile.
    - 16-bit grey is scaled by 255 / 65535 and rounded (Pillow alone would clip it to white); for
      16-bit colour Pillow keeps the upper byte.
    - The first frame of an animation is used.

    Args:
        path: The picture file.
        least: Where a look at the picture is enough: a JPEG is decoded at a half, a quarter or an
            eighth of its size, which is faster, with at least this width and height.

    Returns:
        uint8 array [H, W, 3], RGB, range 0 to 255.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is empty, truncated, not a picture, above Pillow's pixel limit, or
            in floating-point mode, whose range is not recorded in the file.
    """
    name = fspath(path)
    try:
        with open_file(name) as file, Image.open(file) as image:
            if least is not None:
                image.draft(None, (least, least))
            return to_rgb(image)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{name}: no such image; check the root and the name in the label file"
        ) from None
    except Exception as error:  # on damaged files Pillow's plugins raise errors of many kinds
        raise ValueError(
            f"{name}: not a readable image ({reason(error)}); replace the file or remove its row"
        ) from error


def reason(error: Exception) -> str:
    """Return the message of a Pillow error without the memory address of an object."""
    if isinstance(error, UnidentifiedImageError):
        return "empty, or not an image format"
    return str(error) or type(error).__name__


def open_file(path: str) -> BinaryIO:
    """Open a regular file for reading; a pipe, which could block forever, is refused.

    Raises:
        OSError: If it cannot be opened, or is not a regular file.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("a folder, pipe or device, not a file")
    return open(path, "rb")


def to_rgb(image: Image.Image) -> RGBImage:
    """Convert a Pillow image of any mode to 8-bit RGB by the rules of :func:`read_rgb`.

    Args:
        image: Pillow image.

    Returns:
        uint8 array [H, W, 3].

    Raises:
        ValueError: If the image has floating-point pixels.
    """
    ImageOps.exif_transpose(image, in_place=True)  # no copy where there is nothing to turn
    if image.mode in _SIXTEEN_BIT:
        grey = np.asarray(image).astype(np.float64)
        if grey.size and (grey.min() < 0 or grey.max() > 65535):
            raise ValueError(f"integer image outside 0 to 65535 (mode {image.mode})")
        return np.repeat(np.rint(grey / 257).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("floating-point image of unknown range; save it as 8- or 16-bit first")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))
