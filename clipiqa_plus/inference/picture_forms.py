"""The forms in which a picture may be given, turned into tensors."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from clipiqa_plus.data.images import read_rgb, to_rgb

Picture = str | PathLike[str] | Image.Image | np.ndarray | Tensor


def picture_tensors(pictures: Sequence[Picture]) -> list[Tensor]:
    """Return pictures as tensors [3, H, W] of one dtype: uint8, or floats if one of them is.

    Args:
        pictures: See :meth:`clipiqa_plus.inference.scorer.Scorer.forward`.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file is not a picture, or shape or type is wrong.
    """
    tensors = [_tensor(picture) for picture in pictures]
    if len({tensor.dtype for tensor in tensors}) == 1:
        return tensors
    return [t.float() / 255 if t.dtype == torch.uint8 else t.float() for t in tensors]


def _tensor(picture: Picture) -> Tensor:
    """Return a picture as [3, H, W]."""
    if isinstance(picture, Tensor):
        if picture.ndim != 3 or picture.shape[0] != 3:
            raise ValueError(
                f"picture tensor has shape {list(picture.shape)}; expected [3, H, W], RGB"
            )
        return picture
    if isinstance(picture, Image.Image):
        picture = to_rgb(picture)
    elif isinstance(picture, str | PathLike):
        picture = read_rgb(picture)
    elif not isinstance(picture, np.ndarray):
        raise ValueError(
            f"a picture cannot be a {type(picture).__name__}; give a path, an image or a tensor"
        )
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(
            f"picture array is {picture.dtype} {list(picture.shape)}; expected uint8 [H, W, 3], RGB"
        )
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)
