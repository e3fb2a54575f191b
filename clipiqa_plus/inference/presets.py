"""Presets: named settings that fix everything that affects a CLIP-IQA score."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from clipiqa_plus.clip.image_tower import PosEmbedding, Precision
from clipiqa_plus.prompts.sources import PAIRS

AntonymPairs = tuple[str | tuple[str, str], ...]


@dataclass(frozen=True)
class Preset:
    """Settings from a picture to its score.

    Every preset scores pictures at their native size.
    """

    name: str
    summary: str
    source: str
    """Publication or code that the settings come from."""
    pairs: AntonymPairs = ("quality",)
    """Antonym pairs, see :func:`~clipiqa_plus.prompts.sources.resolve_pairs`."""
    reduction: Literal["mean", "none"] = "mean"
    """``mean``: one score, the mean over the pairs; ``none``: one score per pair."""
    learned: bool = False
    """Whether it needs a prompt file, which then determines pairs, reduction, backbone and
    positional embedding."""
    backbone: str = "RN50"
    pos_embedding: PosEmbedding | None = None
    """None: ``none`` on a ResNet, ``grid`` on a ViT."""
    precision: Precision = "fp32"


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "clipiqa",
            "zero-shot, one pair: 'Good photo.' against 'Bad photo.'",
            "Wang, Chan, Loy, AAAI 2023, arXiv 2207.12396, section 3",
        ),
        Preset(
            "clipiqa-pyiqa",
            "zero-shot, mean over the five pairs of pyiqa's metric 'clipiqa'",
            "IQA-PyTorch, pyiqa/archs/clipiqa_arch.py at 9446b0e",
            pos_embedding="none",
            pairs=(
                ("Good image", "bad image"),
                ("Sharp image", "blurry image"),
                ("sharp edges", "blurry edges"),
                ("High resolution image", "low resolution image"),
                ("Noise-free image", "noisy image"),
            ),
        ),
        Preset(
            "clipiqa-attributes",
            "zero-shot, one score for each built-in pair: brightness, sharpness, ...; noisiness is "
            "1 for a clean picture (reversed in the official configuration)",
            "Wang, Chan, Loy, AAAI 2023, arXiv 2207.12396, section 4",
            pairs=tuple(PAIRS),
            reduction="none",
        ),
        Preset(
            "clipiqa+",
            "learned context tokens of a prompt file, with the settings recorded in it",
            "Wang, Chan, Loy, AAAI 2023, arXiv 2207.12396, section 4 (CLIP-IQA+)",
            learned=True,
        ),
    )
}
"""The presets by name."""


def find_preset(name: str) -> Preset:
    """Return a preset.

    Args:
        name: One of :data:`PRESETS`.

    Raises:
        ValueError: If there is no such preset.
    """
    if name not in PRESETS:
        alike = difflib.get_close_matches(name, PRESETS, n=1)
        guess = f". Did you mean {alike[0]}?" if alike else ""
        raise ValueError(f"unknown preset {name!r}; choose from {', '.join(PRESETS)}{guess}")
    return PRESETS[name]
