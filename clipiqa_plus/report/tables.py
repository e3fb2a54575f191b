"""The tables of the page: sorted by their headings, matrices, and the forest plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from clipiqa_plus.evaluation.results import SHARED, cross_set, printable
from clipiqa_plus.evaluation.terminal import ALWAYS
from clipiqa_plus.report.charts import number
from clipiqa_plus.report.sentences import verdict_of

_SIGNS = {"better": "▲", "worse": "▼", "same": "≈", "none": "-"}
_WORDS = {
    "better": "better",
    "worse": "worse",
    "same": "not told apart",
    "none": "not compared",
}


def verdicts(results: pd.DataFrame, differences: pd.DataFrame) -> dict[int, str]:
    """Return marks for significant differences, by row of the results."""
    marks: dict[int, str] = {}
    for row in differences.itertuples():
        if kind := verdict_of(row):
            keys = results[["data", "target", "prompts"]]
            at = (keys == [row.data, row.target, row.prompts]).all(axis=1)
            marks[int(np.flatnonzero(at)[0])] = f"{_SIGNS[kind]} {kind} than {row.against}"
    return marks


def cells(table: pd.DataFrame, marks: dict[int, str] | None = None) -> dict[str, Any]:
    """Return a table for the page.

    Args:
        table: The table; columns without any number are left out.
        marks: See :func:`verdicts`; shown in a column after the prompts.

    Returns:
        ``shared``: values that all rows share, left out of the columns; ``columns``; ``numbers``,
        the numeric columns; ``rows`` of cells with ``text``, ``interval``, ``verdict`` and ``key``,
        the sort key; ``spaced``: column names are ours and lose their underscores.
    """
    spaced = "prompts" in table
    table = table.drop(columns=[n for n in table if n not in ALWAYS and table[n].isna().all()])
    candidates = (*SHARED, "note") if spaced else ()
    shared = [n for n in candidates if n in table and table[n].nunique() == 1 and table[n].iloc[0]]
    texts, values = printable(table).drop(columns=shared, errors="ignore"), table
    if marks:
        marked = [marks.get(at, "") for at in range(len(table))]
        texts.insert(list(texts.columns).index("prompts") + 1, "significant", marked)
        values = table.assign(significant=marked)
    numbers = [n for n in texts.columns if pd.api.types.is_numeric_dtype(values[n])]
    rows = [
        [_cell(name, text, values.loc[index, name], name in numbers) for name, text in row.items()]
        for index, row in texts.iterrows()
    ]
    return {
        "shared": {name: table[name].iloc[0] for name in shared},
        "columns": list(texts.columns),
        "numbers": numbers,
        "rows": rows,
        "spaced": spaced,
    }


def _cell(name: Any, text: Any, key: Any, numeric: bool) -> dict[str, Any]:
    value, _, ends = str(text).partition(" [") if numeric else (text, "", "")
    empty = isinstance(key, float) and math.isnan(key)
    kind = ""
    if name in ("significant", "verdict"):
        kind = next((word for word in ("better", "worse") if word in str(text)), "same")
    interval = ends and f"[{ends}"
    return {"text": value, "interval": interval, "key": "" if empty else key, "verdict": kind}


def cross_table(results: pd.DataFrame) -> dict[str, Any] | None:
    """Return SRCC of every source on every data set, shaded; None for a single data set."""
    table = cross_set(results)
    if table.empty:
        return None
    columns = [str(name) for name in table.columns[1:]]
    numbers = table[table.columns[1:]].to_numpy(np.float64)
    ends = (np.nanmin(numbers), np.nanmax(numbers)) if np.isfinite(numbers).any() else (0.0, 1.0)
    rows = [
        {"name": name, "cells": [_shaded(value, *ends) for value in values]}
        for name, *values in table.itertuples(index=False)
    ]
    return {"label": "SRCC of each source on each data set", "columns": columns, "rows": rows}


def _shaded(value: float, low: float, high: float) -> dict[str, Any]:
    share = (value - low) / (high - low) if high > low else 1.0
    shade = 0.0 if math.isnan(value) else round(0.1 + 0.9 * share, 3)
    return {"text": number(value), "below": "", "verdict": "shade", "shade": shade}


def matrices(pairs: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the differences of all pairs as matrices, one for each data set and target.

    Args:
        pairs: The table of all pairs, with ``p_holm``.
    """
    found = []
    several = pairs.groupby("data")["target"].nunique().max() > 1
    for (data, target), part in pairs.groupby(["data", "target"], sort=False):
        sources = list(dict.fromkeys([*part["against"], *part["prompts"]]))
        known = {(row.prompts, row.against): row for row in part.itertuples()}
        name = f"{data}: {target}" if several else str(data)
        rows = [{"name": a, "cells": [_pair(known, a, b) for b in sources]} for a in sources]
        label = f"Differences in SRCC of all pairs, {name}"
        found.append({"label": label, "name": name, "columns": sources, "rows": rows})
    return found


def _pair(known: dict[tuple[str, str], Any], a: str, b: str) -> dict[str, Any] | None:
    """SRCC of a less that of b; None on the diagonal."""
    if a == b:
        return None
    sign = 1 if (a, b) in known else -1
    row = known.get((a, b)) or known[b, a]
    if math.isnan(row.dSRCC):
        return {"text": "-", "below": "", "verdict": "same"}
    kind = verdict_of(row)
    if sign < 0:
        kind = {"better": "worse", "worse": "better"}.get(kind, kind)
    ends = sorted((sign * row.dSRCC_low, sign * row.dSRCC_high))
    below = "" if math.isnan(row.dSRCC_low) else f"[{ends[0]:+.3f}, {ends[1]:+.3f}]"
    mark = f"{_SIGNS[kind]} " if kind else ""
    return {"text": f"{mark}{sign * row.dSRCC:+.3f}", "below": below, "verdict": kind or "same"}


def forest(
    results: pd.DataFrame, differences: pd.DataFrame, sources: Sequence[str]
) -> dict[str, Any]:
    """Lay out the forest plot: SRCC with intervals, a group for each data set and target.

    Args:
        results: Results of an evaluation, with ``SRCC_ceiling`` and its interval where known.
        differences: Its differences, with ``p_holm``.
        sources: Names of the sources, in the order of their colours.

    Returns:
        ``ticks`` and ``groups`` of ``rows``; positions are percentages of the axis.
    """
    ends = ["SRCC", "SRCC_low", "SRCC_high", "SRCC_ceiling_low", "SRCC_ceiling_high"]
    numbers = results[[name for name in ends if name in results]].to_numpy(np.float64)
    low, high, step = _nice(numbers[np.isfinite(numbers)])

    def at(value: float) -> float | None:
        return None if math.isnan(value) else round(100 * (value - low) / (high - low), 2)

    compared = {(row.data, row.target, row.prompts): row for row in differences.itertuples()}
    reference = differences["against"].iloc[0] if len(differences) else ""
    several = results.groupby("data")["target"].nunique()
    groups = []
    for (data, target), part in results.groupby(["data", "target"], sort=False):
        rows = []
        for row in part.itertuples():
            start, end = at(row.SRCC_low), at(row.SRCC_high)
            rows.append(
                {
                    "name": row.prompts,
                    "colour": list(sources).index(row.prompts) % 10,
                    "at": at(row.SRCC),
                    "low": start,
                    "width": None if start is None or end is None else round(end - start, 2),
                    "text": number(row.SRCC),
                    "interval": ""
                    if start is None
                    else f"[{row.SRCC_low:.3f}, {row.SRCC_high:.3f}]",
                    **_against(compared.get((data, target, row.prompts))),
                }
            )
        base = part.loc[part["prompts"] == reference, "SRCC"]
        groups.append(
            {
                "name": f"{data}: {target}" if several[data] > 1 else data,
                "about": f"{int(part['n'].iloc[0]):,} pictures",
                "rows": rows,
                "base": at(base.iloc[0]) if len(base) else None,
                "ceiling": _ceiling(part.iloc[0], at),
            }
        )
    ticks = np.arange(round(low / step), round(high / step) + 1) * step
    return {
        "label": "SRCC with 95% intervals",
        "ticks": [{"at": at(tick), "text": f"{tick:.2f}".removesuffix("0")} for tick in ticks],
        "groups": groups,
        "reference": reference,
        "ceiling": any(group["ceiling"] for group in groups),
    }


def _against(row: Any) -> dict[str, str]:
    """The verdict of a row in the forest plot; empty for the reference."""
    if row is None:
        return {"verdict": "", "sign": "", "effect": "", "words": ""}
    kind = "none" if math.isnan(row.p_holm) else verdict_of(row) or "same"
    effect = "" if math.isnan(row.dSRCC) else f"{row.dSRCC:+.3f}"
    words = getattr(row, "verdict", "") or _WORDS[kind]  # evaluations by 0.1 have none
    return {"verdict": kind, "sign": _SIGNS[kind], "effect": effect, "words": words}


def _ceiling(row: pd.Series, at: Any) -> dict[str, float] | None:
    low, high = (at(row.get(f"SRCC_ceiling_{end}", math.nan)) for end in ("low", "high"))
    return None if low is None or high is None else {"at": low, "width": round(high - low, 2)}


def _nice(numbers: np.ndarray) -> tuple[float, float, float]:
    """Ends and step of an axis of correlations that holds all numbers, with at most 8 steps."""
    least, most = (numbers.min(), numbers.max()) if len(numbers) else (0.0, 1.0)
    for step in (0.02, 0.05, 0.1, 0.2, 0.25, 0.5):
        low = math.floor(least / step + 1e-9) * step
        high = math.ceil(most / step - 1e-9) * step
        if high - low < 4 * step:
            high = low + 4 * step
        if round((high - low) / step) <= 7:
            break
    return low, high, step
