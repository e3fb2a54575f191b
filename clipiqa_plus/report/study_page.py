"""The page of a study: its sentence, its chart and its table, without scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import vl_convert
from jinja2 import Environment
from markupsafe import Markup

from clipiqa_plus.evaluation.results import printable
from clipiqa_plus.evaluation.studies.layouts import OPTIONS
from clipiqa_plus.report.picture_charts import PALETTE, records
from clipiqa_plus.training.run_folder import write_text

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<meta name="viewport" content="width=device-width"><style>
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
svg { max-width: 100%; height: auto; background: #fff }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem }
th, td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8886; text-align: right }
th:first-child, td:first-child { text-align: left }
</style></head><body>
<h1>{{ title }}</h1>
<p><strong>{{ sentence }}</strong></p>
<figure role="img" aria-label="{{ sentence }}">{{ chart }}</figure>
<table><thead><tr>{% for name in table.columns %}<th scope="col">{{ name }}</th>{% endfor %}</tr>
</thead><tbody>{% for row in table.to_numpy().tolist() %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table>
<p>{{ note }}</p>
</body></html>
"""


def write_study(
    page: Path, title: str, sentence: str, table: pd.DataFrame, chart: dict[str, Any], note: str
) -> Path:
    """Write the page of a study.

    Args:
        page: HTML file.
        title: The question.
        sentence: The result.
        table: Numbers.
        chart: Vega-Lite specification, see :func:`curves` and :func:`dots`.
        note: Description of the table's numbers and data.
    """
    svg = Markup(vl_convert.vegalite_to_svg(chart))
    template = Environment(autoescape=True).from_string(_PAGE)
    shown = printable(table)
    text = template.render(title=title, sentence=sentence, table=shown, chart=svg, note=note)
    write_text(page, text)
    return page


def curves(table: pd.DataFrame, x: str, y: str, by: str, log: bool = False) -> dict[str, Any]:
    """Draw lines with interval bands.

    Args:
        table: ``y``, and ``<y>_low`` and ``<y>_high`` where there are intervals.
        x: Column of the horizontal axis.
        y: Column of the vertical axis.
        by: Column with one line for each value.
        log: Use a logarithmic ``x`` axis.
    """
    x_axis = {"field": x, "type": "quantitative", "scale": {"type": "log" if log else "linear"}}
    colour = {"field": by, "type": "nominal", "scale": {"range": list(PALETTE)}, "title": None}
    shared = {"x": x_axis, "color": colour}
    scale = {"zero": False}
    line = {"y": {"field": y, "type": "quantitative", "scale": scale}, **shared}
    layers: list[dict[str, Any]] = [
        {"mark": {"type": "line", "point": True}, "encoding": line},
    ]
    if f"{y}_low" in table:
        band = {
            "y": {"field": f"{y}_low", "type": "quantitative", "scale": scale, "title": y},
            "y2": {"field": f"{y}_high"},
            **shared,
        }
        layers.insert(0, {"mark": {"type": "area", "opacity": 0.2}, "encoding": band})
    values = records(table.round(5))
    return {"width": 640, "height": 340, "data": {"values": values}, "layer": layers}


def dots(rows: pd.DataFrame) -> dict[str, Any]:
    """Draw SRCC of each layout in each fold, the mean on top.

    Args:
        rows: Rows of :func:`~clipiqa_plus.evaluation.studies.layouts.study_layouts`.
    """
    varied = [option for option in OPTIONS if rows[option].nunique() > 1] or ["n_ctx"]
    names = rows[varied].astype(str).agg(", ".join, axis=1)
    values = records(pd.DataFrame({"layout": names, "SRCC": rows["SRCC"].round(5)}))
    x = {"field": "SRCC", "type": "quantitative", "scale": {"zero": False}}
    order = {"op": "mean", "field": "SRCC", "order": "descending"}
    y = {"field": "layout", "type": "nominal", "sort": order, "title": ", ".join(varied)}
    points = {"mark": {"type": "point", "opacity": 0.6}, "encoding": {"x": x, "y": y}}
    mean = {
        "mark": {"type": "tick", "thickness": 3, "color": PALETTE[1]},
        "encoding": {"x": {**x, "aggregate": "mean"}, "y": y},
    }
    return {"width": 520, "data": {"values": values}, "layer": [points, mean]}
