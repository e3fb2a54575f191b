"""Charts with a point per picture: Vega-Lite specifications and text alternatives."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from clipiqa_plus.evaluation.comparison import correlations
from clipiqa_plus.metrics.functional import logistic_mapping

MOST_POINTS = 2_000
"""Most points of a chart; more pictures are thinned evenly, as the page states."""
MOST_BINS, FEWEST_IN_BIN = 10, 5
"""Most bins of a calibration chart, and fewest pictures in a bin."""
POINTS = "points"
"""Name of the table of pictures that the charts of one data set and target share."""
PALETTE = (
    *("#5089c6", "#f58518", "#54a24b", "#e45756", "#72b7b2"),
    *("#b279a2", "#ff9da6", "#9d755d", "#bab0ac", "#d4a72c"),
)
"""Colours of the sources in order, readable on white and on black."""
INK = "currentColor"
"""Colour of the text around a chart, in light and in dark."""


class Chart(NamedTuple):
    """A chart of the page."""

    caption: str
    alt: str
    """Its text alternative, in words and numbers."""
    spec: dict[str, Any]
    """Vega-Lite; data named :data:`POINTS` is the shared table of pictures."""
    note: str = ""
    """How to read it."""


def picture_table(scores: pd.DataFrame, sources: Sequence[str]) -> pd.DataFrame:
    """Return the data of the charts of one data set and target.

    Args:
        scores: Scores per picture of this target.
        sources: Names of the sources.

    Returns:
        ``id``, ``image``, ``MOS``, and for source i the score ``s<i>`` and ``m<i>``, the score
        after the logistic mapping (NaN without one).
    """
    mos = scores["mos"].to_numpy()
    table = pd.DataFrame({"id": scores["id"]})
    table["image"] = scores["image"] if "image" in scores else scores["id"].astype(str)
    table["MOS"] = mos
    for index, source in enumerate(sources):
        score = scores[source].to_numpy()
        table[f"s{index}"] = score
        table[f"m{index}"] = _mapped(score, mos)
    return table


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return at most :data:`MOST_POINTS` evenly spaced rows, rounded to 4 digits."""
    return table.iloc[_even(len(table), MOST_POINTS)].round(4)


def picture_charts(where: str, table: pd.DataFrame, sources: Sequence[str]) -> list[Chart]:
    """Draw score against MOS, residuals after the logistic mapping, and calibration.

    Args:
        where: Name of the data set and target, for the text.
        table: See :func:`picture_table`.
        sources: Names of the sources.

    Returns:
        Score against MOS of each source; calibration of the sources whose scores are not constant;
        residuals after the logistic fit, where there is one.
    """
    scatters, residuals = [], []
    drawn = len(shown(table))
    for index, source in enumerate(sources):
        found = correlations(table[f"s{index}"], table["MOS"])
        label = f"{drawn} of {len(table)} pictures, {source} on {where}"
        colour = PALETTE[index % len(PALETTE)]
        summary = f"SRCC {number(found['SRCC'])}, PLCC {number(found['PLCC'])}"
        scatters.append(
            Chart(
                f"{source}: score against MOS",
                f"Score against MOS, {label}. {summary}.",
                _scatter(index, colour, _curve(table, index)),
            )
        )
        if table[f"m{index}"].notna().all():
            residuals.append(
                Chart(
                    f"{source}: residuals after the logistic fit",
                    f"MOS less mapped score against mapped score, {label}. "
                    f"RMSE {number(found['RMSE_logistic'])}.",
                    _residuals(index, colour),
                )
            )
    bins = calibration(table, sources)
    calibrated = [_calibration(where, bins, sources)] if len(bins) else []
    return [*scatters, *calibrated, *residuals]


def calibration(table: pd.DataFrame, sources: Sequence[str]) -> pd.DataFrame:
    """Mean MOS within bins of equally many pictures, ordered by score.

    Where score and MOS share a scale, a bin's mean MOS is its mean score; no mapping is fitted.

    Args:
        table: See :func:`picture_table`.
        sources: Names of the sources.

    Returns:
        One row per source and bin: ``source``, ``score`` and ``MOS`` (means), ``low`` and ``high``
        (quartiles of MOS), ``n``; no rows for a source with constant scores.
    """
    count = min(MOST_BINS, len(table) // FEWEST_IN_BIN)
    rows = []
    for index, source in enumerate(sources):
        score = table[f"s{index}"]
        if count < 2 or score.nunique() < 2:
            continue
        order = np.argsort(score.to_numpy(), kind="stable")
        for part in np.array_split(order, count):
            mos = table["MOS"].iloc[part]
            low, high = mos.quantile([0.25, 0.75])
            row = {"source": source, "score": score.iloc[part].mean(), "MOS": mos.mean()}
            rows.append(row | {"low": low, "high": high, "n": len(part)})
    return pd.DataFrame(rows).round(4)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values; NaN becomes None."""
    return list(json.loads(table.to_json(orient="records")))


def axis(field: str, title: str, **scale: Any) -> dict[str, Any]:
    """Return a quantitative axis that need not begin at 0."""
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "scale": {"zero": False, **scale},
    }


def by_source(sources: Sequence[str], drawn: Sequence[str] | None = None) -> dict[str, Any]:
    """Return colour and shape of each source, with one legend below the chart.

    Args:
        sources: All sources; each keeps its colour on the whole page.
        drawn: Sources in the legend; None takes all.
    """
    legend = {
        "orient": "bottom",
        "columns": 1,
        "labelLimit": 320,
        "title": None,
        "symbolOpacity": 1,
        "values": list(sources if drawn is None else drawn),
    }
    colours = [PALETTE[i % len(PALETTE)] for i in range(len(sources))]
    shared = {"field": "source", "type": "nominal", "sort": list(sources), "legend": legend}
    return {
        "color": {**shared, "scale": {"domain": list(sources), "range": colours}},
        "shape": {**shared, "scale": {"domain": list(sources)}},
    }


def tips(**fields: str) -> list[dict[str, Any]]:
    """Return a tooltip: titles by field, numbers with three digits."""
    numeric = {"type": "quantitative", "format": ".3f"}
    return [
        {"field": field, "title": title, **({"type": "nominal"} if field == "source" else numeric)}
        for field, title in fields.items()
    ]


def number(value: float) -> str:
    """Return a metric as text; a dash where it does not exist."""
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _dots(index: int, colour: str, x: dict[str, Any], y: dict[str, Any]) -> dict[str, Any]:
    tip = [{"field": f, "type": "nominal"} for f in ("image", "MOS", "id")]
    tip.append({"field": f"s{index}", "type": "nominal", "title": "score"})
    return {
        "data": {"name": POINTS},
        "mark": {"type": "circle", "size": 34, "opacity": 0.6, "color": colour},
        "encoding": {"x": x, "y": y, "tooltip": tip},
    }


def _scatter(index: int, colour: str, curve: list[dict[str, float]]) -> dict[str, Any]:
    x, y = axis(f"s{index}", "score"), axis("MOS", "MOS")
    line = {
        "data": {"values": curve},
        "mark": {"type": "line", "color": INK, "strokeWidth": 2, "tooltip": None},
        "encoding": {"x": x, "y": y},
    }
    return _framed([_dots(index, colour, x, y), *([line] if curve else [])])


def _residuals(index: int, colour: str) -> dict[str, Any]:
    x, y = axis(f"m{index}", "mapped score"), axis("residual", "MOS less mapped score")
    dots = _dots(index, colour, x, y)
    dots["transform"] = [{"calculate": f"datum.MOS - datum.m{index}", "as": "residual"}]
    zero = {
        "data": {"values": [{"residual": 0}]},
        "mark": {"type": "rule", "color": INK, "strokeWidth": 2},
        "encoding": {"y": y},
    }
    return _framed([dots, zero])


def _calibration(where: str, bins: pd.DataFrame, sources: Sequence[str]) -> Chart:
    ends = [float(bins[["score", "low"]].min().min()), float(bins[["score", "high"]].max().max())]
    x, y = axis("score", "mean score of a bin"), axis("MOS", "mean MOS of a bin")
    colour = by_source(sources)
    same = {
        "data": {"values": [{"score": end, "MOS": end} for end in ends]},
        "mark": {"type": "line", "color": INK, "strokeDash": [4, 4], "tooltip": None},
        "encoding": {"x": x, "y": y},
    }
    drawn = {"data": {"values": records(bins)}}
    spread = {
        "mark": {"type": "rule", "opacity": 0.5},
        "encoding": {
            "x": x,
            "y": {**y, "field": "low"},
            "y2": {"field": "high"},
            "color": colour["color"],
        },
    }
    tip = tips(source="source", score="mean score", MOS="mean MOS", low="from", high="to")
    tip.append({"field": "n", "type": "quantitative", "title": "pictures"})
    dots = {
        "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
        "encoding": {"x": x, "y": y, **colour, "tooltip": tip},
    }
    line = {"mark": {"type": "line"}, "encoding": {"x": x, "y": y, "color": colour["color"]}}
    gaps = (bins["MOS"] - bins["score"]).abs().groupby(bins["source"], sort=False).mean()
    summary = ", ".join(f"{source} {gap:.3f}" for source, gap in gaps.items())
    return Chart(
        "Calibration: mean MOS by score",
        f"Calibration on {where}, bins of about {bins['n'].median():.0f} pictures. "
        f"Mean distance of score and MOS: {summary}.",
        _framed([same, *({**drawn, **layer} for layer in (spread, line, dots))]),
        "Bins of equally many pictures. Bars: the middle half of their MOS. Dashed: score is MOS.",
    )


def _framed(layers: list[dict[str, Any]], height: int = 260) -> dict[str, Any]:
    """A chart as wide as its container."""
    return {"width": "container", "height": height, "background": None, "layer": layers}


def _mapped(prediction: NDArray[np.float64], mos: NDArray[np.float64]) -> NDArray[np.float64]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is undefined and set to NaN")  # see the notes
        mapped: NDArray[np.float64] = logistic_mapping(
            torch.tensor(prediction), torch.tensor(mos)
        ).numpy()
    return mapped


def _curve(table: pd.DataFrame, index: int) -> list[dict[str, float]]:
    """The fitted logistic at up to 100 sorted scores; empty without a fit."""
    fitted = table[[f"s{index}", f"m{index}"]].dropna().sort_values(f"s{index}")
    fitted = fitted.iloc[_even(len(fitted), 100)].round(4)
    return records(fitted.set_axis([f"s{index}", "MOS"], axis=1))


def _even(n: int, most: int) -> NDArray[np.int64]:
    """Indices of up to ``most`` evenly spaced rows of n."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))
