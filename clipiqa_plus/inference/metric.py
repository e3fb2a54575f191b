"""CLIPIQAScore: a preset as a torchmetrics metric, replacing CLIPImageQualityAssessment."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.conventions import BackboneSpec
from clipiqa_plus.inference.scorer import load
from clipiqa_plus.prompts.words import Words


class CLIPIQAScore(Metric):
    """Scores of all pictures over any number of batches.

    The interface is that of torchmetrics' ``CLIPImageQualityAssessment``, except that a batch out
    of range is an error, not a score.

    Args:
        preset: One of :data:`~clipiqa_plus.inference.presets.PRESETS`.
        data_range: Value of white: 1.0, or 255 for pictures in 0 to 255.
        prompts: Prompt file, see :func:`~clipiqa_plus.inference.scorer.load`.
        backbone: Replaces the preset's, see :func:`~clipiqa_plus.inference.scorer.load`.
        pairs: Own antonym pairs, see :func:`~clipiqa_plus.inference.scorer.load`.
        views: Views to score, see :func:`~clipiqa_plus.inference.scorer.load`.
        scales: Your own scales, see :func:`~clipiqa_plus.inference.scorer.load`.
        grades: Their grades, see :func:`~clipiqa_plus.inference.scorer.load`.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If the data range is not positive, or the preset cannot be loaded.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    scores: list[Tensor]

    def __init__(
        self,
        preset: str = "clipiqa",
        data_range: float = 1.0,
        prompts: str | PathLike[str] | None = None,
        backbone: str | BackboneSpec | FrozenCLIP | None = None,
        pairs: Words | None = None,
        views: str | None = None,
        scales: Words | None = None,
        grades: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not data_range > 0:
            raise ValueError(f"data_range is {data_range}; give the value of white, 1.0 or 255")
        self.data_range = data_range
        # A metric starts on the CPU and is moved by its own to(); a shared backbone stays in place.
        device = backbone.device if isinstance(backbone, FrozenCLIP) else "cpu"
        own: Any = {"pairs": pairs, "scales": scales, "grades": grades, "views": views}
        self.scorer = load(preset, prompts, backbone, device, **own)
        self.add_state("scores", [], dist_reduce_fx="cat")

    def update(self, images: Tensor) -> None:
        """Score a batch.

        Args:
            images: [B, 3, H, W], RGB, in 0 to ``data_range``.

        Raises:
            ValueError: If shape or range is wrong.
        """
        scaled = images.float() / self.data_range
        if scaled.numel() and scaled.max() > 1 + 1e-3:
            raise ValueError(
                f"pictures reach {float(images.max()):g} but data_range is {self.data_range:g}; "
                "set data_range to the value of white"
            )
        self.scores.append(self.scorer(scaled))

    def compute(self) -> Tensor | dict[str, Tensor]:
        """Return the scores of all pictures, float32 [N]; with several scores, a dict by name."""
        scores = dim_zero_cat(self.scores)
        if len(self.scorer.names) == 1:
            return scores.squeeze()
        return {name: scores[:, i] for i, name in enumerate(self.scorer.names)}

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> Any:
        """Plot scores.

        Args:
            val: One or several results of ``compute`` or ``forward``; None calls ``compute``.
            ax: Matplotlib axes to draw on.

        Returns:
            Figure and axes.
        """
        return self._plot(val, ax)
