"""CLIPIQAScore: a preset as a torchmetrics metric, in place of CLIPImageQualityAssessment."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.inference.scorer import load


class CLIPIQAScore(Metric):
    """Scores of the pictures of many batches.

    The contract is that of torchmetrics' ``CLIPImageQualityAssessment``; a batch out of the range
    is an error here, not a score.

    Args:
        preset: One of :data:`~clipiqa_plus.inference.presets.PRESETS`.
        data_range: Value of white: 1.0, or 255 for pictures in 0 to 255.
        prompts: Prompt file, see :func:`~clipiqa_plus.inference.scorer.load`.
        backbone: In place of the preset's, see :func:`~clipiqa_plus.inference.scorer.load`.
        kwargs: Of :class:`torchmetrics.Metric`.

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
        backbone: str | FrozenCLIP | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not data_range > 0:
            raise ValueError(f"data_range is {data_range}; give the value of white, 1.0 or 255")
        self.data_range = data_range
        # A metric begins on the CPU and moves by its own to(); a shared backbone stays in place.
        device = backbone.device if isinstance(backbone, FrozenCLIP) else "cpu"
        self.scorer = load(preset, prompts, backbone, device)
        self.add_state("scores", [], dist_reduce_fx="cat")

    def update(self, images: Tensor) -> None:
        """Score a batch.

        Args:
            images: [B, 3, H, W], RGB, in 0 to ``data_range``.

        Raises:
            ValueError: If shape or range do not fit.
        """
        scaled = images.float() / self.data_range
        if scaled.numel() and scaled.max() > 1 + 1e-3:
            raise ValueError(
                f"pictures reach {float(images.max()):g} and data_range is {self.data_range:g}; "
                "set it to the value of white"
            )
        self.scores.append(self.scorer(scaled))

    def compute(self) -> Tensor | dict[str, Tensor]:
        """Return the scores of all pictures: float32 [N], or by name for presets of several."""
        scores = dim_zero_cat(self.scores)
        if len(self.scorer.names) == 1:
            return scores.squeeze()
        return {name: scores[:, i] for i, name in enumerate(self.scorer.names)}

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> Any:
        """Plot scores.

        Args:
            val: What ``compute`` or ``forward`` returned, or several of it; None computes.
            ax: Matplotlib axis to plot into.

        Returns:
            Figure and axis.
        """
        return self._plot(val, ax)
