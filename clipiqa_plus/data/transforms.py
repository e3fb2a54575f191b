"""Views: deterministic, integer-indexed crops and flips of a picture, built on albumentations.

CLIP is frozen, so the feature of a view never changes. Numbered views can be encoded once and
looked up: view ``v`` of row ``r`` has the same pixels in every process, worker, epoch and run.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
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

    count: int | None = 2

    def __call__(self, image: RGBImage, row: int, view: int) -> RGBImage:
        """Return the picture for view 0 and its mirror image for view 1."""
        return np.ascontiguousarray(image[:, ::-1]) if view else image

    def key(self, row: int, view: int) -> str:
        """Return ``"flip"``, or ``"plain"`` for view 0, which is the plain picture."""
        return "flip" if view else "plain"


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
