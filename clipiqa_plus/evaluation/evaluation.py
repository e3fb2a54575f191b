"""Prompts x data sets -> a score per picture, the basis of every number of a comparison."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.conventions import BackboneSpec, backbone_spec
from clipiqa_plus.clip.image_tower import PosEmbedding, position_name
from clipiqa_plus.data import progress
from clipiqa_plus.data.annotations import rating_columns
from clipiqa_plus.data.base import IQADataModule, Rows
from clipiqa_plus.evaluation.analyses.distributions import distributions, predicted_deviations
from clipiqa_plus.evaluation.analyses.gmad import gmad_pairs, shown_pairs
from clipiqa_plus.evaluation.analyses.overlap import training_overlaps
from clipiqa_plus.evaluation.comparison import (
    COLUMNS,
    WITHIN_CONTENT,
    Comparison,
    compare,
    compare_sources,
    correlations,
)
from clipiqa_plus.evaluation.coverage import measured_coverage
from clipiqa_plus.evaluation.interpolation import interpolate, pair_cosines
from clipiqa_plus.evaluation.naming import ZERO_SHOT, name_sources
from clipiqa_plus.evaluation.rank_changes import thumbnails
from clipiqa_plus.evaluation.results import NO_OVERLAP, Evaluated
from clipiqa_plus.evaluation.seen_pictures import seen_note, with_notes
from clipiqa_plus.features import FeatureCache
from clipiqa_plus.inference.conditions import score_views
from clipiqa_plus.inference.probes import (
    ProbeSource,
    Source,
    file_facts,
    is_probe,
    load_probe,
    read_facts,
    scoring_facts,
)
from clipiqa_plus.module import CLIPIQAPlus, PromptConfig, Reduction
from clipiqa_plus.prompts.files import find_prompts
from clipiqa_plus.prompts.nearest_words import nearest_words, text_cosines
from clipiqa_plus.prompts.sources import ContextPrompts

__all__ = [
    "COLUMNS",
    "ZERO_SHOT",
    "backbones",
    "compare",
    "compare_evaluated",
    "correlations",
    "describe",
    "evaluate",
    "load_sources",
    "score",
    "zero_shot_options",
]

_POSITIONS: dict[PosEmbedding, str] = {
    "none": "without positional embedding",
    "grid": "with positional embedding (grid)",
    "table": "with positional embedding (table)",
}


def load_sources(
    specs: Sequence[str],
    backbone: str | BackboneSpec | None = None,
    fallback: str | Mapping[str, Any] | BackboneSpec | None = None,
    pos_embedding: PosEmbedding | bool | None = None,
    pairs: Sequence[str | list[str]] = ("quality",),
    reduction: Reduction | None = None,
    scales: Sequence[str | list[str]] | None = None,
    grades: Sequence[float] | None = None,
) -> dict[str, Source]:
    """Load prompt sources and probes to compare.

    Args:
        specs: Each ``zero_shot``, a probe, what
            :func:`~clipiqa_plus.prompts.files.find_prompts` takes, or ``NAME=`` and one of those;
            see :func:`~clipiqa_plus.evaluation.naming.name_sources`.
        backbone: Backbone of all sources; None takes the one named in each prompt file, and for
            zero-shot that of the first prompt file.
        fallback: Backbone of zero-shot if neither is given.
        pos_embedding: Positional embedding of zero-shot without prompt files, see
            :class:`~clipiqa_plus.module.CLIPIQAPlus`.
        pairs: Antonym pairs of zero-shot.
        reduction: Reduction of zero-shot: ``mean``, or ``none`` for one score per target. None
            takes the latter for several pairs.
        scales: Scales of zero-shot in place of pairs, see
            :class:`~clipiqa_plus.prompts.config.PromptConfig`.
        grades: Grades of their prompts.

    Returns:
        The sources by name. Sources of one backbone share it.

    Raises:
        ValueError: If a source is given twice or its backbone is unknown.
        FileNotFoundError: If a prompt file does not exist.
    """
    named = name_sources(specs)
    files = {name: read_facts(spec) for name, spec in named.items() if spec != ZERO_SHOT}
    loaded: dict[tuple[BackboneSpec, PosEmbedding | bool | None], FrozenCLIP] = {}

    def clip(
        named: str | Mapping[str, Any] | BackboneSpec, position: PosEmbedding | bool | None
    ) -> FrozenCLIP:
        spec = backbone_spec(named)
        if (spec, position) not in loaded:
            loaded[spec, position] = FrozenCLIP.from_name(spec, position)
        return loaded[spec, position]

    first = next(iter(files.values()), None)
    sources: dict[str, Source] = {}
    for name, spec in named.items():
        facts = files.get(name)
        if facts is not None and is_probe(find_prompts(spec)):
            fitted_on = clip(backbone or BackboneSpec.recorded(facts), facts["pos_embedding"])
            sources[name] = load_probe(spec, fitted_on).eval()
            continue
        if facts is None:
            tower = backbone or (BackboneSpec.recorded(first) if first else fallback)
            if tower is None:
                raise ValueError("zero-shot needs a backbone: name one with --backbone, as RN50")
            position = first["pos_embedding"] if first else pos_embedding
            words: dict[str, Any] = {"pairs": list(pairs), "scales": scales, "grades": grades}
            config = PromptConfig(mode="zero_shot", **words)
            one: Reduction = "mean" if len(scales or pairs) == 1 else "none"
            reduced = reduction or one
        else:
            tower, position = backbone or BackboneSpec.recorded(facts), facts["pos_embedding"]
            config = PromptConfig(file=spec)
            reduced = facts["reduction"]
        sources[name] = CLIPIQAPlus(clip(tower, position), prompts=config, reduction=reduced).eval()
    return sources


def zero_shot_options(
    recipe: Mapping[str, Any], train: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the zero-shot options of a recipe's model section for :func:`load_sources`.

    Args:
        recipe: The recipe of the data set.
        train: The training recipe, if any; its model section takes precedence.

    Without a model section the backbone is RN50, as in the paper.
    """
    model = (train or {}).get("model") or recipe.get("model") or {}
    asked = model.get("prompts", {})
    return {
        "fallback": model.get("backbone", "RN50"),
        "pos_embedding": model.get("pos_embedding"),
        "pairs": asked.get("pairs", ["quality"]),
        "scales": asked.get("scales"),
        "grades": asked.get("grades"),
        # Zero-shot has no learned regressor: it averages the pairs.
        "reduction": "none" if model.get("reduction") == "none" else "mean",
    }


def evaluate(
    sources: Mapping[str, Source],
    data: IQADataModule,
    part: str = "test",
    device: str | torch.device = "cpu",
    cache: FeatureCache | None = None,
    pictures: int = 0,
) -> Evaluated:
    """Score a part's pictures with every source, and interpolate to each learned one.

    Each picture is encoded once per backbone.

    Args:
        sources: The sources by name.
        data: The data module; it is set up if necessary.
        part: ``train``, ``val`` or ``test``.
        device: Where to compute.
        cache: Feature cache; None encodes without saving.
        pictures: Largest number of thumbnails.

    Returns:
        Scores and facts to save, from which the page is made.

    Raises:
        RuntimeError: If a source's context tokens are random.
        ValueError: If a source does not have one score per target, or the part is empty.
    """
    features = _encoded(sources, data, part, device, cache)
    scores = _scored(sources, features, data, part)
    about = describe(sources, data, part)
    for name, source in sources.items():
        about["sources"][name] |= measured_coverage(name, source, scores)
    pairs = shown_pairs(gmad_pairs(scores, list(sources)))
    compared = pd.unique(pairs[["id_low", "id_high"]].to_numpy().ravel())
    overlap, notes = training_overlaps(sources, data, part, cache) if cache else (NO_OVERLAP, {})
    for name, note in notes.items():
        about["sources"][name]["overlap"] = note
    return Evaluated(
        scores,
        interpolate(sources, features, data.rows(part), data.targets, data.over_views),
        thumbnails(data, scores, list(sources), pictures, compared),
        about,
        overlap,
        distributions(sources, features, data, part),
    )


def score(
    sources: Mapping[str, Source],
    data: IQADataModule,
    part: str = "test",
    device: str | torch.device = "cpu",
    cache: FeatureCache | None = None,
) -> pd.DataFrame:
    """Score the pictures of a part with every source alone; see :func:`evaluate`.

    Returns:
        One row per picture and target: ``id`` (row of the annotations), ``image``, ``target``,
        ``mos`` (normalised), ``mos_raw``, ``content``, ``distortion``, ``level`` and what raters
        said where known (see :func:`~clipiqa_plus.data.annotations.rating_columns`), the score of
        each source, and the deviation that it predicts if it has three grades or more.
    """
    return _scored(sources, _encoded(sources, data, part, device, cache), data, part)


def _encoded(
    sources: Mapping[str, Source],
    data: IQADataModule,
    part: str,
    device: str | torch.device,
    cache: FeatureCache | None,
) -> dict[str, Tensor]:
    """Image features of each source's backbone; sources of one backbone share them."""
    data.setup()
    features: dict[int, Tensor] = {}
    for source in sources.values():
        source.require_learned()
        source.to(device)
        if id(source.backbone) not in features:
            features[id(source.backbone)] = _features(source.backbone, data, part, cache)
    return {name: features[id(source.backbone)] for name, source in sources.items()}


def _scored(
    sources: Mapping[str, Source],
    features: Mapping[str, Tensor],
    data: IQADataModule,
    part: str,
) -> pd.DataFrame:
    columns: dict[str, np.ndarray] = {}
    for name, source in sources.items():
        with torch.inference_mode():
            scores = score_views(source, features[name], data.over_views)
        if scores.shape[1] != len(data.targets):
            raise ValueError(
                f"{name}: {scores.shape[1]} scores for targets {', '.join(data.targets)}; "
                "give one antonym pair for each"
            )
        columns[name] = scores.double().cpu().numpy()
    columns |= predicted_deviations(sources, features, data.over_views)
    return _frame(data, data.rows(part), columns)


def _features(
    clip: FrozenCLIP, data: IQADataModule, part: str, cache: FeatureCache | None
) -> Tensor:
    """Image features of a part's pictures in order: float32 [N, V, D], on the backbone's device.

    V is the number of evaluation views, by default 1, the plain picture; never the views used in
    training, which may be random crops.
    """
    data = copy.copy(data)
    data.train_views, data.features = data.eval_views, {}
    loader = data.loader(part)
    count = data.eval_views.count or 1
    if cache is not None:
        table = cache.tables(clip, data, [part])[part]
        rows = torch.from_numpy(data.rows(part))
        views = [table(rows, torch.full_like(rows, view)) for view in range(count)]
        return torch.stack(views, dim=1)
    if count > 1:
        raise ValueError("several views of each picture need the feature cache: enable it")
    title = f"{data.title or data.name}: {part}"
    shown = progress(loader, title, len(loader))
    return torch.cat([clip.encode_image(batch["image"]) for batch in shown])[:, None]


def _frame(data: IQADataModule, rows: Rows, columns: Mapping[str, np.ndarray]) -> pd.DataFrame:
    table = data.annotations.iloc[rows]
    known = [c for c in ("image", "content", "distortion", "level") if c in table]
    frames = []
    for index, target in enumerate(data.targets):
        frame = table[known].reset_index(drop=True)
        frame.insert(0, "id", rows)
        frame["target"] = target
        frame["mos"] = data.mos[rows, index].double().numpy()
        frame["mos_raw"] = data.mos_raw[rows, index].numpy()
        for column, values in rating_columns(data.ratings, index, target).items():
            frame[column] = values[rows]
        for name, values in columns.items():
            frame[name] = values[:, index]
        if data.within_content:
            frame[WITHIN_CONTENT] = True
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def describe(sources: Mapping[str, Source], data: IQADataModule, part: str) -> dict[str, Any]:
    """Return the facts on sources and data set that the results depend on: JSON values."""
    return {
        "dataset": data.title or data.name or type(data).__name__,
        "part": part,
        "pictures": len(data.rows(part)),
        "skipped": data.skipped(part),
        "split": data.split_kind,
        "split_sha256": data.split.digest,
        "mos_range": list(data.mos_range),
        "resize": data.resize,
        **_viewed(data),
        "sources": {
            name: {
                **source.backbone.describe(),
                **scoring_facts(source),
                **file_facts(source),
                "seen": seen_note(source, data, part),
                **_inside(source),
            }
            for name, source in sources.items()
        },
    }


def _inside(source: Source) -> dict[str, Any]:
    """Nearest words and cosines of learned prompts; empty for fixed words and probes."""
    if isinstance(source, ProbeSource) or not isinstance(source.prompts, ContextPrompts):
        return {}
    return {
        "nearest_words": nearest_words(source.prompts, source.backbone),
        "text_cosines": text_cosines(source.prompts, source.backbone),
        "pair_cosines": pair_cosines(source.prompts, source.backbone).to_dict("split"),
    }


def _viewed(data: IQADataModule) -> dict[str, Any]:
    """The evaluation views, if there is more than the plain picture."""
    if data.eval_views.count == 1:
        return {}
    name = getattr(data.eval_views, "name", type(data.eval_views).__name__)
    return {"views": name, "over_views": data.over_views}


def compare_evaluated(found: Evaluated) -> Comparison:
    """Compute the tables of an evaluated data set, with notes on their limits.

    A warning names sources that are tested on pictures of their own training.
    """
    sources = found.about["sources"]
    skipped, towers = len(found.about["skipped"]), backbones(found.about)
    compared = compare_sources(found.scores, list(sources), skipped=skipped, backbones=towers)
    for name, facts in sources.items():
        if facts["seen"]:
            warnings.warn(f"{found.about['dataset']}: {name} was {facts['seen']}", stacklevel=2)
    views = found.about.get("views")
    over = f"{found.about['over_views']} over {views}, not the published score" if views else ""
    parts = {name: (facts["seen"], facts.get("overlap"), over) for name, facts in sources.items()}
    notes = {name: "; ".join(filter(None, said)) for name, said in parts.items()}
    return with_notes(compared, notes) if any(notes.values()) else compared


def backbones(about: Mapping[str, Any]) -> dict[str, str]:
    """Return the backbone of each source in words.

    Args:
        about: What :func:`describe` returned.
    """
    found = {}
    for name, facts in about["sources"].items():
        position = _POSITIONS[position_name(facts["pos_embedding"])]
        precision = "" if facts["precision"] == "fp32" else f", {facts['precision']}"
        found[name] = f"{facts['backbone']} {position}{precision}"
    return found
