"""What a preset comes to: its words or prompt file, its backbone, and what outputs record of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.conventions import OPENAI, BackboneSpec
from clipiqa_plus.clip.image_tower import PosEmbedding, position_name
from clipiqa_plus.data.fetch.download import sha256_of
from clipiqa_plus.inference.conditions import (
    Conditions,
    MagnitudeCrops,
    NumberedViews,
    PictureViews,
    Pooling,
)
from clipiqa_plus.inference.presets import Preset
from clipiqa_plus.inference.probes import Source, is_probe, load_probe, read_facts
from clipiqa_plus.module import CLIPIQAPlus, PromptConfig, Reduction
from clipiqa_plus.prompts.checkpoints import read_torch
from clipiqa_plus.prompts.files import find_prompts, is_foreign
from clipiqa_plus.prompts.importers import imported_position
from clipiqa_plus.prompts.scales import Scale, check_grades
from clipiqa_plus.prompts.sources import StoredPrompts
from clipiqa_plus.prompts.words import Words, name_pairs, name_scales

STORED_TEXT = "prompts_features"
"""Key of the text features, [2P, D], in the weights of QualiCLIP."""


@dataclass(frozen=True)
class Resolved:
    """A preset with its prompt file and own words, before its backbone is loaded.

    Attributes:
        preset: The preset; with own words these are its pairs, and its name says so.
        config: The prompts.
        reduction: From P pairs to scores.
        backbone: The backbone; None if nothing records it.
        pos_embedding: Positional embedding of the backbone; None for its default.
        prompts: The prompt file or probe.
        names: Names of the scores, where own words have them.
        fixed: Whether the backbone may be no other: the prompts are published for it.
    """

    preset: Preset
    config: PromptConfig
    reduction: Reduction
    backbone: str | BackboneSpec | None
    pos_embedding: PosEmbedding | None
    prompts: Path | None = None
    names: list[str] | None = None
    fixed: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Metadata of the prompt file or probe; empty for one of another program."""
    views: PictureViews | None = None
    pooling: Pooling = "mean"

    def over_views(self, name: str, pooling: Pooling) -> Resolved:
        """Return this with views of the picture; the name of the preset says so.

        Raises:
            ValueError: If the views or pooling are unknown, or the preset has its own.
        """
        if self.preset.crops:
            raise ValueError(f"preset {self.preset.name} has views of its own; leave out views")
        if pooling not in get_args(Pooling):
            raise ValueError(f"over_views {pooling!r}; choose from {', '.join(get_args(Pooling))}")
        preset = replace(self.preset, name=f"{self.preset.name}, {pooling} of {name}")
        return replace(self, preset=preset, views=NumberedViews(name), pooling=pooling)

    @property
    def conditions(self) -> Conditions:
        """What fixes the scores besides backbone and prompts, and what outputs record."""
        preset, recorded = self.preset, {}
        if self.fixed:
            recorded = {"source": preset.source, "files": [f.describe() for f in preset.files]}
        return Conditions(
            prompts_sha256=None if self.prompts is None else sha256_of(self.prompts),
            names=self.names,
            cue=preset.cue,
            views=MagnitudeCrops() if preset.crops else self.views,
            pooling=self.pooling,
            facts=self.facts,
            recorded=recorded,
        )

    def load_backbone(self, given: str | BackboneSpec | FrozenCLIP | None) -> FrozenCLIP:
        """Load the backbone, or check the one that is given.

        Raises:
            ValueError: If it is not known which one, or the given one is not suitable.
            FileNotFoundError: If weights do not exist or cannot be downloaded.
        """
        preset = self.preset
        if isinstance(given, FrozenCLIP):
            clip = given
            wanted = (position_name(self.pos_embedding, clip.is_vit), preset.precision)
            if (clip.pos_embedding, clip.precision) != wanted:
                raise ValueError(
                    f"preset {preset.name} needs pos_embedding {wanted[0]}, precision {wanted[1]}; "
                    f"the backbone has pos_embedding {clip.pos_embedding}, precision "
                    f"{clip.precision}"
                )
        else:
            name = given or self.backbone
            if name is None:
                raise ValueError(
                    f"{self.prompts} does not record its backbone: pass it as backbone"
                )
            clip = FrozenCLIP.from_name(name, self.pos_embedding, preset.precision)
        if self.fixed:
            _check_published(preset, clip)
        return clip

    def model(self, clip: FrozenCLIP) -> Source:
        """Return the model that scores the features of the backbone.

        Raises:
            ValueError: If the prompt file or probe does not fit the backbone, or the weights do not
                hold the text features of the preset.
        """
        if self.prompts is not None and is_probe(self.prompts):
            return load_probe(self.prompts, clip)
        model = CLIPIQAPlus(clip, prompts=self.config, reduction=self.reduction)
        preset = self.preset
        if preset.weights is not None and self.prompts is None and self.names is None:
            model.prompts = StoredPrompts(preset.pairs, _stored_text(preset.weights.fetch()))
        if preset.logit_scale is not None:
            model.prompts.temperature = clip.logit_scale / preset.logit_scale
        elif preset.temperature != 1:
            model.prompts.temperature = preset.temperature
        return model


def resolve(
    preset: Preset,
    prompts: str | PathLike[str] | None = None,
    pairs: Words | None = None,
    reduction: Literal["mean", "none"] | None = None,
    scales: Words | None = None,
    grades: Sequence[float] | None = None,
) -> Resolved:
    """Bring a preset, a prompt file and own words together; published files are fetched.

    Args:
        preset: The preset.
        prompts: See :func:`clipiqa_plus.inference.scorer.load`.
        pairs: See :func:`clipiqa_plus.inference.scorer.load`.
        reduction: See :func:`clipiqa_plus.inference.scorer.load`.
        scales: See :func:`clipiqa_plus.inference.scorer.load`.
        grades: See :func:`clipiqa_plus.inference.scorer.load`.

    Raises:
        ValueError: If they do not go together.
        FileNotFoundError: If a file does not exist or cannot be downloaded.
    """
    own = _own_words(pairs, scales, grades)
    if reduction and own is None:
        raise ValueError("reduction goes with own pairs; that of a preset is fixed")
    if preset.prompts is None:
        if prompts is not None:
            raise ValueError(f"preset {preset.name} is zero-shot; use clipiqa+ with a prompt file")
        named = isinstance(scales if pairs is None else pairs, Mapping)
        several = own is not None and (named or len(own) > 1)
        return _zero_shot(preset, own, grades, reduction or ("none" if several else "mean"))
    if own is not None:
        raise ValueError(
            f"preset {preset.name} takes its words from a prompt file; own pairs need a zero-shot "
            "preset, such as clipiqa"
        )
    if prompts is None:
        file = preset.prompts.fetch()
        config = PromptConfig(file=str(file))
        backbone = _backbone_of(preset)
        return Resolved(preset, config, "mean", backbone, preset.pos_embedding, file, fixed=True)
    if not preset.learned:
        raise ValueError(
            f"preset {preset.name} has its own published prompts; use clipiqa+ with a prompt file"
        )
    file = find_prompts(prompts)
    config = PromptConfig(file=str(file))
    if is_foreign(file):
        return Resolved(preset, config, "mean", None, imported_position(file), file)
    facts = read_facts(file)
    reduced = facts.get("reduction", "mean")
    position = facts["pos_embedding"]
    backbone = BackboneSpec.recorded(facts)
    return Resolved(preset, config, reduced, backbone, position, file, facts=facts)


def _own_words(
    pairs: Words | None, scales: Words | None, grades: Sequence[float] | None
) -> dict[str, Scale] | None:
    """Own pairs or scales by the names of their scores; None if there are none."""
    if scales is None:
        if grades is not None:
            raise ValueError("grades belong to the prompts of a scale: give scales too")
        return None if pairs is None else {**name_pairs(pairs)}
    if pairs is not None:
        raise ValueError("give own pairs or own scales, not both")
    return name_scales(scales)


def _zero_shot(
    preset: Preset,
    own: Mapping[str, Scale] | None,
    grades: Sequence[float] | None,
    reduction: Literal["mean", "none"],
) -> Resolved:
    names = None
    if own is None:
        words = [pair if isinstance(pair, str) else list(pair) for pair in preset.pairs]
        config = PromptConfig(mode="zero_shot", pairs=words)
    else:
        preset = replace(preset, name=f"{preset.name}, own words", reduction=reduction)
        listed: list[str | list[str]] = [list(prompts) for prompts in own.values()]
        given = check_grades(grades, len(listed[0]))
        fall = None if given is None else list(given)
        config = PromptConfig("zero_shot", scales=listed, grades=fall)
        names = list(own) if reduction == "none" else ["score"]
    fixed = preset.weights is not None
    backbone = _backbone_of(preset)
    how = (preset.reduction, backbone, preset.pos_embedding)
    return Resolved(preset, config, *how, names=names, fixed=fixed)


def _backbone_of(preset: Preset) -> str | BackboneSpec:
    if preset.weights is None:
        return preset.backbone
    # All published weights come from OpenAI's RN50, with its activation and normalisation.
    return BackboneSpec(str(preset.weights.fetch()), **OPENAI.describe())


def _check_published(preset: Preset, clip: FrozenCLIP) -> None:
    """Refuse another backbone than the one that prompts were published for."""
    weights = preset.weights
    if weights is not None and clip.fingerprint != weights.sha256:
        raise ValueError(
            f"preset {preset.name} needs the weights {weights.name} (SHA-256 {weights.sha256}); "
            f"the backbone is {clip.name} ({clip.fingerprint}): leave it out"
        )
    if weights is None and clip.name != preset.backbone:
        raise ValueError(
            f"preset {preset.name} has prompts published for {preset.backbone}; the backbone is "
            f"{clip.name}: leave it out, or give its file"
        )


def _stored_text(path: Path) -> Tensor:
    """Text features of the pairs, float32 [P, 2, D], in a file of weights."""
    stored = read_torch(path).get(STORED_TEXT)
    if not isinstance(stored, torch.Tensor) or stored.ndim != 2 or len(stored) % 2:
        raise ValueError(f"{path}: no text features of pairs in it ({STORED_TEXT})")
    return stored.detach().float().unflatten(0, (-1, 2))
