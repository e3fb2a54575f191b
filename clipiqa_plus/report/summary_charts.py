"""Charts of whole data sets: cross-set, attributes, interpolation from zero-shot, training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clipiqa_plus.evaluation.interpolation import THIRDS
from clipiqa_plus.report.picture_charts import INK, Chart, axis, by_source, number, records, tips

FEWEST_SPOKES, MOST_SPOKES = 3, 16
"""A radar with two spokes is a line; with many it is unreadable."""
_MOST_STEPS = 300  # points of a training curve


def heatmap(matrix: pd.DataFrame) -> Chart:
    """Draw SRCC of every source on every data set.

    Args:
        matrix: See :func:`~clipiqa_plus.evaluation.results.cross_set`.
    """
    cells = matrix.melt("prompts", var_name="data", value_name="SRCC")
    cells["text"] = [number(value) for value in cells["SRCC"]]
    order = {"sort": None, "type": "nominal"}
    x = {"field": "data", "title": None, "axis": {"labelAngle": -35, "labelLimit": 140}, **order}
    y = {"field": "prompts", "title": None, "axis": {"labelLimit": 150}, **order}
    scale = {"scheme": "viridis", "domain": [0, 1], "clamp": True}
    fill = {
        "field": "SRCC",
        "type": "quantitative",
        "scale": scale,
        "legend": {"orient": "bottom", "gradientLength": 160},
    }
    light = "datum.SRCC !== null && datum.SRCC > 0.6"  # viridis is light there
    text = {"condition": {"test": light, "value": "#000"}, "value": "#fff"}
    tip = [{"field": f, "type": "nominal"} for f in ("prompts", "data")]
    tip.append({"field": "text", "type": "nominal", "title": "SRCC"})
    shared = {"x": x, "y": y, "tooltip": tip}
    layers = [
        {"mark": {"type": "rect", "invalid": None}, "encoding": {**shared, "color": fill}},
        {
            "mark": {"type": "text", "fontSize": 12},
            "encoding": {**shared, "text": {"field": "text"}, "color": text},
        },
    ]
    summary = "; ".join(
        f"{source}: " + ", ".join(f"{row.data} {row.text}" for row in group.itertuples())
        for source, group in cells.groupby("prompts", sort=False)
    )
    spec = {
        "width": "container",
        "height": 34 * len(matrix),
        "background": None,
        "data": {"values": records(cells)},
        "layer": layers,
    }
    return Chart("SRCC of each source on each data set", f"SRCC. {summary}.", spec)


def radar(title: str, spokes: Sequence[str], values: pd.DataFrame) -> Chart:
    """Draw SRCC on several spokes, a polygon for each source.

    Args:
        title: What the spokes are.
        spokes: Their names, at least :data:`FEWEST_SPOKES`.
        values: SRCC: a row for each spoke, a column for each source. The centre is 0, or the
            lowest value rounded down to a tenth.
    """
    sources = list(values.columns)
    least = min(0.0, np.floor(np.nanmin(values.to_numpy()) * 10) / 10)
    angles = 2 * np.pi * np.arange(len(spokes)) / len(spokes)

    def ring(radii: NDArray[np.float64] | float) -> pd.DataFrame:
        scaled = (radii - least) / (1 - least) * np.ones(len(spokes))
        return pd.DataFrame({"x": scaled * np.sin(angles), "y": scaled * np.cos(angles)})

    def closed(table: pd.DataFrame) -> pd.DataFrame:
        table = table.assign(order=range(len(table)))
        return pd.concat([table, table[:1].assign(order=len(table))], ignore_index=True)

    polygons = pd.concat(
        [
            closed(ring(values[s].fillna(least).to_numpy())).assign(
                source=s,
                spoke=[*spokes, spokes[0]],
                SRCC=[number(v) for v in [*values[s], values[s].iloc[0]]],
            )
            for s in sources
        ],
        ignore_index=True,
    )
    marks = [v for v in (-1.0, -0.5, 0.0, 0.5, 1.0) if v >= least]
    web = pd.concat([closed(ring(v)).assign(ring=v) for v in marks], ignore_index=True)
    names = (ring(1.0) * 1.12).assign(text=[name.replace("_", "\n") for name in spokes])
    ticks = pd.DataFrame({"x": 0.03, "y": [(v - least) / (1 - least) for v in marks]})
    ticks["text"] = [f"{v:.1f}" for v in marks]
    place = {
        name: {
            "field": name,
            "type": "quantitative",
            "axis": None,
            "scale": {"domain": [-1.6, 1.6] if name == "x" else [-1.4, 1.4]},
        }
        for name in ("x", "y")
    }
    colour = by_source(sources)
    tip = [{"field": f, "type": "nominal"} for f in ("source", "spoke", "SRCC")]
    line = {"type": "line", "tooltip": None}

    def texts(table: pd.DataFrame, align: str, size: int) -> dict[str, Any]:
        return {
            "data": {"values": records(table.round(4))},
            "mark": {
                "type": "text",
                "align": align,
                "baseline": "middle",
                "fill": INK,
                "fontSize": size,
                "lineBreak": "\n",
            },
            "encoding": {**place, "text": {"field": "text"}},
        }

    layers = [
        {
            "data": {"values": records(web.round(4))},
            "mark": {**line, "color": INK, "opacity": 0.25, "strokeWidth": 1},
            "encoding": {**place, "order": {"field": "order"}, "detail": {"field": "ring"}},
        },
        {
            "data": {"values": records(polygons.round(4))},
            "mark": {**line, "strokeWidth": 2},
            "encoding": {**place, "order": {"field": "order"}, "color": colour["color"]},
        },
        {
            "data": {"values": records(polygons.round(4))},
            "mark": {"type": "point", "filled": True, "size": 50, "opacity": 1},
            "encoding": {**place, **colour, "tooltip": tip},
        },
        texts(names[names["x"].abs() < 0.1], "center", 12),
        texts(names[names["x"] >= 0.1], "left", 12),
        texts(names[names["x"] <= -0.1], "right", 12),
        texts(ticks, "left", 9),
    ]
    summary = "; ".join(
        f"{s}: " + ", ".join(f"{k} {number(v)}" for k, v in zip(spokes, values[s], strict=True))
        for s in sources
    )
    spec = {"width": 320, "height": 280, "background": None, "layer": layers}
    return Chart(title, f"{title}. {summary}.", spec)


def interpolation_charts(where: str, way: pd.DataFrame, sources: Sequence[str]) -> list[Chart]:
    """Draw SRCC and scores along the line from zero-shot to learned text features.

    Args:
        where: Name of the data set and target, for the text.
        way: See :func:`~clipiqa_plus.evaluation.interpolation.along`.
        sources: Names of all sources, in the order of their colours.

    Returns:
        The charts; an empty list without learned sources, no SRCC chart without SRCC.
    """
    if way.empty:
        return []
    x = axis("weight", "0: zero-shot, 1: learned")
    summaries = []
    for source, group in way.groupby("source", sort=False):
        ends, text = group["SRCC"].iloc[[0, -1]].tolist(), str(source)
        if group["SRCC"].notna().any():
            best = group.loc[group["SRCC"].idxmax()]
            text += f": {number(ends[0])} at 0, {number(ends[1])} at 1, "
            text += f"most {number(best['SRCC'])} at {best['weight']:.2f}"
        summaries.append(text)
    colour = by_source(sources, way["source"].unique().tolist())["color"]
    tip = tips(source="source", weight="weight", SRCC="SRCC")
    point = {"size": 30, "filled": True}
    srcc = {
        "mark": {"type": "line", "point": point},
        "encoding": {
            "x": x,
            "y": axis("SRCC", "SRCC"),
            "color": colour,
            "tooltip": tip,
        },
    }
    charts = []
    if way["SRCC"].notna().any():
        charts.append(
            Chart(
                "SRCC by interpolation from zero-shot to learned",
                f"SRCC along the line from zero-shot to learned text features on {where}. "
                f"{'; '.join(summaries)}.",
                _line(way[["source", "weight", "SRCC"]], srcc),
                "Text features of the same words, without and with context tokens, and their "
                "weighted means in between.",
            )
        )
    for source in dict.fromkeys(way["source"]):
        part = way.loc[way["source"] == source, ["weight", *THIRDS]]
        thirds = part.melt("weight", var_name="third", value_name="score")
        legend = {"orient": "bottom", "title": None}
        tip = [{"field": "third", "type": "nominal"}, *tips(weight="weight", score="mean score")]
        scale = {"domain": list(THIRDS), "range": ["#d1495b", "#8d96a3", "#2e8b8b"]}
        layer = {
            "mark": {"type": "line", "point": point},
            "encoding": {
                "x": x,
                "y": axis("score", "mean score"),
                "color": {"field": "third", "type": "nominal", "scale": scale, "legend": legend},
                "tooltip": tip,
            },
        }
        first, last = (part.iloc[i][list(THIRDS)].tolist() for i in (0, -1))
        charts.append(
            Chart(
                f"{source}: scores by interpolation",
                f"Mean score of the lowest, middle and highest third by MOS on {where}, {source}: "
                f"{', '.join(map(number, first))} at zero-shot, "
                f"{', '.join(map(number, last))} learned.",
                _line(thirds, layer),
                "Mean score of each third of the pictures by MOS.",
            )
        )
    return charts


def training_charts(training: pd.DataFrame, sources: Sequence[str]) -> list[Chart]:
    """Draw each metric logged in training against the step, one line per source.

    Args:
        training: ``prompts``, ``metric``, ``step`` and ``value``.
        sources: Names of all sources, in the order of their colours.
    """
    charts = []
    for metric, table in training.groupby("metric", sort=False):
        drawn = pd.concat([_thinned(part) for _, part in table.groupby("prompts", sort=False)])
        drawn = drawn.rename(columns={"prompts": "source"})
        tip = tips(source="source", step="step", value=str(metric))
        tip[1]["format"] = ",.0f"
        layer = {
            "mark": {"type": "line", "point": {"size": 14, "filled": True}},
            "encoding": {
                "x": axis("step", "optimizer step"),
                "y": axis("value", str(metric)),
                "color": by_source(sources, table["prompts"].unique().tolist())["color"],
                "tooltip": tip,
            },
        }
        summary = "; ".join(
            f"{source}: {number(group['value'].iloc[0])} at first, "
            f"{number(group['value'].iloc[-1])} at last, {len(group)} values"
            for source, group in table.groupby("prompts", sort=False)
        )
        charts.append(
            Chart(f"Training: {metric}", f"{metric} in training. {summary}.", _line(drawn, layer))
        )
    return charts


def _thinned(curve: pd.DataFrame) -> pd.DataFrame:
    """Shorten a long curve by averaging neighbouring values."""
    group = np.arange(len(curve)) * min(len(curve), _MOST_STEPS) // len(curve)
    means = curve[["step", "value"]].groupby(group).mean()
    return means.assign(prompts=curve["prompts"].iloc[0])


def _line(table: pd.DataFrame, layer: dict[str, Any]) -> dict[str, Any]:
    return {
        "width": "container",
        "height": 260,
        "background": None,
        "data": {"values": records(table.round(5))},
        **layer,
    }
