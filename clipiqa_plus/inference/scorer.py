"""Scores in one line: a preset as a module that accepts pictures in any form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from os import PathLike, fspath
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from clipiqa_plus import __version__
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.conventions import BackboneSpec, backbone_spec
from clipiqa_plus.data.files import file_identity
from clipiqa_plus.features.probes import Probe
from clipiqa_plus.inference.conditions import Conditions, Pooling, pool_views
from clipiqa_plus.inference.picture_forms import Picture, picture_tensors
from clipiqa_plus.inference.presets import find_preset
from clipiqa_plus.inference.probes import ProbeSource, Source
from clipiqa_plus.inference.resolve import resolve
from clipiqa_plus.metrics.conformal import half_widths, mos_interval
from clipiqa_plus.module import Reduction
from clipiqa_plus.prompts.files import HUB, find_prompts
from clipiqa_plus.prompts.words import Words, pair_name
from clipiqa_plus.scoring import (
    fuse_cues,
    grade_deviation,
    magnitude_cue,
    mean_grades,
    scale_score,
)

# Pictures decoded and encoded at once: bounds the memory needed for a long list.
_CHUNK = 16

# Views are encoded together up to this many pixels: about 1 GB of feature maps.
_MOST_PIXELS = 8_000_000

# Scorers that `score` keeps in memory, each with its image tower: 150 MB for RN50.
_KEPT = 2


class Scorer(nn.Module):
    """A preset ready to score; created by :func:`load`.

    The text features are computed once and kept as a buffer: scoring runs only the image tower.

    Args:
        model: Backbone, prompts and reduction, or a probe.
        preset: Name of the preset.
        differentiable: Propagate gradients from the scores to the pictures, for use as a loss.
        interval: Level of the intervals in :meth:`score_columns`, such as 0.9.
        conditions: What else fixes the scores: views, cues, names, the prompt file's metadata.

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
        differentiable: bool = False,
        interval: float | None = None,
        conditions: Conditions = Conditions(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__()
        model.require_learned()
        self.backbone = model.backbone
        self.probe: Probe | None = None
        self.regressor: nn.Linear | None = None
        self.levels: Tensor | None = None
        self.count = 0  # prompts of each scale
        self.differentiable = differentiable
        self.conditions = conditions
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
            prompts = model.prompts
            self.logit_scale = prompts.logit_scale(self.backbone)
            each = [pair_name(pair) for pair in prompts.pairs]
            named = conditions.names or (each if self.reduction == "none" else ["score"])
            self.names = list(named)
            self.levels, self.count = prompts.levels, prompts.count
            asked = {"pairs": [list(pair) for pair in prompts.pairs], "reduction": self.reduction}
            if prompts.grades is not None:
                asked["grades"] = list(prompts.grades)
            if prompts.temperature != 1:
                asked["logit_scale"] = self.logit_scale
        self.interval: tuple[list[float], list[float]] | None = None
        if interval is not None:
            facts = dict(conditions.facts)
            self.interval = half_widths(facts, interval, "it"), facts["intervals"]["scale"]
            asked["interval"] = interval
        self.columns = list(self.names)
        if self.text is not None and self.text.ndim == 4:
            self.columns += _columns_of(self.names, ["spread"])
        if self.gives_deviation:
            self.columns += _columns_of(self.names, ["deviation"])
        if self.interval is not None:
            self.columns += _columns_of(self.names, ["mos_low", "mos_high"])
        self.settings: dict[str, Any] = {
            "preset": preset,
            **self.backbone.describe(),
            "resize": None,
            **asked,
            "prompts_sha256": conditions.prompts_sha256,
            **conditions.settings,
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
        with torch.set_grad_enabled(self.differentiable and torch.is_grad_enabled()):
            scores, _ = self._image_scores(images)
        return scores if scores.ndim == 2 else scores.mean(dim=0)

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
            standard deviation of each over the members; for scales of three prompts or more, the
            deviation of single ratings that the prompts predict, on [0, 1]; with ``interval``, both
            ends of an interval for each, on the MOS scale of the training data.
        """
        with torch.no_grad():
            members, grades = self._image_scores(images, self.gives_deviation)
            scores = members if members.ndim == 2 else members.mean(dim=0)
            columns = [scores]
            if members.ndim == 3:
                columns.append(members.std(dim=0))
            if grades is not None:
                columns.append(grade_deviation(grades, self.levels))
            if self.interval is not None:
                ends = mos_interval(scores, *self.interval)
                columns.append(torch.stack(ends, dim=-1).flatten(1))
            return torch.cat(columns, dim=1)

    @property
    def least_size(self) -> int:
        """Smallest side in pixels of a picture that can be scored."""
        least, views = self.backbone.least_size, self.conditions.views
        return least if views is None else views.least_size(least)

    @property
    def gives_deviation(self) -> bool:
        """Whether the scores are the means of distributions over three grades or more."""
        how = self.conditions
        plain = how.cue == "cosine" and (how.views is None or how.pooling == "mean")
        return self.count > 2 and self.regressor is None and plain

    def _image_scores(
        self, images: Tensor | Sequence[Tensor], graded: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Scores of pictures, or of their views pooled, and their distributions over grades.

        Args:
            images: The pictures.
            graded: Also return the distributions.

        Returns:
            Scores [B, T], or [M, B, T] of the members of an ensemble; and probabilities [B, T, K],
            worst grade first, or None.
        """
        views = self.conditions.views
        if views is None:
            features = self.backbone.encode_image(images, self.differentiable)
            return self._scores(features), self._grades(features) if graded else None
        each = [views(image) for image in images]
        features = self._encode([view for picture in each for view in picture])
        sizes = [len(picture) for picture in each]
        parts = self._scores(features).split(sizes, dim=-2)
        scores = torch.stack([pool_views(part, self.conditions.pooling) for part in parts], dim=-2)
        if not graded:
            return scores, None
        pooled = [part.mean(dim=0) for part in self._grades(features).split(sizes)]
        return scores, torch.stack(pooled)

    def _grades(self, features: Tensor) -> Tensor:
        """Probabilities [B, T, K], worst grade first."""
        assert self.text is not None
        return mean_grades(features, self.text, self.logit_scale, self.reduction == "mean")

    def _encode(self, views: Sequence[Tensor]) -> Tensor:
        """Features [V, D] of many views, a bounded number of pixels at a time."""
        features, start = [], 0
        while start < len(views):
            most = max(1, _MOST_PIXELS // views[start][0].numel())
            chunk = views[start : start + most]
            features.append(self.backbone.encode_image(chunk, self.differentiable))
            start += most
        return torch.cat(features)

    def _scores(self, features: Tensor) -> Tensor:
        """Scores [B, T], or [M, B, T] of the members of an ensemble."""
        if self.probe is not None:
            return cast(Tensor, self.probe(features))
        assert self.text is not None
        scores = scale_score(features, self.text, self.logit_scale, self.levels)
        if self.regressor is not None:
            return cast(Tensor, self.regressor(scores))
        scores = scores if self.reduction == "none" else scores.mean(dim=-1, keepdim=True)
        if self.conditions.cue == "magnitude":
            scores = fuse_cues(scores, magnitude_cue(features)[:, None])
        return scores


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
    views: str | None = None,
    over_views: Pooling = "mean",
    scales: Words | None = None,
    grades: Sequence[float] | None = None,
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
        views: Score these views of a picture in its place, which is not the published score: one of
            :data:`~clipiqa_plus.data.transforms.EVALUATION_VIEWS`.
        over_views: From the scores of the views to the picture's: their mean or median.
        scales: Your own scales in place of pairs, each a built-in name or prompts, that of the best
            grade first; or a mapping from names of scores to scales.
        grades: Grades of their prompts, in [0, 1] and falling; None spaces them evenly, 1 to 0.

    Raises:
        ValueError: If the preset is unknown; prompts, words, views or backbone do not match it; or
            the prompt file has no interval at this level.
        FileNotFoundError: If a file does not exist, or weights cannot be downloaded.
    """
    found = resolve(find_preset(preset), prompts, pairs, reduction, scales, grades)
    if views is not None:
        if interval is not None or differentiable:
            raise ValueError("views go neither with intervals nor with gradients to the pictures")
        found = found.over_views(views, over_views)
    if interval is not None:
        half_widths(dict(found.facts), interval, str(prompts or f"preset {preset}"))
    if isinstance(backbone, FrozenCLIP) and image_only:
        raise ValueError("image_only would remove the text tower of a shared backbone")
    clip = found.load_backbone(backbone)
    if device is None and isinstance(backbone, FrozenCLIP):
        device = clip.device
    model = found.model(clip).to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    scorer = Scorer(model, found.preset.name, differentiable, interval, found.conditions).eval()
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
    views: str | None = None,
    scales: Words | None = None,
    grades: Sequence[float] | None = None,
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
        views: See :func:`load`.
        scales: See :func:`load`.
        grades: See :func:`load`.

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
    files = file_identity(source), file_identity(weights)
    own = [dict(words) if isinstance(words, Mapping) else words for words in (pairs, scales)]
    words = json.dumps([*own, None if grades is None else list(grades)])
    scorer = _loaded(preset, source, backbone, device, files, words, views)
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
    words: str,
    views: str | None,
) -> Scorer:
    pairs, scales, grades = json.loads(words)
    own: Any = {"pairs": pairs, "scales": scales, "grades": grades, "views": views}
    return load(preset, prompts, backbone, device, image_only=True, **own)


def _columns_of(names: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Column names for each score, prefixed by its name if there are several scores."""
    return [c if len(names) == 1 else f"{name} {c}" for name in names for c in columns]
