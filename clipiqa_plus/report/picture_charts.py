"""Charts with a point per picture: score against MOS, calibration, residuals."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from clipiqa_plus.evaluation.comparison import correlations
from clipiqa_plus.metrics.functional import logistic_mapping
from clipiqa_plus.report.charts import (
    INK,
    Chart,
    axis,
    colour,
    finished,
    number,
    shade,
    shape,
    tips,
    values,
)

MOST_POINTS = 2_000
"""Most points of a chart; more pictures are thinned evenly, as the page states."""
MOST_BINS, FEWEST_IN_BIN = 10, 5
"""Most bins of a calibration chart, and fewest pictures in a bin."""
POINTS = "points"
"""Name of the table of pictures that the charts of one data set and target share."""


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


def scatter_charts(where: str, table: pd.DataFrame, sources: Sequence[str]) -> list[Chart]:
    """Draw score against MOS with the fitted logistic, a chart for each source on common axes.

    Args:
        where: Name of the data set and target, for the text.
        table: See :func:`picture_table`.
        sources: Names of the sources.
    """
    charts = []
    drawn = len(shown(table))
    x_range = _common(table[[f"s{i}" for i in range(len(sources))]])
    y = alt.Y(**axis("MOS", "MOS", domain=_common(table[["MOS"]])))
    for index, source in enumerate(sources):
        x = alt.X(**axis(f"s{index}", "score", domain=x_range))
        curve = alt.Chart(values(_curve(table, index))).mark_line(color=INK, strokeWidth=2)
        layers = _dots(index, drawn).encode(x, y) + curve.encode(x, y)
        found = correlations(table[f"s{index}"], table["MOS"])
        numbers = [f"{metric} {number(found[metric])}" for metric in ("SRCC", "PLCC")]
        charts.append(
            Chart(
                source,
                f"Score against MOS, {drawn} of {len(table)} pictures, {source} on {where}. "
                f"{', '.join(numbers)}.",
                finished(layers),
                numbers="   ".join(numbers),
                colour=index,
            )
        )
    return charts


def fit_charts(where: str, table: pd.DataFrame, sources: Sequence[str]) -> list[Chart]:
    """Draw calibration, and the residuals after the logistic fit of each source on common axes.

    Args:
        where: Name of the data set and target, for the text.
        table: See :func:`picture_table`.
        sources: Names of the sources.

    Returns:
        Calibration of the sources whose scores are not constant; residuals where there is a fit.
    """
    bins = calibration(table, sources)
    charts = [_calibration(where, bins, sources)] if len(bins) else []
    fitted = [i for i in range(len(sources)) if table[f"m{i}"].notna().all()]
    if not fitted:
        return charts
    drawn = len(shown(table))
    left = pd.DataFrame({i: table["MOS"] - table[f"m{i}"] for i in fitted})
    y = alt.Y(**axis("residual", "MOS less mapped score", domain=_common(left)))
    x_range = _common(table[[f"m{i}" for i in fitted]])
    zero = alt.Chart(alt.Data(values=[{"residual": 0}])).mark_rule(color=INK, strokeWidth=2)
    for index in fitted:
        dots = _dots(index, drawn).transform_calculate(residual=f"datum.MOS - datum.m{index}")
        x = alt.X(**axis(f"m{index}", "mapped score", domain=x_range))
        rmse = f"RMSE {np.sqrt((left[index] ** 2).mean()):.3f}"
        charts.append(
            Chart(
                f"{sources[index]}: residuals after the logistic fit",
                f"MOS less mapped score against mapped score, {drawn} of {len(table)} pictures, "
                f"{sources[index]} on {where}. {rmse}.",
                finished(dots.encode(x, y) + zero.encode(alt.Y("residual:Q"))),
                numbers=rmse,
                colour=index,
            )
        )
    return charts


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


def _calibration(where: str, bins: pd.DataFrame, sources: Sequence[str]) -> Chart:
    ends = pd.Series([bins[["score", "low"]].min().min(), bins[["score", "high"]].max().max()])
    x, y = (
        alt.X(**axis("score", "mean score of a bin")),
        alt.Y(**axis("MOS", "mean MOS of a bin")),
    )
    same = alt.Chart(values(pd.DataFrame({"score": ends, "MOS": ends})))
    by_source = alt.Chart(values(bins)).encode(x, color=colour(sources))
    tip = tips(source="source", score="mean score", MOS="mean MOS", low="from", high="to")
    tip.append(alt.Tooltip("n:Q", title="pictures"))
    layers = (
        same.mark_line(color=INK, strokeDash=[4, 4], opacity=0.6).encode(x, y)
        + by_source.mark_rule(opacity=0.5).encode(
            alt.Y("low:Q", title="mean MOS of a bin"), alt.Y2("high:Q")
        )
        + by_source.mark_line().encode(y)
        + by_source.mark_point(filled=True, size=50, opacity=1).encode(
            y, shape(sources), tooltip=tip
        )
    )
    gaps = (bins["MOS"] - bins["score"]).abs().groupby(bins["source"], sort=False).mean()
    summary = ", ".join(f"{source} {gap:.3f}" for source, gap in gaps.items())
    return Chart(
        "Calibration: mean MOS by score",
        f"Calibration on {where}, bins of about {bins['n'].median():.0f} pictures. "
        f"Mean distance of score and MOS: {summary}.",
        finished(layers),
        "Bins of equally many pictures. Bars: the middle half of their MOS. Dashed: score is MOS.",
    )


def _dots(index: int, drawn: int) -> alt.Chart:
    """A point for each picture; many are smaller and fainter."""
    many = drawn > 500
    names = [alt.Tooltip(f"{field}:N") for field in ("image", "MOS", "id")]
    tip = [*names, alt.Tooltip(f"s{index}:N", title="score")]
    dots = alt.Chart(alt.NamedData(POINTS)).encode(tooltip=tip)
    return dots.mark_circle(
        size=16 if many else 30, opacity=0.4 if many else 0.65, color=shade(index)
    )


def _common(columns: pd.DataFrame) -> list[float]:
    """The range of all columns, with a little room."""
    numbers: NDArray[np.float64] = columns.to_numpy(np.float64)
    low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
    room = 0.02 * (high - low) or 0.5
    return [round(low - room, 4), round(high + room, 4)]


def _mapped(prediction: NDArray[np.float64], mos: NDArray[np.float64]) -> NDArray[np.float64]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is undefined and set to NaN")  # see the notes
        mapped: NDArray[np.float64] = logistic_mapping(
            torch.tensor(prediction), torch.tensor(mos)
        ).numpy()
    return mapped


def _curve(table: pd.DataFrame, index: int) -> pd.DataFrame:
    """The fitted logistic at up to 100 sorted scores; empty without a fit."""
    fitted = table[[f"s{index}", f"m{index}"]].dropna().sort_values(f"s{index}")
    return fitted.iloc[_even(len(fitted), 100)].set_axis([f"s{index}", "MOS"], axis=1)


def _even(n: int, most: int) -> NDArray[np.int64]:
    """Indices of up to ``most`` evenly spaced rows of n."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))
