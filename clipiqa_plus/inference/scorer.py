"""Scores in one line: a preset as a module that accepts pictures in any form."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from os import PathLike, fspath
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from clipiqa_plus import __version__
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.conventions import BackboneSpec, backbone_spec
from clipiqa_plus.clip.image_tower import PosEmbedding, position_name
from clipiqa_plus.data.fetch.download import sha256_of
from clipiqa_plus.features.probes import Probe
from clipiqa_plus.inference.picture_forms import Picture, picture_tensors
from clipiqa_plus.inference.presets import Preset, find_preset
from clipiqa_plus.inference.probes import ProbeSource, Source, is_probe, load_probe, read_facts
from clipiqa_plus.metrics.conformal import half_widths, mos_interval
from clipiqa_plus.module import CLIPIQAPlus, PromptConfig, Reduction
from clipiqa_plus.prompts.files import HUB, find_prompts, is_foreign
from clipiqa_plus.prompts.importers import imported_position
from clipiqa_plus.prompts.words import Words, name_pairs, pair_name
from clipiqa_plus.scoring import pair_probability

# Pictures decoded and encoded at once: bounds the memory needed for a long list.
_CHUNK = 16

# Scorers that `score` keeps in memory, each with its image tower: 150 MB for RN50.
_KEPT = 2


class Scorer(nn.Module):
    """A preset ready to score; created by :func:`load`.

    The text features are computed once and kept as a buffer: scoring runs only the image tower.

    Args:
        model: Backbone, prompts and reduction, or a probe.
        preset: Name of the preset.
        prompts_sha256: SHA-256 of the prompt file, if there is one.
        differentiable: Propagate gradients from the scores to the pictures, for use as a loss.
        interval: Level of the intervals in :meth:`score_columns`, such as 0.9.
        facts: Metadata of the prompt file or probe, which include the intervals.
        names: Names of the scores; None names a lone score ``score``, several after their pairs.

    Attributes:
        names: Names of the T scores: ``score``, or one for each antonym pair.
        columns: Names of the columns of :meth:`score_columns`.
        settings: All settings that determine the scores, as JSON values.
    """

    text: Tensor | None

    def __init__(
        self,
        model: Source,
        preset: str,
        prompts_sha256: str | None = None,
        differentiable: bool = False,
        interval: float | None = None,
        facts: Mapping[str, Any] = MappingProxyType({}),
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        model.require_learned()
        self.backbone = model.backbone
        self.probe: Probe | None = None
        self.regressor: nn.Linear | None = None
        self.differentiable = differentiable
        self.register_buffer("text", None, persistent=False)
        if isinstance(model, ProbeSource):
            self.probe = model.probe
            self.names = model.names if len(model.names) > 1 else ["score"]
            asked: dict[str, Any] = {"probe": self.probe.kind}
        else:
            if model.regressor is not None:
                self.regressor = model.regressor.requires_grad_(False)
            self.reduction: Reduction = model.reduction
            with torch.no_grad():
                self.text = model.text_features().clone()
            pairs = model.prompts.pairs
            each = [pair_name(pair) for pair in pairs]
            self.names = list(names or (each if self.reduction == "none" else ["score"]))
            asked = {"pairs": [list(pair) for pair in pairs], "reduction": self.reduction}
        self.interval: tuple[list[float], list[float]] | None = None
        if interval is not None:
            widths = half_widths(dict(facts), interval, "the prompt file")
            self.interval = widths, facts["intervals"]["scale"]
            asked["interval"] = interval
        self.columns = list(self.names)
        if self.text is not None and self.text.ndim == 4:
            self.columns += _columns_of(self.names, ["spread"])
        if self.interval is not None:
            self.columns += _columns_of(self.names, ["mos_low", "mos_high"])
        self.settings: dict[str, Any] = {
            "preset": preset,
            **self.backbone.describe(),
            "resize": None,
            **asked,
            "prompts_sha256": prompts_sha256,
            "version": __version__,
        }

    def forward(self, pictures: Picture | Sequence[Picture]) -> Tensor:
        """Score pictures.

        Args:
            pictures: One picture or a list of them, of equal or unequal sizes: paths, Pillow
                images, uint8 arrays [H, W, 3], tensors [3, H, W]; or a tensor [B, 3, H, W]. RGB;
                tensors are uint8, or floating point in [0, 1]. The channel order cannot be
                checked: OpenCV reads BGR, which must be converted to RGB first.

        Returns:
            float32 [B, T] on the backbone's device, high is good; one score for each of ``names``.

        Raises:
            FileNotFoundError: If a file does not exist.
            ValueError: If a file is not a picture, or shape, type or range is wrong.
        """
        if isinstance(pictures, Tensor) and pictures.ndim != 3:
            return self.score_images(pictures)
        if not isinstance(pictures, list | tuple):
            pictures = [cast(Picture, pictures)]
        if not pictures:
            return torch.empty(0, len(self.names), device=self.backbone.device)
        chunks = range(0, len(pictures), _CHUNK)
        parts = (picture_tensors(pictures[start : start + _CHUNK]) for start in chunks)
        return torch.cat([self.score_images(part) for part in parts])

    def score_images(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        """Score pictures given as tensors, all at once.

        Args:
            images: [B, 3, H, W], or B pictures [3, H, W] of one dtype; RGB, uint8 or in [0, 1].

        Returns:
            float32 [B, T], see :meth:`forward`.

        Raises:
            ValueError: If shape, type or range is wrong.
        """
        features = self.backbone.encode_image(images, self.differentiable)
        with torch.set_grad_enabled(self.differentiable and torch.is_grad_enabled()):
            return self.score_features(features)

    def score_features(self, features: Tensor) -> Tensor:
        """Return scores, float32 [B, T], of image features, float32 [B, D]."""
        scores = self._scores(features)
        return scores if scores.ndim == 2 else scores.mean(dim=0)

    def score_columns(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        """Score pictures given as tensors, with the spread and intervals of the scores.

        Args:
            images: See :meth:`score_images`.

        Returns:
            float32 [B, C], without gradients; see ``columns``: the T scores; for an ensemble, the
            standard deviation of each over the members; with ``interval``, both ends of an interval
            for each, on the MOS scale of the training data.
        """
        with torch.no_grad():
            members = self._scores(self.backbone.encode_image(images))
            scores = members if members.ndim == 2 else members.mean(dim=0)
            columns = [scores]
            if members.ndim == 3:
                columns.append(members.std(dim=0))
            if self.interval is not None:
                ends = mos_interval(scores, *self.interval)
                columns.append(torch.stack(ends, dim=-1).flatten(1))
            return torch.cat(columns, dim=1)

    def _scores(self, features: Tensor) -> Tensor:
        """Scores [B, T], or [M, B, T] of the members of an ensemble."""
        if self.probe is not None:
            return cast(Tensor, self.probe(features))
        assert self.text is not None
        scores = pair_probability(features, self.text, self.backbone.logit_scale)
        if self.regressor is not None:
            return cast(Tensor, self.regressor(scores))
        return scores if self.reduction == "none" else scores.mean(dim=-1, keepdim=True)


def load(
    preset: str = "clipiqa",
    prompts: str | PathLike[str] | None = None,
    backbone: str | BackboneSpec | FrozenCLIP | None = None,
    device: str | torch.device | None = None,
    differentiable: bool = False,
    image_only: bool = False,
    interval: float | None = None,
    pairs: Words | None = None,
    reduction: Literal["mean", "none"] | None = None,
) -> Scorer:
    """Load a preset.

    Args:
        preset: One of :data:`~clipiqa_plus.inference.presets.PRESETS`.
        prompts: Prompt file, for presets with learned prompts: ours (or a checkpoint), pyiqa's or
            the official code's, or a probe; see :func:`~clipiqa_plus.prompts.files.find_prompts`.
        backbone: Replaces that of the preset or prompt file: a name, the path of a weights file,
            a BackboneSpec with what no file records of the weights, or a FrozenCLIP to share.
        device: Device; None uses the device of a FrozenCLIP, otherwise a GPU if there is one.
        differentiable: Propagate gradients to the pictures.
        image_only: Drop the text tower once the text features are computed: saves 250 MB of RN50's
            400, but the backbone cannot be shared with other prompts.
        interval: Level of the intervals in :meth:`Scorer.score_columns`, 0.5 to 0.99.
        pairs: Own antonym pairs in place of those of a zero-shot preset, the rest of which stays:
            pairs of prompts, that of a high score first; names of built-in pairs; or a mapping from
            names of scores to pairs.
        reduction: With own pairs: ``none``, one score for each, or ``mean``, one score; None takes
            the former for several pairs.

    Raises:
        ValueError: If the preset is unknown; prompts, pairs or backbone do not match it; or the
            prompt file has no interval at this level.
        FileNotFoundError: If a file does not exist, or weights cannot be downloaded.
    """
    chosen = find_preset(preset)
    if prompts is not None and chosen.learned:
        prompts = find_prompts(prompts)
    if reduction and pairs is None:
        raise ValueError("reduction goes with own pairs; that of a preset is fixed")
    own = None if pairs is None else _own_words(chosen, pairs, reduction)
    name, pos_embedding, config, reduced = _facts(own or chosen, prompts)
    facts: dict[str, Any] = {}
    if interval is not None:
        if prompts is not None and not is_foreign(prompts):
            facts = read_facts(prompts)
        half_widths(facts, interval, str(prompts or f"preset {preset}"))  # before any work
    if isinstance(backbone, FrozenCLIP):
        if image_only:
            raise ValueError("image_only would remove the text tower of a shared backbone")
        clip = backbone
        wanted = (position_name(pos_embedding, clip.is_vit), chosen.precision)
        if (clip.pos_embedding, clip.precision) != wanted:
            raise ValueError(
                f"preset {preset} needs pos_embedding {wanted[0]}, precision {wanted[1]}; the "
                f"backbone has pos_embedding {clip.pos_embedding}, precision {clip.precision}"
            )
        device = device or clip.device
    else:
        backbone = backbone or name
        if backbone is None:
            raise ValueError(f"{prompts} does not record its backbone: pass it as backbone")
        clip = FrozenCLIP.from_name(backbone, pos_embedding, chosen.precision)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    model: Source
    if prompts is not None and is_probe(prompts):
        model = load_probe(prompts, clip).to(device)
    else:
        model = CLIPIQAPlus(clip, prompts=config, reduction=reduced).to(device)
    digest = None if prompts is None else sha256_of(Path(prompts))
    names = list(pairs) if isinstance(pairs, Mapping) and reduced == "none" else None
    title = own.name if own else preset
    scorer = Scorer(model, title, digest, differentiable, interval, facts, names).eval()
    if image_only:
        clip.drop_text_tower()
    return scorer


def score(
    pictures: Picture | Sequence[Picture],
    preset: str = "clipiqa",
    prompts: str | PathLike[str] | None = None,
    backbone: str | BackboneSpec | None = None,
    device: str | None = None,
    pairs: Words | None = None,
) -> Any:
    """Score pictures with a preset, which is loaded on the first call.

    The last two scorers stay in memory; a scorer whose files have changed is reloaded.

    Args:
        pictures: See :meth:`Scorer.forward`.
        preset: See :func:`load`.
        prompts: See :func:`load`.
        backbone: See :func:`load`.
        device: See :func:`load`.
        pairs: See :func:`load`.

    Returns:
        A float for one picture; a list of floats for a list or a batch. With several scores per
        picture, a dict of floats replaces each float.

    Raises:
        FileNotFoundError: See :func:`load` and :meth:`Scorer.forward`.
        ValueError: See :func:`load` and :meth:`Scorer.forward`.
    """
    if prompts is not None and not fspath(prompts).startswith(HUB):
        prompts = find_prompts(prompts)
    source = None if prompts is None else fspath(prompts)
    weights = None if backbone is None else backbone_spec(backbone).name
    files = _identity(source), _identity(weights)
    words = (
        None if pairs is None else json.dumps(dict(pairs) if isinstance(pairs, Mapping) else pairs)
    )
    scorer = _loaded(preset, source, backbone, device, files, words)
    rows = scorer(pictures).tolist()
    if len(scorer.names) > 1:
        results = [dict(zip(scorer.names, row, strict=True)) for row in rows]
    else:
        results = [row[0] for row in rows]
    is_batch = isinstance(pictures, Tensor) and pictures.ndim == 4
    return results if is_batch or isinstance(pictures, list | tuple) else results[0]


@lru_cache(_KEPT)
def _loaded(
    preset: str,
    prompts: str | None,
    backbone: str | BackboneSpec | None,
    device: str | None,
    files: object,
    pairs: str | None,
) -> Scorer:
    words = None if pairs is None else json.loads(pairs)
    return load(preset, prompts, backbone, device, image_only=True, pairs=words)


def _identity(file: str | None) -> tuple[Any, ...] | None:
    """Return a value that changes when a file does; None if there is no such file."""
    if file is None or not os.path.isfile(file):
        return None
    facts = os.stat(file)
    return os.path.realpath(file), facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def _facts(
    preset: Preset, prompts: str | PathLike[str] | None
) -> tuple[str | BackboneSpec | None, PosEmbedding | None, PromptConfig, Reduction]:
    """Backbone, positional embedding, prompts and reduction of a preset and its prompt file."""
    if preset.learned and prompts is None:
        raise ValueError(f"preset {preset.name} needs a prompt file")
    if prompts is None:
        pairs = [pair if isinstance(pair, str) else list(pair) for pair in preset.pairs]
        config = PromptConfig(mode="zero_shot", pairs=pairs)
        return preset.backbone, preset.pos_embedding, config, preset.reduction
    if not preset.learned:
        raise ValueError(f"preset {preset.name} is zero-shot; use clipiqa+ with a prompt file")
    config = PromptConfig(file=fspath(prompts))
    if is_foreign(prompts):
        return None, imported_position(prompts), config, "mean"
    facts = read_facts(prompts)
    backbone, position = BackboneSpec.recorded(facts), facts["pos_embedding"]
    return backbone, position, config, facts.get("reduction", "mean")


def _own_words(preset: Preset, words: Words, reduction: Literal["mean", "none"] | None) -> Preset:
    """A zero-shot preset with other words."""
    if preset.learned:
        raise ValueError(
            f"preset {preset.name} takes its words from a prompt file; own pairs need a zero-shot "
            "preset, such as clipiqa"
        )
    pairs = tuple(name_pairs(words).values())
    several = len(pairs) > 1 or isinstance(words, Mapping)
    reduced = reduction or ("none" if several else "mean")
    return replace(preset, name=f"{preset.name}, own words", pairs=pairs, reduction=reduced)


def _columns_of(names: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Column names for each score, prefixed by its name if there are several scores."""
    return [c if len(names) == 1 else f"{name} {c}" for name in names for c in columns]
