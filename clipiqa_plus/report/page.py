"""An evaluation as one HTML page that opens offline, made from its saved files without a model."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from clipiqa_plus.evaluation.analyses.tables import (
    BREAKDOWN,
    DISTRIBUTIONS,
    KRASULA,
    KRASULA_PAIRS,
    OVERLAP,
    P1401,
    P1401_PAIRS,
    left_out_lines,
)
from clipiqa_plus.evaluation.coverage import coverage_lines
from clipiqa_plus.evaluation.rank_changes import data_uris
from clipiqa_plus.evaluation.results import (
    DIFFERENCES,
    PAIRS,
    RANKS,
    RECORD,
    REPORT,
    RESULTS,
    THUMBNAILS,
    TRAINING,
    VOTES,
    existing,
    load_table,
)
from clipiqa_plus.evaluation.votes import sentences
from clipiqa_plus.report.charts import Chart
from clipiqa_plus.report.rendering import compact, library, render
from clipiqa_plus.report.sections import section
from clipiqa_plus.report.sentences import headline, summary
from clipiqa_plus.report.summary_charts import rank_chart, training_charts
from clipiqa_plus.report.tables import cells, cross_table, forest, matrices, verdicts
from clipiqa_plus.training.run_folder import write_text

PAGE_BYTES = 8_600_000
"""Page size that pictures may fill; those of the smallest rank changes are left out."""
_MORE = {
    KRASULA: "Krasula's analysis: does a source know which pictures differ, and which is better?",
    KRASULA_PAIRS: "Krasula's analysis: sources compared",
    P1401: "ITU-T P.1401: monotonic mapping, RMSE* and outlier ratio",
    P1401_PAIRS: "ITU-T P.1401: sources compared",
    DISTRIBUTIONS: "Distributions over grades, against those of the raters",
    OVERLAP: "Training pictures among the tested ones",
}
"""Tables behind a fold, by the name of their file."""


def write_report(folder: str | Path, page: str | Path | None = None) -> Path:
    """Write the page of an evaluation.

    Args:
        folder: The ``--out`` of ``evaluate.py``.
        page: HTML file to write; None takes ``report.html`` in the folder.

    Returns:
        The page.

    Raises:
        FileNotFoundError: If the folder holds no evaluation.
    """
    folder = Path(folder)
    path = folder / REPORT if page is None else Path(page)
    record = json.loads(existing(folder / RECORD).read_text())
    path.parent.mkdir(parents=True, exist_ok=True)
    if not record["data"]:
        write_text(path, render("votes.html", **_votes_context(folder, record)))
        return path
    context = _context(folder)
    names = list(context["record"]["data"])
    bare = render("page.html", **context, pictures=compact({}))
    budget = (PAGE_BYTES - len(bare.encode())) // len(names)
    pictures = {name: data_uris(folder / name / THUMBNAILS, budget) for name in names}
    write_text(path, render("page.html", **context, pictures=compact(pictures)))
    return path


class _Specs(dict[str, Any]):
    """Specifications of the charts by the id of their element, kept for the browser."""

    def placed(self, charts: Iterable[Chart], points: str = "") -> list[dict[str, Any]]:
        """Give charts their ids."""
        elements = []
        for chart in charts:
            element = f"chart-{len(self)}"
            self[element] = {"spec": chart.spec, "points": points}
            elements.append({**chart._asdict(), "id": element, "spec": None})
        return elements


def _context(folder: Path) -> dict[str, Any]:
    """The template's variables except pictures."""
    results = load_table(folder / f"{RESULTS}.json")
    differences = load_table(folder / f"{DIFFERENCES}.json")
    record = json.loads(existing(folder / RECORD).read_text())
    sources = [str(name) for name in dict.fromkeys(results["prompts"])]
    breakdown = _optional(folder, BREAKDOWN)
    specs, points, sections = _Specs(), {}, []
    for name in dict.fromkeys(map(str, results["data"])):
        groups = breakdown[breakdown["data"] == name] if len(breakdown) else breakdown
        # The sources of this data set: an evaluation may have left one out.
        own = [s for s in sources if s in set(results.loc[results["data"] == name, "prompts"])]
        found = section(folder, name, own, _about(record["data"][name]), groups)
        for target in found["targets"]:
            points[target["points"]] = target["table"]
            for kind in ("scatters", "groups", "charts"):
                target[kind] = specs.placed(target[kind], target["points"])
        sections.append(found)
    ranks = _optional(folder, RANKS)
    training = folder / TRAINING
    curves = training_charts(pd.read_parquet(training), sources) if training.is_file() else []
    return {
        "title": _title(sources, differences, sections),
        "verdict": headline(results, differences),
        "facts": _facts(results, record),
        "overview": forest(results, differences, sources),
        "cross": cross_table(results),
        "ranks": specs.placed([rank_chart(ranks)] if len(ranks) else []),
        "sentences": summary(results, differences),
        "votes": _votes(folder, record),
        "results": cells(results, verdicts(results, differences)),
        "differences": cells(differences),
        **_pairs(folder, results),
        "more": _more(folder),
        "notes": _notes(folder, results, differences, record),
        "training": specs.placed(curves),
        "sections": sections,
        "specs": compact(specs),
        "points": compact(points),
        "inside": _inside(record),
        "record": record,
        "command": _command_line(record["command"]),
        "library": library(),
    }


def _title(
    sources: Sequence[str], differences: pd.DataFrame, sections: Sequence[dict[str, Any]]
) -> str:
    """The sources and data sets by name where they are few."""
    others = [s for s in sources if differences.empty or s != differences["against"].iloc[0]]
    listed = ", ".join(others) if len(others) < 5 else f"{len(others)} sources"
    against = "" if differences.empty else f" against {differences['against'].iloc[0]}"
    names = [s["name"] for s in sections]
    where = ", ".join(names) if len(names) < 4 else f"{len(names)} data sets"
    return f"{listed}{against} on {where}"


def _about(facts: dict[str, Any]) -> str:
    """A data set in words."""
    part = f"{facts['part']} part of the {facts['split']} split"
    return f"{facts['pictures']:,} pictures of {facts['dataset']}, {part}."


def _facts(results: pd.DataFrame, record: dict[str, Any]) -> list[str]:
    """The facts below the verdict."""
    data = list(record["data"].values())
    towers = {about["backbone"] for facts in data for about in facts["sources"].values()}
    total = sum(facts["pictures"] for facts in data)
    facts = [f"{total:,} pictures", *(f"backbone {name}" for name in sorted(towers))]
    if len(data) > 1:
        facts.insert(0, f"{len(data)} data sets")
    if results["SRCC_low"].notna().any():
        units = {text for text in results["resampled"] if text}
        what = f" of {units.pop()}" if len(units) == 1 else ""
        facts.append(f"95% intervals from {record['resamples']:,} bootstrap resamples{what}")
    return facts


def _pairs(folder: Path, results: pd.DataFrame) -> dict[str, Any]:
    """All pairs as matrices and as a table; nothing for one or two sources."""
    pairs = _optional(folder, PAIRS)
    if results["prompts"].nunique() < 3 or pairs.empty:
        return {"matrices": [], "pairs": None}
    return {"matrices": matrices(pairs), "pairs": cells(pairs)}


def _votes(folder: Path, record: dict[str, Any]) -> dict[str, Any] | None:
    """The accuracy on votes as a table; None without votes."""
    if not record.get("votes"):
        return None
    table = _optional(folder, VOTES)
    return {**cells(table.drop(columns="note")), "notes": list(dict.fromkeys(table["note"]))}


def _votes_context(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """The variables of the page of an evaluation on votes alone."""
    table = _optional(folder, VOTES)
    return {
        "title": f"Accuracy on votes: {', '.join(dict.fromkeys(table['data']))}",
        "sentences": sentences(table),
        "votes": _votes(folder, record),
        "record": record,
        "command": _command_line(record["command"]),
    }


def _more(folder: Path) -> list[dict[str, Any]]:
    found = []
    for name, title in _MORE.items():
        table = _optional(folder, name)
        numbers = table.select_dtypes("number").drop(columns="n", errors="ignore")
        if len(table) and (name == OVERLAP or numbers.notna().any(axis=None)):
            found.append({"title": title, **cells(table)})
    return found


def _notes(
    folder: Path, results: pd.DataFrame, differences: pd.DataFrame, record: dict[str, Any]
) -> list[str]:
    """Limits of the numbers, each once."""
    notes = [*results["note"], *differences.get("note", [])]
    for name in _MORE:
        notes += list(_optional(folder, name).get("note", []))
    notes += left_out_lines(record)
    notes += coverage_lines(record)
    return [note for note in dict.fromkeys(notes) if note]


def _optional(folder: Path, name: str) -> pd.DataFrame:
    """A saved table; empty where there is none, as in evaluations by older versions."""
    path = folder / f"{name}.json"
    table = pd.DataFrame(json.loads(path.read_text()) if path.is_file() else [])
    return table.astype({c: float for c in table if table[c].isna().all()})


def _inside(record: dict[str, Any]) -> dict[str, Any]:
    """Nearest words and cosines of learned prompts by source; equal in every data set."""
    return {
        source: facts
        for about in record["data"].values()
        for source, facts in about["sources"].items()
        if facts.get("nearest_words")
    }


def _command_line(command: Sequence[str]) -> str:
    """The command of a record as one types it: clipiqa is a program, evaluate.py a file."""
    return shlex.join(["python", *command] if command[0].endswith(".py") else command)
