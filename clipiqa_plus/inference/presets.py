"""Presets: named settings that fix everything that affects a CLIP-IQA score."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from clipiqa_plus.clip.image_tower import PosEmbedding, Precision
from clipiqa_plus.inference import published_files as files
from clipiqa_plus.inference.published_files import PublishedFile
from clipiqa_plus.prompts.importers import QUALICLIP_PAIRS, QUALICLIP_TEMPERATURE
from clipiqa_plus.prompts.scales import PAIRS

AntonymPairs = tuple[str | tuple[str, str], ...]


@dataclass(frozen=True)
class Preset:
    """Settings from a picture to its score.

    Every preset scores pictures at their native size; ``maclip`` also takes crops of them.
    """

    name: str
    summary: str
    source: str
    """Publication or code that the settings come from."""
    pairs: AntonymPairs = ("quality",)
    """Antonym pairs, see :func:`~clipiqa_plus.prompts.scales.resolve_pairs`."""
    reduction: Literal["mean", "none"] = "mean"
    """``mean``: one score, the mean over the pairs; ``none``: one score per pair."""
    learned: bool = False
    """Whether it takes a prompt file of the user's, which then determines pairs, reduction,
    backbone and positional embedding."""
    backbone: str = "RN50"
    pos_embedding: PosEmbedding | None = None
    """None: ``none`` on a ResNet, ``grid`` on a ViT."""
    precision: Precision = "fp32"
    prompts: PublishedFile | None = None
    """Published context tokens, learned on ``backbone`` or ``weights``."""
    weights: PublishedFile | None = None
    """Published weights that replace ``backbone``; without ``prompts`` they hold the text features
    of the pairs."""
    logit_scale: float | None = None
    """Factor from cosine to logit; None takes the backbone's, divided by the temperature."""
    temperature: float = 1.0
    """Divides the logits."""
    cue: Literal["cosine", "magnitude"] = "cosine"
    """``magnitude`` fuses the probabilities with the size of the entries of the image feature."""
    crops: bool = False
    """Average over crops of 224x224, 128 pixels apart, and the picture resized to 224x224."""
    published: str = ""
    """A published number with its conditions; SRCC / PLCC where two are given."""

    @property
    def files(self) -> list[PublishedFile]:
        """The files that it needs besides the backbone's weights."""
        return [file for file in (self.weights, self.prompts) if file is not None]


_FIVE_PAIRS = (
    ("Good image", "bad image"),
    ("Sharp image", "blurry image"),
    ("sharp edges", "blurry edges"),
    ("High resolution image", "low resolution image"),
    ("Noise-free image", "noisy image"),
)
"""The pairs of pyiqa's clipiqa and maclip."""

_TABLE = "pyiqa, tests/NR_benchmark_results.csv"

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "clipiqa",
            "zero-shot, one pair: 'Good photo.' against 'Bad photo.'",
            "Wang, Chan, Loy, AAAI 2023, arXiv 2207.12396, section 3",
            published="KonIQ-10k at 1024x768: 0.695 / 0.727 (paper); SRCC 0.68 (piq's README)",
        ),
        Preset(
            "clipiqa-pyiqa",
            "zero-shot, mean over the five pairs of pyiqa's metric 'clipiqa'",
            "IQA-PyTorch, pyiqa/archs/clipiqa_arch.py at 9446b0e",
            pos_embedding="none",
            pairs=_FIVE_PAIRS,
            published=f"KonIQ-10k at 512x384: 0.657 / 0.721 ({_TABLE})",
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
            "learned context tokens: those of the official checkpoint, or of a prompt file, with "
            "the settings recorded in it",
            "Wang, Chan, Loy, AAAI 2023, arXiv 2207.12396, section 4 (CLIP-IQA+)",
            learned=True,
            pos_embedding="none",
            prompts=files.CLIPIQA_PLUS,
            published="KonIQ-10k at 1024x768: 0.895 / 0.909, at 512x384: 0.803 / 0.845 (pyiqa, "
            "tests/NR_benchmark_results.csv)",
        ),
        Preset(
            "clipiqa+-rn50-512",
            "context tokens that pyiqa learned on KonIQ-10k at 512x384, one for each prompt",
            "IQA-PyTorch, pyiqa/archs/clipiqa_arch.py, metric 'clipiqa+_rn50_512'",
            pos_embedding="table",
            prompts=files.CLIPIQA_PLUS_RN50_512,
            published=f"KonIQ-10k at 512x384: 0.885 / 0.901 ({_TABLE})",
        ),
        Preset(
            "clipiqa+-vitl14-512",
            "context tokens that pyiqa learned on KonIQ-10k at 512x384 for ViT-L/14",
            "IQA-PyTorch, pyiqa/archs/clipiqa_arch.py, metric 'clipiqa+_vitL14_512'",
            backbone="ViT-L/14",
            pos_embedding="table",
            prompts=files.CLIPIQA_PLUS_VITL14_512,
            published=f"KonIQ-10k at 512x384: 0.861 / 0.875 ({_TABLE})",
        ),
        Preset(
            "qualiclip",
            "RN50 trained for quality without opinion scores, mean over seven pairs",
            "Agnolucci, Galteri, Bertini, arXiv 2403.11176; miccunifi/QualiCLIP, hubconf.py",
            pos_embedding="none",
            pairs=QUALICLIP_PAIRS,
            weights=files.QUALICLIP,
            logit_scale=100.0,
            published="KonIQ-10k: SRCC 0.817 (quoted from the paper's table by others)",
        ),
        Preset(
            "qualiclip-pyiqa",
            "qualiclip at temperature 2, as in pyiqa: another scale, and another order, since the "
            "pairs are averaged after the softmax",
            "IQA-PyTorch, pyiqa/archs/qualiclip_arch.py, metric 'qualiclip'",
            pos_embedding="none",
            pairs=QUALICLIP_PAIRS,
            weights=files.QUALICLIP,
            temperature=QUALICLIP_TEMPERATURE,
        ),
        Preset(
            "qualiclip+",
            "context tokens learned on KonIQ-10k around QualiCLIP's seven pairs, temperature 2",
            "IQA-PyTorch, pyiqa/archs/qualiclip_arch.py, metric 'qualiclip+'",
            pos_embedding="none",
            weights=files.QUALICLIP,
            prompts=files.QUALICLIP_PLUS,
            temperature=QUALICLIP_TEMPERATURE,
            published="KonIQ-10k: SRCC 0.875 (quoted by others)",
        ),
        Preset(
            "maclip",
            "zero-shot, five pairs fused with the size of the feature's entries, mean over crops; "
            "may exceed 1",
            "Liao et al., AAAI 2026, arXiv 2511.09948; IQA-PyTorch, pyiqa/archs/maclip_arch.py",
            pos_embedding="none",
            pairs=_FIVE_PAIRS,
            cue="magnitude",
            crops=True,
            published="KonIQ-10k: SRCC 0.765 (quoted from the paper's table by others)",
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
