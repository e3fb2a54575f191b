"""Interpolation from zero-shot to learned text features, and the scores along it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import normalize

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.evaluation.comparison import WITHIN_CONTENT, rank_correlation
from clipiqa_plus.inference.conditions import Pooling, score_views
from clipiqa_plus.inference.probes import ProbeSource, Source
from clipiqa_plus.prompts.sources import ContextPrompts

THIRDS = ("lowest", "middle", "highest")
"""Thirds of the pictures by MOS."""
STEPS = 20
"""Number of interpolation steps."""


def between(prompts: ContextPrompts, clip: FrozenCLIP, steps: int = STEPS) -> dict[float, Tensor]:
    """Interpolate text features from the fixed words to the learned prompts.

    Args:
        prompts: Learned context tokens.
        clip: The backbone they were learned on.
        steps: Parts of the line.

    Returns:
        Unit text features [P, K, D], or [M, P, K, D] of an ensemble, by weight from 0 (zero-shot)
        to 1 (learned): the weighted mean of both, normalised.
    """
    with torch.inference_mode():
        fixed = prompts.in_words(clip)(clip)
        learned = prompts(clip)
        weights = [i / steps for i in range(steps + 1)]
        return {w: normalize((1 - w) * fixed + w * learned, dim=-1) for w in weights}


def pair_cosines(prompts: ContextPrompts, clip: FrozenCLIP, steps: int = 4) -> pd.DataFrame:
    """Cosine of the best and the worst prompt of each pair or scale along the interpolation.

    Args:
        prompts: Learned context tokens.
        clip: The backbone they were learned on.
        steps: Parts of the line.

    Returns:
        One row per pair or scale, one column per weight.
    """
    found = {}
    for weight, text in between(prompts, clip, steps).items():
        cosines = (text[..., 0, :] * text[..., -1, :]).sum(-1)  # [(M,) P]
        found[weight] = cosines.reshape(-1, len(prompts.pairs)).mean(dim=0).tolist()
    return pd.DataFrame(found, index=[" / ".join(pair) for pair in prompts.pairs])


def interpolate(
    sources: Mapping[str, Source],
    features: Mapping[str, Tensor],
    ids: ArrayLike,
    targets: Sequence[str],
    over_views: Pooling = "mean",
) -> pd.DataFrame:
    """Score pictures along the interpolation to every learned source.

    Args:
        sources: The sources by name.
        features: Image features of each source's backbone: [N, D], or [N, V, D] of V views.
        ids: Id of each picture.
        targets: The targets in order.
        over_views: From the scores of the views to the picture's.

    Returns:
        ``source``, ``target``, ``weight``, ``id`` and ``score`` (float32).
    """
    frames = []
    for name, source in sources.items():
        if isinstance(source, ProbeSource) or not isinstance(source.prompts, ContextPrompts):
            continue
        for weight, text in between(source.prompts, source.backbone).items():
            with torch.inference_mode():
                scored = score_views(source, features[name], over_views, text)
            scores = scored.float().cpu().numpy()
            for column, target in enumerate(targets):
                keys = {"source": name, "target": target, "weight": weight}
                frames.append(pd.DataFrame({**keys, "id": ids, "score": scores[:, column]}))
    empty = pd.DataFrame(columns=["source", "target", "weight", "id", "score"])
    return pd.concat(frames, ignore_index=True) if frames else empty


def along(interpolated: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Summarise the scores along the interpolation.

    Args:
        interpolated: Rows of :func:`interpolate` for one target.
        scores: Scores per picture of that target.

    Returns:
        A row for each source and weight: ``source``, ``weight``, ``SRCC`` (the median
        over contents if scores are comparable only within them; NaN for constant scores) and the
        mean score of the ``lowest``, ``middle`` and ``highest`` third of the pictures by MOS.
    """
    mos = scores.set_index("id")["mos"]
    third = pd.Series((mos.rank(method="first") - 1) * 3 // len(mos), dtype=int)
    groups = scores.set_index("id")["content"] if WITHIN_CONTENT in scores else third * 0
    rows = []
    for (source, weight), part in interpolated.groupby(["source", "weight"], sort=False):
        score = part.set_index("id")["score"]
        values = [rank_correlation(score[g.index], mos[g.index]) for _, g in groups.groupby(groups)]
        row = {"source": source, "weight": weight, "SRCC": pd.Series(values).median()}
        means = score.groupby(third).mean()
        rows.append(row | {name: means.get(i, np.nan) for i, name in enumerate(THIRDS)})
    return pd.DataFrame(rows, columns=["source", "weight", "SRCC", *THIRDS])
