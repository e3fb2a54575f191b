"""Where a picture is bad: the attention pool of a ResNet on windows of its last feature map.

CLIP's attention pool turns the whole feature map, a cell for each 32x32 pixels, into one feature.
Here it pools a window of a few cells at a time; each window is scored like a picture, and a cell
gets the mean over the windows that contain it. Such a map compares places within one picture. It is
not a published score: the pool was trained on whole pictures, the convolutions look beyond their
cell, and the mean of a map is not the score of its picture.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw, PngImagePlugin
from torch import Tensor

from clipiqa_plus.data.images import RGBImage
from clipiqa_plus.inference.scorer import Scorer

WINDOW = 2
"""Side of a window in cells: 64 pixels."""
CELL = 32
"""Side of a cell in pixels."""

_AT_ONCE = 256  # windows
# From low to high scores, told apart with any colour vision, and in grey: dark is bad.
_COLOURS = np.array([(72, 12, 84), (196, 60, 60), (250, 160, 60), (245, 245, 215)], np.float64)

Scores = NDArray[np.float32]


def quality_map(scorer: Scorer, image: Tensor, window: int = WINDOW) -> Scores:
    """Score the places of a picture.

    Args:
        scorer: A scorer with one score, on a ResNet.
        image: [3, H, W], RGB, uint8 or floats in [0, 1].
        window: Side of a window in cells.

    Returns:
        float32 [H // 32, W // 32]: the mean score of the windows that contain a cell.

    Raises:
        ValueError: If the backbone is no ResNet, the scorer has several scores or views, or the
            picture is smaller than a window.
    """
    clip = scorer.backbone
    if scorer.conditions.views is not None or len(scorer.names) != 1:
        raise ValueError(
            f"a map shows one score of the picture itself; {scorer.settings['preset']} has "
            f"{len(scorer.names)} scores{' of several views' if scorer.conditions.views else ''}"
        )
    with torch.no_grad():
        cells = clip.feature_map(image[None])  # [1, C, h, w]
        height, width = cells.shape[2:]
        if window < 1 or window > min(height, width):
            raise ValueError(
                f"a window of {window}x{window} cells of {CELL} pixels does not fit a picture of "
                f"{image.shape[2]}x{image.shape[1]}; give 1 to {min(height, width)}"
            )
        windows = cells[0].unfold(1, window, 1).unfold(2, window, 1)  # [C, a, b, k, k]
        rows, columns = windows.shape[1:3]
        windows = windows.permute(1, 2, 0, 3, 4).flatten(0, 1)  # [a b, C, k, k]
        pooled = torch.cat([clip.pool_map(part) for part in windows.split(_AT_ONCE)])
        scores = scorer.score_features(pooled).view(1, 1, rows, columns)
        kernel = torch.ones(1, 1, window, window, device=scores.device)
        total = F.conv_transpose2d(scores, kernel)
        count = F.conv_transpose2d(torch.ones_like(scores), kernel)
    found: Scores = (total / count)[0, 0].cpu().numpy()
    return found


def overlay(image: RGBImage, scores: Scores, share: float = 0.6) -> RGBImage:
    """Draw a map over its picture in grey, with a scale below: dark and violet is bad.

    Args:
        image: uint8 [H, W, 3].
        scores: See :func:`quality_map`; the colours span its lowest to its highest score.
        share: Share of the colour.

    Returns:
        uint8 [H + a strip of 24 rows, W, 3].
    """
    low, high = float(scores.min()), float(scores.max())
    level = (scores - low) / max(high - low, 1e-9)
    size = (image.shape[1], image.shape[0])
    spread = Image.fromarray(level).resize(size, Image.Resampling.BILINEAR)
    grey = np.asarray(Image.fromarray(image).convert("L"), np.float64)[..., None]
    drawn = (1 - share) * grey + share * _colour(np.asarray(spread))
    strip = np.broadcast_to(_colour(np.linspace(0, 1, size[0]))[None], (24, size[0], 3))
    whole = Image.fromarray(np.concatenate([drawn, strip]).round().clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(whole)
    draw.text((4, size[1] + 6), f"{low:.3f}", fill=(255, 255, 255))
    draw.text((size[0] - 4, size[1] + 6), f"{high:.3f}", fill=(0, 0, 0), anchor="ra")
    return np.asarray(whole)


def save_map(
    path: Path, image: RGBImage, scores: Scores, settings: dict[str, Any]
) -> tuple[Path, Path]:
    """Write the overlay as PNG, with the settings in it, and the array beside it as ``.npy``.

    Args:
        path: The PNG file.
        image: uint8 [H, W, 3].
        scores: See :func:`quality_map`.
        settings: Settings of the scores, JSON values.

    Returns:
        Both files; each is replaced only when it is complete.

    Raises:
        ValueError: If the path does not end in ``.png``.
    """
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path}: a map is a .png file; its array is written beside it as .npy")
    facts = PngImagePlugin.PngInfo()
    facts.add_itxt("clipiqa_plus", json.dumps(settings))
    picture, array = io.BytesIO(), io.BytesIO()
    Image.fromarray(overlay(image, scores)).save(picture, "PNG", pnginfo=facts)
    np.save(array, scores)
    path.parent.mkdir(parents=True, exist_ok=True)
    files = {path: picture, path.with_suffix(".npy"): array}
    for file, content in files.items():
        unfinished = file.with_name(f".{file.name}.{os.getpid()}.part")
        unfinished.write_bytes(content.getvalue())
        os.replace(unfinished, file)
    first, second = files
    return first, second


def _colour(level: NDArray[Any]) -> NDArray[np.float64]:
    """Colours [..., 3] of levels [...] in [0, 1]."""
    at = np.linspace(0, 1, len(_COLOURS))
    return np.stack([np.interp(level, at, _COLOURS[:, c]) for c in range(3)], axis=-1)
