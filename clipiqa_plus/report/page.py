"""An evaluation as one HTML page that opens offline, made from its saved files without a model."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import vl_convert
from jinja2 import Environment
from markupsafe import Markup

from clipiqa_plus.evaluation.comparison import rank_correlation
from clipiqa_plus.evaluation.coverage import coverage_lines
from clipiqa_plus.evaluation.interpolation import along
from clipiqa_plus.evaluation.rank_changes import RankChange, data_uris, largest_rank_changes
from clipiqa_plus.evaluation.results import (
    DIFFERENCES,
    INTERPOLATION,
    PAIRS,
    RECORD,
    REPORT,
    RESULTS,
    SCORES,
    THUMBNAILS,
    TRAINING,
    cross_set,
    load_table,
)
from clipiqa_plus.report.picture_charts import (
    Chart,
    number,
    picture_charts,
    picture_table,
    records,
    shown,
)
from clipiqa_plus.report.summary_charts import (
    FEWEST_SPOKES,
    MOST_SPOKES,
    heatmap,
    interpolation_charts,
    radar,
    training_charts,
)
from clipiqa_plus.report.tables import cells, summary, verdicts
from clipiqa_plus.training.run_folder import write_text

PAGE_BYTES = 9_000_000
"""Page size that thumbnails may fill; those of the smallest rank changes are left out."""


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
    context = _context(folder)
    names = list(context["record"]["data"])
    bare = _template().render(context, thumbnails=_compact({}))
    budget = (PAGE_BYTES - len(bare.encode())) // len(names)
    thumbnails = {name: data_uris(folder / name / THUMBNAILS, budget) for name in names}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, _template().render(context, thumbnails=_compact(thumbnails)))
    return path


def _context(folder: Path) -> dict[str, Any]:
    """The template's variables except thumbnails."""
    results = load_table(folder / f"{RESULTS}.json")
    differences = load_table(folder / f"{DIFFERENCES}.json")
    record = json.loads(_existing(folder / RECORD).read_text())
    names = [str(name) for name in dict.fromkeys(results["data"])]
    specs: dict[str, Any] = {}

    def placed(charts: Iterable[Chart], points: str = "") -> list[dict[str, str]]:
        """Give charts their ids, and keep their specifications for the browser."""
        elements = []
        for chart in charts:
            element = f"chart-{len(specs)}"
            specs[element] = {"spec": chart.spec, "points": points}
            elements.append(
                {"id": element, "caption": chart.caption, "alt": chart.alt, "note": chart.note}
            )
        return elements

    sections = [_section(folder, name, results[results["data"] == name]) for name in names]
    overview = [heatmap(cross_set(results))] if len(names) > 1 else []
    overview += [section["radar"] for section in sections if section["radar"]]
    points = {}
    for section in sections:
        for target in section["targets"]:
            target["charts"] = placed(target["charts"], target["points"])
            points[target["points"]] = target["table"]
    notes = [*results["note"], *differences.get("note", []), *coverage_lines(record)]
    return {
        "title": "Prompts compared",
        "sentences": summary(results, differences),
        "results": cells(results, verdicts(results, differences)),
        "differences": cells(differences, {}),
        "pairs": _pairs(folder, results),
        "notes": [n for n in dict.fromkeys(notes) if n],
        "overview": placed(overview),
        "training": placed(_training(folder, list(dict.fromkeys(results["prompts"])))),
        "sections": sections,
        "specs": _compact(specs),
        "points": _compact(points),
        "inside": _inside(record),
        "record": record,
        "command": _command_line(record["command"]),
        "library": _library(),
    }


def _pairs(folder: Path, results: pd.DataFrame) -> dict[str, Any] | None:
    """The table of all pairs; None for one or two sources, or for older evaluations without it."""
    path = folder / f"{PAIRS}.json"
    if results["prompts"].nunique() < 3 or not path.is_file():
        return None
    return cells(load_table(path), {})


def _section(folder: Path, name: str, results: pd.DataFrame) -> dict[str, Any]:
    """Charts, breakdown and pictures of one data set, target by target."""
    scores = pd.read_parquet(_existing(folder / name / SCORES))
    interpolated = pd.read_parquet(_existing(folder / name / INTERPOLATION))
    sources = list(dict.fromkeys(results["prompts"]))
    targets = [
        _target(name, str(target), group.reset_index(drop=True), interpolated, sources)
        for target, group in scores.groupby("target", sort=False)
    ]
    matrix = results.pivot(index="target", columns="prompts", values="SRCC")
    matrix = matrix.loc[[t["target"] for t in targets], sources]
    return {
        "name": name,
        "anchor": f"data-{name}",
        "targets": targets,
        "radar": _radar(f"SRCC of each target, {name}", matrix),
    }


def _target(
    name: str, target: str, scores: pd.DataFrame, interpolated: pd.DataFrame, sources: list[str]
) -> dict[str, Any]:
    where = f"{name} ({target})"
    table = picture_table(scores, sources)
    drawn = shown(table)
    charts = picture_charts(where, table, sources)
    line = along(interpolated[interpolated["target"] == target], scores)
    charts += interpolation_charts(where, line, sources)
    breakdown = _breakdown(scores, sources)
    by_distortion = _radar(f"SRCC by distortion, {where}", breakdown[sources])
    return {
        "target": target,
        "title": f"{name}: {target}",
        "points": f"{name}/{target}",
        "table": {"data": name, "columns": _columns(drawn)},
        "drawn": len(drawn),
        "pictures": len(table),
        "charts": charts if by_distortion is None else [*charts, by_distortion],
        "breakdown": cells(breakdown.reset_index(), {}) if len(breakdown) else None,
        "moved": [_moved(scores, sources[0], other) for other in sources[1:]],
    }


def _breakdown(scores: pd.DataFrame, sources: list[str]) -> pd.DataFrame:
    """SRCC of each source within each distortion, where distortions are known."""
    if "distortion" not in scores:
        return pd.DataFrame(columns=["n", *sources])
    rows = {
        str(distortion): {
            "n": len(group),
            **{s: rank_correlation(group[s], group["mos"]) for s in sources},
        }
        for distortion, group in scores.groupby("distortion", sort=True)
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("distortion")


def _radar(title: str, matrix: pd.DataFrame) -> Chart | None:
    """A radar of the rows with a value for some source; None for too few or too many rows."""
    known = matrix.dropna(how="all")
    if not FEWEST_SPOKES <= len(known) <= MOST_SPOKES:
        return None
    return radar(title, [str(name) for name in known.index], known)


def _moved(scores: pd.DataFrame, first: str, other: str) -> dict[str, Any]:
    def captioned(pictures: Iterable[RankChange]) -> list[dict[str, Any]]:
        return [
            {
                "id": p.id,
                "image": p.image,
                "caption": f"MOS {p.mos:.2f}, {first} {p.first:.2f}, {other} {p.other:.2f}; "
                f"{abs(p.gain):.0%} of all ranks {'nearer' if p.gain > 0 else 'farther'}",
            }
            for p in pictures
        ]

    helped, hurt = largest_rank_changes(scores, first, other)
    groups = {"Helped most": captioned(helped), "Hurt most": captioned(hurt)}
    return {"first": first, "other": other, "groups": groups}


def _training(folder: Path, sources: list[str]) -> list[Chart]:
    path = folder / TRAINING
    return training_charts(pd.read_parquet(path), sources) if path.is_file() else []


def _inside(record: dict[str, Any]) -> dict[str, Any]:
    """Nearest words and cosines of learned prompts by source; equal in every data set."""
    return {
        source: facts
        for about in record["data"].values()
        for source, facts in about["sources"].items()
        if facts.get("nearest_words")
    }


def _columns(table: pd.DataFrame) -> dict[str, list[Any]]:
    rows = records(table)
    return {str(name): [row[str(name)] for row in rows] for name in table}


def _compact(content: Any) -> Markup:
    """JSON for a script element, escaped so that no content can close the element."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    for sign in "<>&'":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


@cache
def _library() -> Markup:
    """Vega, Vega-Lite and Vega-Embed in one script."""
    code = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return Markup(code.replace("</script", r"<\/script"))


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file: no finished evaluation; run evaluate.py with --out"
        )
    return path


def _template() -> Any:
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = number
    return environment.from_string((Path(__file__).parent / "template.html").read_text())


def _command_line(command: Sequence[str]) -> str:
    """The command of a record as one types it: clipiqa is a program, evaluate.py a file."""
    return shlex.join(["python", *command] if command[0].endswith(".py") else command)
