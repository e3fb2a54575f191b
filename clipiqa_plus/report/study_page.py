"""The page of a study: its sentence, its chart and its table."""

from __future__ import annotations

from pathlib import Path

import altair as alt
import pandas as pd

from clipiqa_plus.evaluation.studies.layouts import OPTIONS
from clipiqa_plus.report.charts import (
    INK,
    Chart,
    axis,
    colour,
    finished,
    number,
    shade,
    tips,
    values,
)
from clipiqa_plus.report.rendering import compact, library, render
from clipiqa_plus.report.tables import cells
from clipiqa_plus.training.run_folder import write_text


def write_study(
    page: Path, title: str, sentence: str, table: pd.DataFrame, chart: Chart, note: str
) -> Path:
    """Write the page of a study.

    Args:
        page: HTML file.
        title: The question.
        sentence: The result.
        table: Numbers.
        chart: See :func:`curves` and :func:`dots`.
        note: Description of the table's numbers and data.
    """
    specs = {"chart-0": {"spec": chart.spec, "points": ""}}
    context = {"title": title, "sentence": sentence, "table": cells(table), "note": note}
    figure = {**chart._asdict(), "id": "chart-0", "spec": None}
    scripts = {"specs": compact(specs), "points": compact({}), "library": library()}
    write_text(page, render("study.html", **context, figure=figure, **scripts))
    return page


def curves(table: pd.DataFrame, x: str, y: str, by: str, log: bool = False) -> Chart:
    """Draw lines with interval bands.

    Args:
        table: ``y``, and ``<y>_low`` and ``<y>_high`` where there are intervals.
        x: Column of the horizontal axis.
        y: Column of the vertical axis.
        by: Column with one line for each value.
        log: Use a logarithmic ``x`` axis.
    """
    names = [str(name) for name in table[by].unique()]
    drawn = table.rename(columns={by: "source"})
    across = alt.Scale(type="log" if log else "linear", nice=not log)
    lines = alt.Chart(values(drawn)).encode(alt.X(f"{x}:Q", scale=across), color=colour(names))
    up = alt.Y(**axis(y, y))
    tip = [alt.Tooltip("source:N"), alt.Tooltip(f"{x}:Q"), *tips(**{y: y})]
    point = alt.OverlayMarkDef(size=36, filled=True)
    layers = [lines.mark_line(point=point).encode(up, tooltip=tip)]
    if f"{y}_low" in table:
        band = lines.mark_area(opacity=0.18)
        layers.insert(0, band.encode(alt.Y(**axis(f"{y}_low", y)), alt.Y2(f"{y}_high:Q")))
    ends = "; ".join(
        f"{name}: {number(part[y].iloc[0])} at {part[x].iloc[0]:,}, "
        f"{number(part[y].iloc[-1])} at {part[x].iloc[-1]:,}"
        for name, part in table.groupby(by, sort=False)
    )
    note = "Bands: 95% intervals." if f"{y}_low" in table else ""
    words = f"{y} against {x}. {ends}."
    return Chart(f"{y} against {x}", words, finished(alt.layer(*layers), 340), note, height=340)


def dots(rows: pd.DataFrame) -> Chart:
    """Draw SRCC of each layout in each fold, and the mean; the best layout on top.

    Args:
        rows: Rows of :func:`~clipiqa_plus.evaluation.studies.layouts.study_layouts`.
    """
    varied = [option for option in OPTIONS if rows[option].nunique() > 1] or ["n_ctx"]
    names = rows[varied].astype(str).agg(", ".join, axis=1)
    table = pd.DataFrame({"group": names, "SRCC": rows["SRCC"]})
    means = table.groupby("group")["SRCC"].mean().sort_values(ascending=False)
    labels = alt.Axis(labelLimit=220, grid=False)
    y = alt.Y("group:N", sort=list(means.index), title=None, axis=labels)
    x = alt.X(**axis("SRCC", "SRCC"))
    folds = alt.Chart(values(table)).mark_point(filled=True, size=40, opacity=0.5, color=shade(1))
    mean = alt.Chart(values(means.reset_index())).mark_tick(thickness=3, size=16, color=INK)
    tip = tips(group=", ".join(varied), SRCC="SRCC")
    layers = folds.encode(x, y, tooltip=tip) + mean.encode(x, y, tooltip=tip)
    height = 24 * len(means)
    order = ", ".join(f"{name} {number(value)}" for name, value in means.items())
    caption = f"SRCC by {', '.join(varied)}"
    note = "A dot for each fold, a line at the mean."
    return Chart(caption, f"{caption}: {order}.", finished(layers, height), note, height=height)


def pair_dots(rows: pd.DataFrame) -> Chart:
    """Draw SRCC of each antonym pair on every data set, coloured by backbone; the best on top.

    Args:
        rows: Rows of :func:`~clipiqa_plus.evaluation.studies.zero_shot.study_words`.
    """
    table = rows.rename(columns={"pair": "group", "backbone": "source"})
    means = table.groupby("group")["SRCC"].mean().sort_values(ascending=False)
    backbones = [str(name) for name in table["source"].unique()]
    y = alt.Y("group:N", sort=list(means.index), title=None, axis=alt.Axis(labelLimit=220))
    tip = [alt.Tooltip("data:N"), *tips(source="backbone", group="pair", SRCC="SRCC")]
    drawn = alt.Chart(values(table[["source", "data", "group", "SRCC"]]))
    marks = drawn.mark_point(filled=True, size=50, opacity=0.7)
    chart = marks.encode(alt.X(**axis("SRCC", "SRCC")), y, color=colour(backbones), tooltip=tip)
    height = 24 * len(means)
    order = ", ".join(f"{name} {number(value)}" for name, value in means.items())
    caption = "SRCC by antonym pair"
    note = "A dot for each data set and backbone."
    return Chart(caption, f"{caption}: {order}.", finished(chart, height), note, height=height)
