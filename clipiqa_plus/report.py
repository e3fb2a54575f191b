"""An evaluation as one HTML page that opens offline, made from its saved files without a model."""

from __future__ import annotations

import base64
import json
import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import vl_convert
from jinja2 import Environment
from markupsafe import Markup

from clipiqa_plus.charts import MOST_POINTS, number, source_charts
from clipiqa_plus.comparison import correlations, rank_errors
from clipiqa_plus.results import (
    DIFFERENCES,
    RECORD,
    RESULTS,
    SCORES,
    THUMBNAILS,
    load_table,
    printable,
)
from clipiqa_plus.runs import write_text

REPORT = "report.html"
SIGNIFICANT = 0.05
THUMBNAIL_BYTES = 6_500_000
"""Most that all thumbnails may take in the page; those of pictures that moved least are left out.
With Vega's 0.9 MB and the points this keeps a page below 10 MB."""
_MOVED = 8  # pictures shown as helped, and as hurt


def write_report(folder: str | Path) -> Path:
    """Write ``report.html`` into the folder of an evaluation.

    Args:
        folder: The ``--out`` of ``evaluate.py``.

    Returns:
        The page.

    Raises:
        FileNotFoundError: If the folder holds no evaluation.
    """
    folder = Path(folder)
    results = load_table(folder / f"{RESULTS}.json")
    differences = load_table(folder / f"{DIFFERENCES}.json")
    record = json.loads(_existing(folder / RECORD).read_text())
    names = list(dict.fromkeys(results["data"]))
    thumbnails = {
        name: _thumbnails(folder / name / THUMBNAILS, THUMBNAIL_BYTES // len(names))
        for name in names
    }
    sections = []
    for (name, target), rows in results.groupby(["data", "target"], sort=False):
        scores = pd.read_parquet(_existing(folder / str(name) / SCORES))
        group = scores[scores["target"] == target].reset_index(drop=True)
        sections.append(_section(str(name), str(target), group, list(rows["prompts"])))
    charts = [chart for section in sections for chart in section["charts"]]
    page = _template().render(
        title="Prompts compared",
        sentences=summary(results, differences),
        results=_cells(results, _verdicts(results, differences)),
        differences=_cells(differences, {}),
        notes=[n for n in dict.fromkeys([*results["note"], *differences.get("note", [])]) if n],
        sections=sections,
        thumbnails=thumbnails,
        specs={chart["id"]: chart["spec"] for chart in charts},
        record=record,
        command=shlex.join(["python", *record["command"]]),
        library=Markup(
            vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace(
                "</script", r"<\/script"
            )
        ),
    )
    write_text(folder / REPORT, page)
    return folder / REPORT


def summary(results: pd.DataFrame, differences: pd.DataFrame) -> list[str]:
    """Say in one sentence per comparison whether tuning helped.

    Args:
        results: Results of an evaluation.
        differences: Its differences, with ``p_holm``.
    """
    if differences.empty:
        rows = results.itertuples()
        return [f"On {r.data} ({r.target}), {r.prompts} has SRCC {number(r.SRCC)}." for r in rows]
    sentences = []
    for row in differences.itertuples():
        where = f"On {row.data} ({row.target}, {row.n} pictures), {row.prompts}"
        if math.isnan(row.p_holm):
            sentences.append(f"{where} cannot be compared with {row.against}: {row.note}.")
            continue
        says = f"SRCC {row.dSRCC:+.3f} [{row.dSRCC_low:+.3f}, {row.dSRCC_high:+.3f}]"
        says += f", p {_p(row.p_holm)} after Holm's correction"
        if row.p_holm < SIGNIFICANT:
            verdict = "ranks better than" if row.dSRCC > 0 else "ranks worse than"
        else:
            verdict = "does not differ significantly from"
        sentences.append(f"{where} {verdict} {row.against}: {says}.")
    return sentences


def _verdicts(results: pd.DataFrame, differences: pd.DataFrame) -> dict[int, str]:
    """What to mark in which row of the results: significant differences only."""
    marks: dict[int, str] = {}
    for row in differences.itertuples():
        if row.p_holm < SIGNIFICANT:  # never of NaN
            keys = results[["data", "target", "prompts"]]
            at = (keys == [row.data, row.target, row.prompts]).all(axis=1)
            verdict = "▲ better" if row.dSRCC > 0 else "▼ worse"
            marks[int(np.flatnonzero(at)[0])] = f"{verdict} than {row.against}"
    return marks


def _cells(table: pd.DataFrame, marks: dict[int, str]) -> dict[str, Any]:
    """Columns and rows for the page: each cell as text and as the value to sort by."""
    shown, values = printable(table), table
    if marks:
        marked = [marks.get(at, "") for at in range(len(table))]
        place = list(shown.columns).index("prompts") + 1
        shown.insert(place, "significant", marked)
        values = table.assign(significant=marked)
    rows = []
    for index, texts in shown.iterrows():
        keys = [values.loc[index, name] for name in shown.columns]
        keys = ["" if isinstance(key, float) and math.isnan(key) else key for key in keys]
        rows.append(list(zip(texts, keys, strict=True)))
    return {"columns": list(shown.columns), "rows": rows}


def _section(name: str, target: str, scores: pd.DataFrame, sources: list[str]) -> dict[str, Any]:
    """Charts, breakdown and pictures of one data set and target."""
    charts = source_charts(name, target, scores, sources)
    return {
        "title": f"{name}: {target}",
        "data": name,
        "drawn": min(len(scores), MOST_POINTS),
        "pictures": len(scores),
        "charts": charts,
        "sources": sources,
        "breakdown": _breakdown(scores, sources),
        "moved": [_moved(scores, sources[0], other) for other in sources[1:]],
    }


def _breakdown(scores: pd.DataFrame, sources: list[str]) -> list[dict[str, Any]]:
    """SRCC of each source within each distortion, where distortions are known."""
    if "distortion" not in scores:
        return []
    return [
        {
            "name": str(distortion),
            "n": len(group),
            "SRCC": [correlations(group[source], group["mos"])["SRCC"] for source in sources],
        }
        for distortion, group in scores.groupby("distortion", sort=True)
    ]


def _moved(scores: pd.DataFrame, first: str, other: str) -> dict[str, Any]:
    """The pictures whose rank a source brought nearest to, and farthest from, that of MOS."""
    mos = scores["mos"].to_numpy()
    gain = rank_errors(scores[first], mos) - rank_errors(scores[other], mos)
    order = np.argsort(-gain, kind="stable")

    def pictures(rows: np.ndarray) -> list[dict[str, Any]]:
        return [
            {
                "id": int(scores["id"].iloc[row]),
                "image": str(scores["image"].iloc[row]) if "image" in scores else "",
                "says": f"MOS {mos[row]:.2f}, {first} {scores[first].iloc[row]:.2f}, "
                f"{other} {scores[other].iloc[row]:.2f}; "
                f"{abs(gain[row]):.0%} of all ranks {'nearer' if gain[row] > 0 else 'farther'}",
            }
            for row in rows
        ]

    helped = order[:_MOVED][gain[order[:_MOVED]] > 0]
    hurt = order[::-1][:_MOVED][gain[order[::-1][:_MOVED]] < 0]
    groups = {"Helped most": pictures(helped), "Hurt most": pictures(hurt)}
    return {"first": first, "other": other, "groups": groups}


def _thumbnails(path: Path, budget: int) -> dict[str, str]:
    """Data URIs by id, as many as fit a number of bytes."""
    found: dict[str, str] = {}
    if not path.is_file():
        return found
    for row in pd.read_parquet(path).itertuples():
        uri = f"data:image/jpeg;base64,{base64.b64encode(row.jpeg).decode()}"
        budget -= len(uri) + 12
        if budget < 0:
            break
        found[str(row.id)] = uri
    return found


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; make it with evaluate.py --out FOLDER")
    return path


def _template() -> Any:
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = number
    return environment.from_string((Path(__file__).parent / "report_template.html").read_text())
