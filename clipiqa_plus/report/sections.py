"""The part of the page on one data set: charts, groups and pictures of each target."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import rankdata

from clipiqa_plus.evaluation.analyses.gmad import shown_pairs
from clipiqa_plus.evaluation.comparison import rank_correlation
from clipiqa_plus.evaluation.interpolation import along
from clipiqa_plus.evaluation.rank_changes import RankChange, largest_rank_changes
from clipiqa_plus.evaluation.results import GMAD, INTERPOLATION, SCORES, existing
from clipiqa_plus.report.charts import records
from clipiqa_plus.report.picture_charts import fit_charts, picture_table, scatter_charts, shown
from clipiqa_plus.report.summary_charts import group_chart, interpolation_charts
from clipiqa_plus.report.tables import cells

MOST_GROUPS = 40
"""Most groups of a chart: more are in the table only."""


def section(
    folder: Path, name: str, sources: Sequence[str], about: str, breakdown: pd.DataFrame
) -> dict[str, Any]:
    """Return the template's variables for one data set.

    Args:
        folder: The ``--out`` of the evaluation.
        name: Name of the data set.
        sources: Names of all sources, in the order of their colours.
        about: The data set in words.
        breakdown: SRCC by group of this data set; empty where it was not saved.
    """
    scores = pd.read_parquet(existing(folder / name / SCORES))
    interpolated = pd.read_parquet(existing(folder / name / INTERPOLATION))
    pairs = folder / name / GMAD
    gmad = pd.DataFrame(json.loads(pairs.read_text()) if pairs.is_file() else [])
    several = scores["target"].nunique() > 1
    targets = []
    for target, group in scores.groupby("target", sort=False):
        found = _target(name, str(target), group.reset_index(drop=True), interpolated, sources)
        found |= {"title": f"{name}: {target}" if several else name, "about": about}
        groups = _of(breakdown, target)
        if groups.empty:
            groups = by_distortion(group, sources)
        found |= _groups(groups, sources, found["title"])
        found["gmad"] = _gmad(_of(gmad, target), group.set_index("id"))
        targets.append(found)
    return {"name": name, "anchor": f"data-{name}", "targets": targets}


def _of(table: pd.DataFrame, target: Any) -> pd.DataFrame:
    return table[table["target"] == target] if len(table) else table


def _target(
    name: str, target: str, scores: pd.DataFrame, interpolated: pd.DataFrame, sources: Sequence[str]
) -> dict[str, Any]:
    where = f"{name} ({target})"
    table = picture_table(scores, sources)
    drawn = shown(table)
    line = along(interpolated[interpolated["target"] == target], scores)
    way = interpolation_charts(where, line, sources)
    return {
        "target": target,
        "points": f"{name}/{target}",
        "table": {"data": name, "columns": _columns(drawn)},
        "drawn": len(drawn),
        "pictures": len(table),
        "scatters": scatter_charts(where, table, sources),
        "charts": [*fit_charts(where, table, sources), *way],
        "interpolated": bool(way),
        "moved": [
            _moved(scores, sources[0], other, at + 1) for at, other in enumerate(sources[1:])
        ],
    }


def by_distortion(scores: pd.DataFrame, sources: Sequence[str]) -> pd.DataFrame:
    """SRCC of each source within each distortion, where distortions are known.

    Args:
        scores: Scores per picture of one target.
        sources: Names of the sources.

    Returns:
        ``by``, ``group``, ``n``, ``prompts``, ``SRCC``: a row for each group and source.
    """
    if "distortion" not in scores:
        return pd.DataFrame()
    rows = [
        {
            "by": "distortion",
            "group": str(distortion),
            "n": len(group),
            "prompts": source,
            "SRCC": rank_correlation(group[source], group["mos"]),
        }
        for distortion, group in scores.groupby("distortion", sort=True)
        for source in sources
    ]
    return pd.DataFrame(rows)


def _groups(table: pd.DataFrame, sources: Sequence[str], title: str) -> dict[str, Any]:
    """A chart and a table of SRCC for each kind of group."""
    charts, tables = [], []
    kinds = table.groupby("by", sort=False) if len(table) else ()
    for by, part in kinds:
        drawn = part.rename(columns={"prompts": "source", "SRCC_low": "low", "SRCC_high": "high"})
        if 2 <= drawn["group"].nunique() <= MOST_GROUPS:
            charts.append(group_chart(f"SRCC by {by}, {title}", drawn, sources))
        wide = part.pivot(index=["group", "n"], columns="prompts", values="SRCC")[list(sources)]
        wide = wide.reset_index().rename(columns={"group": by}).rename_axis(columns=None)
        tables.append({"title": f"SRCC by {by} in numbers", **cells(wide)})
    return {"groups": charts, "breakdown": tables}


def _moved(scores: pd.DataFrame, first: str, other: str, colour: int) -> dict[str, Any]:
    """Cards of the pictures that a source helped and hurt most."""
    place = {
        name: pd.Series((rankdata(scores[name]) - 0.5) / len(scores) * 100, scores["id"])
        for name in ("mos", first, other)
    }

    def cards(pictures: Iterable[RankChange]) -> list[dict[str, Any]]:
        found = []
        for p in pictures:
            people, start, end = (round(float(place[n][p.id]), 1) for n in ("mos", first, other))
            caption = (
                f"MOS {p.mos:.2f}, {first} {p.first:.2f}, {other} {p.other:.2f}: "
                f"{'nearer' if p.gain > 0 else 'farther'} by {abs(p.gain):.0%} of all ranks"
            )
            place_of, _, file = p.image.rpartition("/")
            card = {"id": p.id, "folder": place_of, "file": file, "caption": caption}
            found.append(
                card
                | {"people": people, "from": start, "to": end, "left": min(start, end)}
                | {"width": round(abs(end - start), 1)}
            )
        return found

    helped, hurt = largest_rank_changes(scores, first, other)
    groups = {"Helped most": cards(helped), "Hurt most": cards(hurt)}
    return {"first": first, "other": other, "groups": groups, "colour": colour % 10}


def _gmad(pairs: pd.DataFrame, scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Cards of the pairs that one source calls equal and another far apart, the farthest first."""
    found: list[dict[str, Any]] = []
    if pairs.empty:
        return found
    for pair in shown_pairs(pairs).itertuples():
        ids = [int(pair.id_low), int(pair.id_high)]
        two = scores.loc[ids]
        names = two["image"] if "image" in two else pd.Series([str(i) for i in ids])
        lines = [" | ".join(map(str, names))]
        for column, text in (("mos", "people"), (pair.same, pair.same), (pair.apart, pair.apart)):
            lines.append(f"{text}: {' | '.join(f'{value:.2f}' for value in two[column])}")
        title = f"Equal for {pair.same}, far apart for {pair.apart}"
        found.append({"ids": ids, "title": title, "lines": lines})
    return found


def _columns(table: pd.DataFrame) -> dict[str, list[Any]]:
    rows = records(table)
    return {str(name): [row[str(name)] for row in rows] for name in table}
