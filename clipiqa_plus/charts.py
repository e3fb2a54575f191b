"""Charts of the report: Vega-Lite specifications with their data, and what they say in words."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from clipiqa_plus.comparison import correlations
from clipiqa_plus.metrics import logistic_mapping

MOST_POINTS = 2_000
"""Most points of a chart; of more pictures an even share is drawn, which the page says."""


def source_charts(
    name: str, target: str, scores: pd.DataFrame, sources: Sequence[str]
) -> list[dict[str, Any]]:
    """Draw for each source score against MOS, and the residuals of the logistic mapping.

    Args:
        name: Name of the data set.
        target: The target.
        scores: Scores per picture of this target.
        sources: Names of the sources.

    Returns:
        Charts with ``id``, ``data``, ``caption``, ``alt`` and ``spec``; without a logistic mapping
        a source has no residuals.
    """
    mos = scores["mos"].to_numpy()
    shown = np.unique(np.linspace(0, len(scores) - 1, MOST_POINTS).round().astype(int))
    charts = []
    for source in sources:
        mapped = _mapped(scores[source].to_numpy(), mos)
        points = pd.DataFrame(
            {
                "id": scores["id"],
                "image": scores["image"] if "image" in scores else scores["id"],
                "MOS": mos.round(4),
                "score": scores[source].round(4),
                "mapped": mapped.round(4),
                "residual": (mos - mapped).round(4),
            }
        ).iloc[shown]
        label = f"{len(shown)} of {len(scores)} pictures, {source} on {name} ({target})"
        found = correlations(scores[source], mos)
        charts.append(
            {
                "caption": f"{source}: score against MOS",
                "spec": scatter(points, "score", "MOS", _curve(points)),
                "alt": f"Score against MOS, {label}. SRCC {number(found['SRCC'])}, "
                f"PLCC {number(found['PLCC'])}.",
            }
        )
        if not np.isnan(mapped).any():
            charts.append(
                {
                    "caption": f"{source}: what the logistic curve leaves",
                    "spec": scatter(points, "mapped", "residual", None),
                    "alt": f"MOS less mapped score against mapped score, {label}. "
                    f"RMSE {number(found['RMSE_logistic'])}.",
                }
            )
    for index, chart in enumerate(charts):
        chart |= {"id": f"{name}-{target}-{index}", "data": name}
    return charts


def scatter(
    points: pd.DataFrame, x: str, y: str, curve: list[dict[str, float]] | None
) -> dict[str, Any]:
    """Return a Vega-Lite chart of pictures, as wide as its container.

    Args:
        points: ``id``, ``image``, ``MOS``, ``score`` and the columns drawn.
        x: Column of the horizontal axis.
        y: Column of the vertical axis.
        curve: Points of a line above them, or None for the line y = 0.
    """

    def axis(name: str) -> dict[str, Any]:
        return {"field": name, "type": "quantitative", "title": name, "scale": {"zero": False}}

    tip = [{"field": f, "type": "nominal"} for f in ("image", "MOS", "score", "id")]
    rule: dict[str, Any] = {
        "data": {"values": [{y: 0}]},
        "mark": {"type": "rule", "color": "#e45756"},
        "encoding": {"y": axis(y)},
    }
    line: dict[str, Any] = {
        "data": {"values": curve},
        "mark": {"type": "line", "color": "#e45756", "strokeWidth": 2, "tooltip": None},
        "encoding": {"x": axis(x), "y": axis(y)},
    }
    dots = {
        "data": {"values": json.loads(points.to_json(orient="records"))},
        "mark": {"type": "circle", "size": 34, "opacity": 0.55, "color": "#4c78a8"},
        "encoding": {"x": axis(x), "y": axis(y), "tooltip": tip},
    }
    over = [rule] if curve is None else [line] if curve else []
    return {"width": "container", "height": 260, "background": None, "layer": [dots, *over]}


def _mapped(prediction: np.ndarray, mos: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not exist here")  # the notes say it
        return logistic_mapping(torch.tensor(prediction), torch.tensor(mos)).numpy()


def _curve(points: pd.DataFrame) -> list[dict[str, float]]:
    """The fitted logistic at up to 100 scores in order; empty without a fit."""
    fitted = points.dropna(subset="mapped").sort_values("score")
    if fitted.empty:
        return []
    at = np.unique(np.linspace(0, len(fitted) - 1, 100).round().astype(int))
    return [{"score": float(r.score), "MOS": float(r.mapped)} for r in fitted.iloc[at].itertuples()]


def number(value: float) -> str:
    """Return a metric as text; a dash where it does not exist."""
    return "-" if math.isnan(value) else f"{value:.3f}"
