"""How close predicted distributions over grades are to those of the raters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipiqa_plus.data.annotations import rating_columns
from clipiqa_plus.data.base import IQADataModule
from clipiqa_plus.inference.conditions import Pooling
from clipiqa_plus.inference.probes import ProbeSource, Source
from clipiqa_plus.metrics.distributions import earth_movers_distance, js_divergence
from clipiqa_plus.metrics.functional import srcc
from clipiqa_plus.scoring import grade_deviation

COLUMNS = (
    *("target", "prompts", "grades", "EMD", "JS"),
    *("std", "std_raters", "std_SRCC", "std_RMSE", "n"),
)
Floats = NDArray[np.float64]


def graded(source: Source, features: Tensor, pooling: Pooling = "mean") -> Tensor | None:
    """Return the distributions over grades whose means are a source's scores.

    Args:
        source: The source.
        features: Features of the pictures' views, float32 [N, V, D].
        pooling: From the scores of the views to the picture's.

    Returns:
        float64 [N, T, K] on the CPU, worst grade first; None for a probe, a regressor, or a median
        over views, whose scores are not the means of distributions.
    """
    if isinstance(source, ProbeSource) or source.regressor is not None:
        return None
    if features.shape[1] > 1 and pooling != "mean":
        return None
    with torch.inference_mode():
        grades = source.grade_features(features.flatten(0, 1))
    return grades.unflatten(0, features.shape[:2]).double().mean(dim=1).cpu()


def predicted_deviations(
    sources: Mapping[str, Source], features: Mapping[str, Tensor], pooling: Pooling
) -> dict[str, Floats]:
    """Return the deviations of single ratings that scales of three prompts or more predict.

    Args:
        sources: The sources by name.
        features: Features of the pictures' views, float32 [N, V, D], by the name of the source.
        pooling: From the scores of the views to the picture's.

    Returns:
        [N, T] on the scale of the normalised MOS, by ``<source> deviation``.
    """
    found = {}
    for name, source in sources.items():
        grades = graded(source, features[name], pooling)
        if grades is not None and grades.shape[-1] > 2:
            assert not isinstance(source, ProbeSource)
            deviation = grade_deviation(grades, source.prompts.levels)
            found[f"{name} deviation"] = deviation.numpy()
    return found


def distributions(
    sources: Mapping[str, Source], features: Mapping[str, Tensor], data: IQADataModule, part: str
) -> pd.DataFrame:
    """Compare the distributions over grades of every source with those of the raters.

    Args:
        sources: The sources by name.
        features: Features of the pictures' views, float32 [N, V, D], by the name of the source.
        data: The data set, set up.
        part: ``train``, ``val`` or ``test``.

    Returns:
        One row per target and source, of the pictures whose ratings are known, see
        :data:`COLUMNS`: ``grades``, their number K; where the raters' counts are known ``EMD``, the
        mean earth mover's distance on a scale of 0 to 1, and for as many grades ``JS``, the mean
        Jensen-Shannon divergence in bits; where their deviations are known the means of predicted
        and known ones, ``std`` and ``std_raters``, and SRCC and RMSE between them; ``n`` pictures.
        Empty if neither is known.
    """
    rows, table = data.rows(part), []
    for index, target in enumerate(data.targets):
        known = rating_columns(data.ratings, index, target)
        raters = {name: values[rows] for name, values in known.items()}
        for name, source in sources.items():
            grades = graded(source, features[name], data.over_views)
            if grades is not None:
                assert not isinstance(source, ProbeSource)
                numbers = _compared(grades[:, index], source.prompts.levels, raters)
                table.append({"target": target, "prompts": name, **numbers})
    found = pd.DataFrame(table, columns=list(COLUMNS))
    return found[found["n"] > 0].reset_index(drop=True)


def _compared(
    grades: Tensor, levels: Tensor | None, raters: Mapping[str, Floats]
) -> dict[str, float]:
    """The numbers of one row."""
    numbers: dict[str, float] = {"grades": grades.shape[1], "n": 0}
    names = [name for name in raters if name.startswith("count_")]
    if names:
        counts = np.stack([raters[name] for name in names], axis=1)
        there = np.isfinite(counts).all(axis=1)
        theirs = counts[there]
        ours: Floats = grades.numpy()[there]
        numbers["n"] = len(theirs)
        if there.any():
            places = None if levels is None else levels.numpy()
            numbers["EMD"] = float(earth_movers_distance(ours, theirs, places).mean())
            if ours.shape == theirs.shape and levels is None:
                numbers["JS"] = float(js_divergence(ours, theirs).mean())
    std = raters.get("mos_std", np.array([]))
    there = np.isfinite(std)
    if there.any():
        deviations: Floats = grade_deviation(grades, levels).numpy()
        ours, theirs = deviations[there], std[there]
        numbers |= {"n": int(there.sum()), "std": ours.mean(), "std_raters": theirs.mean()}
        numbers["std_RMSE"] = float(np.sqrt(np.square(ours - theirs).mean()))
        if len(np.unique(theirs)) > 1:
            numbers["std_SRCC"] = float(srcc(torch.from_numpy(ours), torch.from_numpy(theirs)))
    return numbers


def distribution_lines(table: pd.DataFrame) -> list[str]:
    """Return a line for each source of three grades or more that was compared with the raters.

    Args:
        table: See :func:`distributions`, with a column ``data``.
    """
    lines = []
    for row in table.to_dict("records"):
        if row["grades"] < 3:  # the distribution of a pair is another form of its score
            continue
        parts = [f"{key} {row[key]:.3f}" for key in ("EMD", "JS") if _there(row[key])]
        if _there(row["std"]):
            parts.append(f"deviation {row['std']:.3f} (raters {row['std_raters']:.3f})")
        if _there(row["std_SRCC"]):
            parts.append(f"SRCC of deviations {row['std_SRCC']:.3f}")
        about = f"{row['data']} ({row['target']}): {row['prompts']}, {row['grades']} grades"
        lines.append(f"{about}, against the raters: {', '.join(parts)}")
    return lines


def _there(value: Any) -> bool:
    return not pd.isna(value)
