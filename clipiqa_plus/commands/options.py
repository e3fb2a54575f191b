"""Options that several commands share, and that mean the same in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cyclopts import Parameter

from clipiqa_plus.clip.conventions import BackboneSpec


@Parameter(name="*")
@dataclass(frozen=True)
class Stated:
    """What is stated about the weights that --backbone names, where no file records it."""

    weights: str | None = None
    """With --backbone open_clip:ARCHITECTURE: its weights file."""
    activation: Literal["gelu", "quickgelu", "gelu_tanh"] | None = None
    """With --backbone: activation that its weights were trained with, if no file records it."""
    mean: tuple[float, float, float] | None = None
    """With --backbone: mean of its training pictures, RGB in [0, 1], if no file records it."""
    std: tuple[float, float, float] | None = None
    """With --backbone: standard deviation of the same."""

    def about(self, backbone: str | None) -> BackboneSpec | None:
        """Return the backbone with what is stated about it.

        Args:
            backbone: Name or weights file; None if none is given.

        Raises:
            ValueError: If something is stated about no backbone.
        """
        if backbone is not None:
            return BackboneSpec(backbone, self.activation, self.mean, self.std, self.weights)
        if self != NOTHING:
            raise ValueError(
                "--weights, --activation, --mean and --std describe the weights of --backbone"
            )
        return None


NOTHING = Stated()
