"""What fixes a score besides backbone and prompts: views of the picture, cues, names, records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from clipiqa_plus.data.transforms import evaluation_views

Pooling = Literal["mean", "median"]
"""From the scores of several views of a picture to one."""


NOT_PUBLISHED = "over views of the picture: not the published score"
"""Note in the settings of scores over views that a preset does not prescribe."""


class PictureViews(Protocol):
    """Views of one picture that are scored in its place."""

    name: str
    """Name in the settings of the scores."""

    def least_size(self, of_backbone: int) -> int:
        """Return the smallest side of a picture whose views the backbone accepts."""

    def __call__(self, image: Tensor) -> list[Tensor]:
        """Return the views of a picture [3, H, W], uint8 or floats in [0, 1], as such tensors."""


class NumberedViews:
    """Views by name, as they are also cached for evaluations.

    Args:
        name: One of :data:`~clipiqa_plus.data.transforms.EVALUATION_VIEWS`.

    Raises:
        ValueError: If there are no such views.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._views = evaluation_views(name)

    def least_size(self, of_backbone: int) -> int:
        """Return the smallest side whose smallest view the backbone accepts."""
        return math.ceil(of_backbone / getattr(self._views, "least_share", 1.0))

    def __call__(self, image: Tensor) -> list[Tensor]:
        """Return the views, of the picture's dtype and device.

        Raises:
            ValueError: If floats are to be resized: only uint8 pictures have scales.
        """
        pixels = image.detach().movedim(0, -1).cpu().numpy()
        try:
            views = [self._views(pixels, 0, view) for view in range(self._views.count or 0)]
        except TypeError as error:  # Pillow resizes 8-bit pictures only
            raise ValueError(f"views {self.name} take uint8 pictures, not {image.dtype}") from error
        return [torch.from_numpy(view).movedim(-1, 0).to(image.device) for view in views]


class MagnitudeCrops:
    """The views of MA-CLIP: crops of 224x224, 128 pixels apart, and the picture at 224x224.

    What the last crop of a row or column leaves at the right or below is in no crop. The picture is
    resized bilinearly without antialias (``preprocess`` in pyiqa's ``maclip_arch.py``).
    """

    name = "crops of 224x224, 128 apart, and the picture at 224x224"
    _side, _step = 224, 128

    def least_size(self, of_backbone: int) -> int:
        """Return 224."""
        return max(self._side, of_backbone)

    def __call__(self, image: Tensor) -> list[Tensor]:
        """Return the views, floats [3, 224, 224].

        Raises:
            ValueError: If a side is shorter.
        """
        height, width = image.shape[-2:]
        if min(height, width) < self._side:
            raise ValueError(
                f"a picture of {width}x{height} pixels is too small: maclip takes sides of "
                f"{self._side} or more"
            )
        unit = image.float() / 255 if image.dtype == torch.uint8 else image
        tops = range(0, height - self._side + 1, self._step)
        lefts = range(0, width - self._side + 1, self._step)
        crops = [
            unit[..., top : top + self._side, left : left + self._side]
            for top in tops
            for left in lefts
        ]
        size = (self._side, self._side)
        whole = F.interpolate(unit[None], size, mode="bilinear", align_corners=False)[0]
        return [*crops, whole]


def pool_views(scores: Tensor, pooling: Pooling) -> Tensor:
    """Reduce the scores of the views of one picture, [..., V, T], to its score, [..., T].

    Args:
        scores: Scores of V views.
        pooling: The mean, or the median: of an even number the mean of the two in the middle.
    """
    if pooling == "mean":
        return scores.mean(dim=-2)
    return scores.quantile(0.5, dim=-2)


def score_views(
    source: Any, features: Tensor, pooling: Pooling = "mean", text: Tensor | None = None
) -> Tensor:
    """Score pictures by the features of their views.

    Args:
        source: Its ``score_features`` scores features [B, D].
        features: float32 [N, V, D], or [N, D] of the pictures themselves.
        pooling: From the scores of the views to the picture's.
        text: Text features to use instead of the source's own.

    Returns:
        float32 [N, T].
    """
    given = () if text is None else (text,)
    if features.ndim == 2:
        return cast(Tensor, source.score_features(features, *given))
    scores: Tensor = source.score_features(features.flatten(0, 1), *given)
    return pool_views(scores.unflatten(0, features.shape[:2]), pooling)


@dataclass(frozen=True)
class Conditions:
    """What fixes a score besides backbone and prompts, and what its settings record.

    Attributes:
        prompts_sha256: SHA-256 of the prompt file or probe, if there is one.
        names: Names of the scores; None names a lone score ``score``, several after their pairs.
        cue: ``magnitude`` fuses the mean probability with MA-CLIP's cue.
        views: Views that are scored in the place of the picture; None scores the picture itself.
        pooling: From the scores of the views to the picture's.
        facts: Metadata of the prompt file or probe, which include intervals.
        recorded: Further settings to record, JSON values.
    """

    prompts_sha256: str | None = None
    names: Sequence[str] | None = None
    cue: Literal["cosine", "magnitude"] = "cosine"
    views: PictureViews | None = None
    pooling: Pooling = "mean"
    facts: Mapping[str, Any] = field(default_factory=dict)
    recorded: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """What the settings of the scores record of it: nothing where it is as usual."""
        found: dict[str, Any] = dict(self.recorded)
        if self.cue != "cosine":
            found["cue"] = self.cue
        if self.views is not None:
            found |= {"views": self.views.name, "over_views": self.pooling}
        if isinstance(self.views, NumberedViews):
            found["note"] = NOT_PUBLISHED
        return found
