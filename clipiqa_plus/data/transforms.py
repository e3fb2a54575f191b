"""Views: deterministic, integer-indexed crops and flips of a picture, built on albumentations.

CLIP is frozen, so the feature of a view never changes. Numbered views can be encoded once and
looked up: view ``v`` of row ``r`` has the same pixels in every process, worker, epoch and run.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image

from clipiqa_plus.data.images import RGBImage

if TYPE_CHECKING:
    from albumentations import BasicTransform

QUALITY_PRESERVING = frozenset(
    [
        "CenterCrop",
        "Crop",
        "D4",
        "HorizontalFlip",
        "NoOp",
        "RandomCrop",
        "RandomRotate90",
        "SquareSymmetry",
        "Transpose",
        "VerticalFlip",
    ]
)
"""albumentations transforms that move or select pixels without changing their values."""


class Views(Protocol):
    """The views of a picture used in training or evaluation."""

    count: int | None
    """Number of distinct views; None if unlimited, which cannot be cached completely."""

    def __call__(self, image: RGBImage, row: int, view: int) -> RGBImage:
        """Return view number ``view`` of the picture in row ``row``: uint8 [h, w, 3]."""

    def key(self, row: int, view: int) -> str:
        """Return a string that changes whenever the pixels of this view may change.

        Views that are always identical share it, and with it their cached feature.
        """


class PlainView:
    """The unchanged picture as the only view."""

    count: int | None = 1

    def __call__(self, image: RGBImage, row: int, view: int) -> RGBImage:
        """Return the picture unchanged."""
        return image

    def key(self, row: int, view: int) -> str:
        """Return ``"plain"``."""
        return "plain"


class FlipViews:
    """The picture and its mirror image: the two views of the official CLIP-IQA+ recipe."""

    name = "flip"
    count: int | None = 2

    def __call__(self, image: RGBImage, row: int, view: int) -> RGBImage:
        """Return the picture for view 0 and its mirror image for view 1."""
        return np.ascontiguousarray(image[:, ::-1]) if view else image

    def key(self, row: int, view: int) -> str:
        """Return ``"flip"``, or ``"plain"`` for view 0, which is the plain picture."""
        return "flip" if view else "plain"


class CropViews:
    """Crops at the four corners and in the centre, each of three quarters of both sides.

    Args:
        mirrored: Also the mirror image of each: ten views instead of five.
    """

    least_share = 0.75
    """Shorter side of a view as a share of the picture's."""

    def __init__(self, mirrored: bool = False) -> None:
        self.count: int | None = 10 if mirrored else 5
        self.name = "ten-crop" if mirrored else "five-crop"

    def __call__(self, image: RGBImage, row: int, view: int) -> RGBImage:
        """Return crop ``view`` modulo 5, mirrored from view 5 on."""
        height, width = image.shape[:2]
        tall, wide = round(self.least_share * height), round(self.least_share * width)
        crop = view % 5
        top, left = ((height - tall) * (crop // 2 % 2), (width - wide) * (crop % 2))
        if crop == 4:
            top, left = (height - tall) // 2, (width - wide) // 2
        found = image[top : top + tall, left : left + wide]
        return np.ascontiguousarray(found[:, ::-1] if view >= 5 else found)

    def key(self, row: int, view: int) -> str:
        """Return share, position and mirroring as text."""
        return f"crop {self.least_share} {view % 5}{' mirrored' if view >= 5 else ''}"


class ScaleViews:
    """The picture at its own size, at three quarters and at half of it."""

    name = "scales"
    count: int | None = 3
    least_share = 0.5
    _scales = (1.0, 0.75, 0.5)

    def __call__(self, image: RGBImage, row: int, view: int) -> RGBImage:
        """Return the picture, resized by :func:`resize`."""
        scale = self._scales[view]
        return resize(image, [round(scale * side) for side in image.shape[:2]])

    def key(self, row: int, view: int) -> str:
        """Return the scale as text, or ``"plain"`` for the picture at its own size."""
        return f"scale {self._scales[view]}" if view else "plain"


EVALUATION_VIEWS: dict[str, Callable[[], Views]] = {
    "flip": FlipViews,
    "five-crop": CropViews,
    "ten-crop": partial(CropViews, mirrored=True),
    "scales": ScaleViews,
}
"""Views by name over which a score can be averaged: it is then not the published score."""


def evaluation_views(name: str) -> Views:
    """Return views by name.

    Args:
        name: One of :data:`EVALUATION_VIEWS`.

    Raises:
        ValueError: If there are no such views.
    """
    if name not in EVALUATION_VIEWS:
        raise ValueError(f"unknown views {name!r}; choose from {', '.join(EVALUATION_VIEWS)}")
    return EVALUATION_VIEWS[name]()


class AugmentedViews:
    """Random views by an albumentations pipeline, each fixed by (seed, row, view).

    Args:
        augment: The pipeline, one mapping per step: ``{"RandomCrop": {"height": 384, ...}}``.
        count: Number of views per picture; None draws a new one for every sample (unlimited).
        seed: Seed of the pipeline.

    Raises:
        ValueError: If a step is not an albumentations transform or its arguments are invalid.
    """

    def __init__(
        self, augment: Sequence[Mapping[str, Any]], count: int | None = None, seed: int = 0
    ) -> None:
        if count is not None and count < 1:
            raise ValueError(f"count of views is {count}; give at least 1, or null for unlimited")
        self.count = count
        self.seed = seed
        self._steps = [(name, dict(args or {})) for step in augment for name, args in step.items()]
        self._pipeline = import_albumentations().Compose(
            [_transform(name, args) for name, args in self._steps]
        )
        changing = [name for name, _ in self._steps if name not in QUALITY_PRESERVING]
        if changing:
            warnings.warn(
                f"augmentation {', '.join(changing)} changes the quality that the MOS describes; "
                f"quality-preserving ones are {', '.join(sorted(QUALITY_PRESERVING))}",
                stacklevel=2,
            )

    def __call__(self, image: RGBImage, row: int, view: int) -> RGBImage:
        """Return the random view determined by (seed, row, view)."""
        state = np.random.SeedSequence([self.seed, row, view]).generate_state(1)[0]
        self._pipeline.set_random_seed(int(state))
        try:
            return self._pipeline(image=image)["image"]
        except Exception as error:
            names = " > ".join(name for name, _ in self._steps)
            raise ValueError(
                f"augmentation {names} fails on a picture of {image.shape[1]}x{image.shape[0]}: "
                f"{error}"
            ) from error

    def key(self, row: int, view: int) -> str:
        """Return the pipeline, its seed, the albumentations version, row and view as text."""
        pipeline = (
            f"albumentations {import_albumentations().__version__} seed {self.seed} {self._steps}"
        )
        return f"{pipeline} row {row} view {view}"


def import_albumentations() -> ModuleType:
    """Import albumentations only where a pipeline is used: it costs 45 MB and time."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else importing it uses the network
    import albumentations

    return albumentations


def _transform(name: str, arguments: dict[str, Any]) -> BasicTransform:
    library = import_albumentations()
    factory = getattr(library, name, None)
    if not (isinstance(factory, type) and issubclass(factory, library.BasicTransform)):
        raise ValueError(f"albumentations has no transform named {name!r}")
    with warnings.catch_warnings():
        # albumentations only warns about an unknown argument, and then ignores it.
        warnings.simplefilter("error")
        try:
            return factory(**arguments)
        except Exception as error:
            raise ValueError(f"augmentation {name}: {error}") from error


def resize(image: RGBImage, size: int | Sequence[int] | None) -> RGBImage:
    """Resize with Pillow's bicubic filter, antialiased when shrinking.

    Args:
        image: uint8 [H, W, 3].
        size: None keeps the picture; an int is the length of the shorter side (aspect ratio kept,
            longer side rounded down); a pair is (height, width).

    Returns:
        uint8 [h, w, 3].

    Raises:
        ValueError: If a side is not positive.
    """
    if size is None:
        return image
    height, width = image.shape[:2]
    if isinstance(size, int):
        short = min(height, width)
        target = (size * height // short, size * width // short)
    else:
        target = (int(size[0]), int(size[1]))
    if min(target) < 1:
        raise ValueError(f"resize to {target} (height, width): each side must be positive")
    if target == (height, width):
        return image
    resized = Image.fromarray(image).resize(target[::-1], Image.Resampling.BICUBIC)
    return np.array(resized)
