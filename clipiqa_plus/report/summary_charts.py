"""Charts of whole data sets: SRCC by group, mean ranks, interpolation, training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd

from clipiqa_plus.evaluation.interpolation import THIRDS
from clipiqa_plus.report.charts import (
    INK,
    Chart,
    axis,
    colour,
    finished,
    number,
    shape,
    tips,
    values,
)

_MOST_STEPS = 300  # points of a training curve
_THIRDS = ("#c2571a", "#8d96a3", "#0f9482")


def group_chart(title: str, table: pd.DataFrame, sources: Sequence[str]) -> Chart:
    """Draw SRCC by group, such as distortion or target: a line for each group, a dot per source.

    Args:
        title: What the groups are.
        table: ``group``, ``source`` and ``SRCC``, with ``low`` and ``high`` where there are
            intervals. Groups are in order of the last source's SRCC.
        sources: Names of the sources, in the order of their colours.
    """
    known = table.dropna(subset="SRCC")
    by_last = known[known["source"] == sources[-1]].sort_values("SRCC", ascending=False)
    order = list(dict.fromkeys([*by_last["group"], *table["group"]]))
    wide = known.groupby("group")["SRCC"].agg(["min", "max"]).reset_index()
    names = alt.Axis(labelLimit=130, grid=False)
    y = alt.Y("group:N", sort=order, title=None, axis=names)
    x = alt.X(**axis("SRCC", "SRCC"))
    dots = alt.Chart(values(known)).encode(y, color=colour(sources))
    tip = tips(group="group", source="source", SRCC="SRCC")
    if "low" in known:
        offset = alt.YOffset("source:N", sort=list(sources))
        whole = dots.mark_rule(opacity=0.5, strokeWidth=3).encode(
            alt.X("low:Q", title="SRCC"), alt.X2("high:Q"), offset
        )
        dots, step = dots.encode(offset), 12 * len(sources) + 10
    else:
        ends = alt.Chart(values(wide)).encode(y, alt.X("min:Q", title="SRCC"), alt.X2("max:Q"))
        whole, step = ends.mark_rule(color=INK, opacity=0.3, strokeWidth=2), 24
    points = dots.mark_point(filled=True, size=55, opacity=1)
    points = points.encode(x, shape(sources), tooltip=tip)
    summary = "; ".join(
        f"{source}: " + ", ".join(f"{row.group} {number(row.SRCC)}" for row in part.itertuples())
        for source, part in table.groupby("source", sort=False)
    )
    height = step * len(order)
    return Chart(title, f"{title}. {summary}.", finished(whole + points, height), height=height)


def rank_chart(ranks: pd.DataFrame) -> Chart:
    """Draw the critical-difference diagram: mean ranks, with bars over what is not told apart.

    Args:
        ranks: ``prompts``, ``mean_rank``, ``critical_difference`` and ``data_sets``, equal in all
            rows for the last two.
    """
    table = ranks.sort_values("mean_rank", kind="stable").reset_index(drop=True)
    mean, names, count = table["mean_rank"].to_numpy(), table["prompts"].tolist(), len(table)
    critical, data_sets = float(table["critical_difference"][0]), int(table["data_sets"][0])
    near = _near(mean, critical)
    half = -(-count // 2)  # the better half is named at the left, the others at the right
    left = table.index < half
    table = table.assign(
        top=-1 - 0.7 * len(near),
        level=np.where(left, table.index + 1, count - table.index),
        end=np.where(left, 1, count),
        text=[f"{name} {rank:.2f}" for name, rank in zip(names, mean, strict=True)],
    )
    bars = pd.DataFrame(
        [(mean[i] - 0.03, mean[j] + 0.03, -0.7 * k - 0.7) for k, (i, j) in enumerate(near)],
        columns=["low", "high", "level"],
    )
    room = 0.5 * (count - 1)
    x_scale = alt.Scale(domain=[1 - room, count + room], nice=False)
    y_scale = alt.Scale(domain=[table["top"][0], half + 0.5], reverse=True, nice=False)
    ticks = alt.Axis(orient="top", values=list(range(1, count + 1)), grid=False)
    title = "mean rank, 1 is best"
    x = alt.X("mean_rank:Q", title=title, scale=x_scale, axis=ticks)
    end = alt.X("end:Q", title=title, scale=x_scale, axis=ticks)
    y = alt.Y("level:Q", axis=None, scale=y_scale)
    line: dict[str, Any] = {"color": INK, "opacity": 0.5}
    lines = alt.Chart(values(table))
    layers = [
        lines.mark_rule(**line).encode(
            x, alt.Y("top:Q", axis=None, scale=y_scale), alt.Y2("level")
        ),
        lines.mark_rule(**line).encode(x, y, alt.X2("end")),
        alt.Chart(values(bars))
        .mark_rule(color=INK, strokeWidth=5, strokeCap="round")
        .encode(alt.X("low:Q", title=title, scale=x_scale, axis=ticks), y, alt.X2("high")),
    ]
    sides: tuple[tuple[Any, Literal["left", "right"], int], ...] = (
        (left, "right", -6),
        (~left, "left", 6),
    )
    for side, align, dx in sides:
        text = alt.Chart(values(table[side])).mark_text(align=align, dx=dx, color=INK, fontSize=12)
        layers.append(text.encode(end, y, alt.Text("text:N")))
    height = round(22 * (half + 0.5 - table["top"][0]))
    groups = "; ".join(", ".join(names[i : j + 1]) for i, j in near) or "none"
    return Chart(
        "Critical-difference diagram",
        f"Mean ranks by SRCC over {data_sets} data sets: {', '.join(table['text'])}. "
        f"Critical difference {critical:.2f}. Not told apart: {groups}.",
        finished(alt.layer(*layers), height),
        f"Mean ranks over {data_sets} data sets. A bar joins sources whose mean ranks differ by "
        f"less than the critical difference, {critical:.2f} (Friedman, Nemenyi).",
        height=height,
    )


def _near(mean: np.ndarray, critical: float) -> list[tuple[int, int]]:
    """The longest runs of sorted mean ranks that span less than the critical difference."""
    runs: list[tuple[int, int]] = []
    for i in range(len(mean)):
        j = int(np.flatnonzero(mean <= mean[i] + critical)[-1])
        if j > i and (not runs or j > runs[-1][1]):
            runs.append((i, j))
    return runs


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
    x = alt.X(**axis("weight", "0: zero-shot, 1: learned"))
    point = alt.OverlayMarkDef(size=30, filled=True)
    charts = []
    if way["SRCC"].notna().any():
        tip = tips(source="source", weight="weight", SRCC="SRCC")
        drawn = colour(sources, way["source"].unique().tolist())
        line = alt.Chart(values(way[["source", "weight", "SRCC"]])).mark_line(point=point)
        charts.append(
            Chart(
                "SRCC by interpolation from zero-shot to learned",
                f"SRCC along the line from zero-shot to learned text features on {where}. "
                f"{'; '.join(map(_ends, way['source'].unique(), _parts(way)))}.",
                finished(line.encode(x, alt.Y(**axis("SRCC", "SRCC")), drawn, tooltip=tip)),
                "Text features of the same words, without and with context tokens, and their "
                "weighted means in between.",
            )
        )
    scale = alt.Scale(domain=list(THIRDS), range=list(_THIRDS))
    legend = alt.Legend(orient="bottom", title=None)
    third = alt.Color("third:N", scale=scale, legend=legend)
    tip = tips(third="third", weight="weight", score="mean score")
    for source, part in zip(way["source"].unique(), _parts(way), strict=True):
        thirds = part[["weight", *THIRDS]].melt("weight", var_name="third", value_name="score")
        line = alt.Chart(values(thirds)).mark_line(point=point)
        y = alt.Y(**axis("score", "mean score"))
        first, last = (part.iloc[i][list(THIRDS)].tolist() for i in (0, -1))
        charts.append(
            Chart(
                f"{source}: scores by interpolation",
                f"Mean score of the lowest, middle and highest third by MOS on {where}, {source}: "
                f"{', '.join(map(number, first))} at zero-shot, "
                f"{', '.join(map(number, last))} learned.",
                finished(line.encode(x, y, third, tooltip=tip)),
                "Mean score of each third of the pictures by MOS.",
                colour=list(sources).index(source),
            )
        )
    return charts


def _parts(way: pd.DataFrame) -> list[pd.DataFrame]:
    return [part for _, part in way.groupby("source", sort=False)]


def _ends(source: str, part: pd.DataFrame) -> str:
    """SRCC at both ends of the interpolation and at its best, in words."""
    if part["SRCC"].isna().all():
        return source
    best = part.loc[part["SRCC"].idxmax()]
    return (
        f"{source}: {number(part['SRCC'].iloc[0])} at 0, {number(part['SRCC'].iloc[-1])} at 1, "
        f"most {number(best['SRCC'])} at {best['weight']:.2f}"
    )


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
        tip = tips(source="source", value=str(metric))
        tip.insert(1, alt.Tooltip("step:Q", title="step", format=",.0f"))
        line = alt.Chart(values(drawn)).mark_line(point=alt.OverlayMarkDef(size=14, filled=True))
        line = line.encode(
            alt.X(**axis("step", "optimizer step")),
            alt.Y(**axis("value", str(metric))),
            colour(sources, table["prompts"].unique().tolist()),
            tooltip=tip,
        )
        summary = "; ".join(
            f"{source}: {number(group['value'].iloc[0])} at first, "
            f"{number(group['value'].iloc[-1])} at last, {len(group)} values"
            for source, group in table.groupby("prompts", sort=False)
        )
        words = f"{metric} in training. {summary}."
        charts.append(Chart(f"Training: {metric}", words, finished(line)))
    return charts


def _thinned(curve: pd.DataFrame) -> pd.DataFrame:
    """Shorten a long curve by averaging neighbouring values."""
    group = np.arange(len(curve)) * min(len(curve), _MOST_STEPS) // len(curve)
    means = curve[["step", "value"]].groupby(group).mean()
    return means.assign(prompts=curve["prompts"].iloc[0])
