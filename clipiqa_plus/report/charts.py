"""What all charts share: colours, axes, legends, tooltips, and the chart with its words."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import altair as alt
import pandas as pd

PALETTE = (
    *("#737d8c", "#2f7fd1", "#d9730d", "#0f9482", "#c2468f"),
    *("#7a6fe0", "#8a8a12", "#1690b8", "#d1495b", "#9a6a3a"),
)
"""Colours of the sources in order, the reference in grey: told apart by colour-blind people, with a
contrast of 3 or more on white and on black."""
INK = "currentColor"
"""Colour of the text around a chart, in light and in dark."""
HEIGHT = 240
"""Height of a chart in CSS pixels; charts side by side have the same."""


class Chart(NamedTuple):
    """A chart of the page."""

    caption: str
    alt: str
    """Its text alternative, in words and numbers."""
    spec: dict[str, Any]
    """Vega-Lite, validated."""
    note: str = ""
    """How to read it."""
    numbers: str = ""
    """Key numbers, below the caption."""
    colour: int | None = None
    """Index of the source whose colour marks the caption."""
    height: int = HEIGHT


def finished(
    chart: alt.LayerChart | alt.FacetChart | alt.Chart, height: int | alt.Step = HEIGHT
) -> dict[str, Any]:
    """Return the validated specification of a chart as wide as its container."""
    spec: dict[str, Any] = chart.properties(width="container", height=height).to_dict()
    return spec | {"background": None}


def values(table: pd.DataFrame) -> alt.Data:
    """Return a table as data of a chart, rounded to 5 digits."""
    return alt.Data(values=records(table.round(5)))


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values; NaN becomes None."""
    return list(json.loads(table.to_json(orient="records")))


def axis(field: str, title: str, **scale: Any) -> dict[str, Any]:
    """Return the arguments of a quantitative channel whose axis need not begin at 0."""
    shorthand = {"shorthand": f"{field}:Q", "title": title}
    return shorthand | {"scale": alt.Scale(**{"zero": False, **scale})}


def colour(sources: Sequence[str], drawn: Sequence[str] | None = None) -> alt.Color:
    """Return the colour of each source, with a legend below the chart.

    Args:
        sources: All sources; each keeps its colour on the whole page.
        drawn: Sources in the legend; None takes all.
    """
    scale = alt.Scale(domain=list(sources), range=[shade(i) for i in range(len(sources))])
    return alt.Color("source:N", sort=list(sources), scale=scale, legend=_legend(drawn or sources))


def shape(sources: Sequence[str]) -> alt.Shape:
    """Return the shape of each source, in the legend of its colour."""
    scale = alt.Scale(domain=list(sources))
    return alt.Shape("source:N", sort=list(sources), scale=scale, legend=_legend(sources))


def _legend(drawn: Sequence[str]) -> alt.Legend:
    return alt.Legend(
        orient="bottom",
        direction="horizontal",
        columns=2,
        labelLimit=150,
        title=None,
        symbolOpacity=1,
        values=list(drawn),
    )


def shade(index: int) -> str:
    """Return the colour of a source by its index."""
    return PALETTE[index % len(PALETTE)]


def tips(**titles: str) -> list[alt.Tooltip]:
    """Return a tooltip: titles by field, numbers with three digits."""
    return [
        alt.Tooltip(f"{field}:N", title=title)
        if field in ("source", "group", "third")
        else alt.Tooltip(f"{field}:Q", title=title, format=".3f")
        for field, title in titles.items()
    ]


def number(value: float) -> str:
    """Return a metric as text; a dash where it does not exist."""
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"
