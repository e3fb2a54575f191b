"""Result tables as text, CSV, JSON, Markdown and LaTeX, and how they are read back."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from filelock import FileLock, Timeout

from clipiqa_plus.evaluation.analyses.gmad import gmad_pairs
from clipiqa_plus.evaluation.analyses.ranks import ranks
from clipiqa_plus.evaluation.comparison import SKIPPED, Comparison
from clipiqa_plus.metrics.resampling import RESAMPLES
from clipiqa_plus.training.curves import training_curves
from clipiqa_plus.training.run_folder import versions, write_json, write_text

RESULTS, DIFFERENCES, PAIRS, RECORD = "results", "differences", "pairs", "evaluation.json"
REPORT = "report.html"
VOTES = "votes"
CROSS_SET, RANKS, GMAD = "cross_set", "ranks", "gmad.json"
SCORES, THUMBNAILS = "scores.parquet", "thumbnails.parquet"
INTERPOLATION, TRAINING = "interpolation.parquet", "training.parquet"
TEXT_COLUMNS = (
    *("data", "target", "prompts", "against", "verdict", "note", "resampled"),
    *("by", "group", "image", "trained_on", "trained_data", "kind", "score"),
)
SHARED = ("data", "target", "against", "resampled", "n")
"""Columns that move to the heading of a table if all rows share their value."""


NO_OVERLAP = NO_DISTRIBUTIONS = pd.DataFrame()


class Evaluated(NamedTuple):
    """The evaluation of one data set, from which its page is made."""

    scores: pd.DataFrame
    """See :func:`~clipiqa_plus.evaluation.evaluation.score`."""
    interpolation: pd.DataFrame
    """See :func:`~clipiqa_plus.evaluation.interpolation.interpolate`."""
    thumbnails: pd.DataFrame
    """See :func:`~clipiqa_plus.evaluation.evaluation.thumbnails`."""
    about: dict[str, Any]
    """See :func:`~clipiqa_plus.evaluation.evaluation.describe`."""
    overlap: pd.DataFrame = NO_OVERLAP
    """See :func:`~clipiqa_plus.evaluation.analyses.overlap.training_overlaps`."""
    distributions: pd.DataFrame = NO_DISTRIBUTIONS
    """See :func:`~clipiqa_plus.evaluation.analyses.distributions.distributions`."""


def named(tables: Comparison) -> dict[str, pd.DataFrame]:
    """Return the tables of a comparison by name, and SRCC and mean ranks across data sets.

    Differences need two sources, the table of all pairs three, the cross-set table two data sets;
    for mean ranks see :func:`~clipiqa_plus.evaluation.analyses.ranks.ranks`.
    """
    found = tables._asdict()
    found |= {CROSS_SET: cross_set(tables.results), RANKS: ranks(tables.results)}
    return {name: table for name, table in found.items() if len(table)}


def cross_set(results: pd.DataFrame) -> pd.DataFrame:
    """Lay SRCC out as a matrix: a row for each source, a column for each data set and target.

    Args:
        results: Results of an evaluation.

    Returns:
        ``prompts`` and one column for each data set; empty for a single one.
    """
    if results.empty or results["data"].nunique() < 2:
        return pd.DataFrame()
    several = results.groupby("data")["target"].nunique() > 1
    labels = [
        f"{row.data}: {row.target}" if several[row.data] else row.data
        for row in results.itertuples()
    ]
    matrix = results.assign(label=labels).pivot(index="prompts", columns="label", values="SRCC")
    order = results["prompts"].unique(), list(dict.fromkeys(labels))
    matrix = matrix.reindex(index=order[0], columns=order[1]).reset_index()
    return matrix.rename_axis(columns=None)


def printable(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table as text: numbers rounded, intervals after their value, empty notes omitted.

    Args:
        table: Results or differences, see
            :func:`~clipiqa_plus.evaluation.comparison.compare_sources`.
    """
    shown = pd.DataFrame(index=table.index)
    for name in table.columns:
        if name.endswith(("_low", "_high")) or (name == "note" and not table[name].any()):
            continue
        signed = name in ("dSRCC", "dPLCC", "gain") or name.endswith("difference")
        form = "+.3f" if signed else ".3f"
        text = [_text(value, name, form) for value in table[name]]
        if f"{name}_low" in table:
            ends = zip(table[f"{name}_low"], table[f"{name}_high"], strict=True)
            text = [
                v if pd.isna(low) else f"{v} [{low:{form}}, {high:{form}}]"
                for v, (low, high) in zip(text, ends, strict=True)
            ]
        shown[name] = text
    return shown


def _text(value: Any, name: str, form: str) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "-"
    if not isinstance(value, float):
        return str(value)
    if name.startswith("p_"):
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    return f"{value:{form}}"


def markdown(table: pd.DataFrame) -> str:
    """Return a table in Markdown."""
    shown = printable(table)
    cells = [list(shown.columns), ["---"] * len(shown.columns), *shown.to_numpy().tolist()]
    return "".join("| " + " | ".join(c.replace("|", r"\|") for c in row) + " |\n" for row in cells)


def latex(table: pd.DataFrame) -> str:
    """Return a table in LaTeX; it needs the package booktabs."""
    shown = printable(table).replace({"<0.001": "$<$0.001"})
    special = {c: rf"\{c}" for c in "&%#_{}"} | {"\\": r"\textbackslash{}", "~": r"\~{}"}
    escaped = [
        [v if v.startswith("$<$") else "".join(special.get(c, c) for c in v) for v in row]
        for row in [list(shown.columns), *shown.to_numpy().tolist()]
    ]
    columns = "l" * len(shown.columns)
    # Cells in braces: LaTeX would read "[" after "\\" as a length.
    lines = [" & ".join(f"{{{v}}}" if v.startswith("[") else v for v in row) for row in escaped]
    body = "\n".join(f"{line} \\\\" for line in lines[1:])
    return (
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{lines[0]} \\\\\n\\midrule\n{body}\n"
        "\\bottomrule\n\\end{tabular}\n"
    )


def start_record(args: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the record of an evaluation: command, versions, and ``data`` to be filled.

    Args:
        args: Arguments of the command; None uses the process's own.
    """
    command = [Path(sys.argv[0]).name, *sys.argv[1:]] if args is None else ["evaluate.py", *args]
    return {
        "command": command,
        "versions": versions(),
        "resamples": RESAMPLES,
        "data": {},
        "votes": {},
    }


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Lock a folder against other evaluations, and remove partial files of a killed one.

    Args:
        folder: Folder of the evaluation; created if necessary.

    Raises:
        FileExistsError: If another evaluation is writing to it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise FileExistsError(
            f"{folder}: another evaluation is writing here; wait until it ends, or name another "
            "folder with --out"
        ) from None
    with lock:
        lock.release()  # the with block holds it on its own
        for left in [*folder.glob(".*.part"), *folder.glob("*/.*.part")]:
            left.unlink()
        try:
            yield
        except KeyboardInterrupt as stop:
            stop.add_note("run the same command to resume; encoded features are kept")
            raise


def save(
    folder: Path,
    name: str,
    tables: Comparison,
    found: Evaluated,
    record: dict[str, Any],
    further: Mapping[str, pd.DataFrame] | None = None,
) -> None:
    """Write an evaluation up to and including one data set.

    ``evaluation.json`` is deleted first and written last: if it exists, all files are consistent.

    Args:
        folder: Gets the tables of :func:`named` and the further ones as csv, json, md and tex, and
            ``evaluation.json``.
        name: Name of the data set; its folder gets ``scores.parquet``, ``interpolation.parquet``,
            ``thumbnails.parquet``, ``gmad.json`` (see
            :func:`~clipiqa_plus.evaluation.analyses.gmad.gmad_pairs`), and ``skipped.csv``:
            pictures without a score, with the reason.
        tables: Tables of all data sets so far.
        found: The evaluation of this data set.
        record: See :func:`start_record`; the facts on this data set are added to its ``data``.
        further: Further tables of all data sets so far, by name; see
            :mod:`~clipiqa_plus.evaluation.analyses.tables`.
    """
    (folder / name).mkdir(parents=True, exist_ok=True)
    _reopen(folder)
    # "./" names the same file, and keeps a spreadsheet from reading the name as a formula.
    skipped = pd.DataFrame(
        [
            (f"./{image}" if image.startswith(("=", "+", "-", "@")) else image, reason)
            for image, reason in found.about["skipped"].items()
        ],
        columns=["image", "reason"],
    )
    write_text(folder / name / SKIPPED, skipped.to_csv(index=False))
    _save_parquet(folder / name / SCORES, found.scores)
    _save_parquet(folder / name / INTERPOLATION, found.interpolation)
    _save_parquet(folder / name / THUMBNAILS, found.thumbnails)
    pairs = gmad_pairs(found.scores, list(found.about["sources"]))
    write_json(folder / name / GMAD, _records(pairs))
    record["data"][name] = found.about
    save_tables(
        folder, {DIFFERENCES: tables.differences, **named(tables), **(further or {})}, record
    )


def save_tables(
    folder: Path, tables: Mapping[str, pd.DataFrame], record: Mapping[str, Any]
) -> None:
    """Write tables of an evaluation, and its record last.

    Args:
        folder: Gets each table as csv, json, md and tex, and ``evaluation.json``.
        tables: Tables by name.
        record: See :func:`start_record`.
    """
    _reopen(folder)
    for kind, table in tables.items():
        write_text(folder / f"{kind}.csv", table.to_csv(index=False))
        write_json(folder / f"{kind}.json", _records(table))
        write_text(folder / f"{kind}.md", markdown(table))
        write_text(folder / f"{kind}.tex", latex(table))
    write_json(folder / RECORD, record)


def _reopen(folder: Path) -> None:
    """Mark an evaluation as unfinished until its record is written again."""
    for old in (RECORD, REPORT):
        (folder / old).unlink(missing_ok=True)


def save_votes(
    folder: Path,
    name: str,
    scores: pd.DataFrame,
    about: dict[str, Any],
    table: pd.DataFrame,
    record: dict[str, Any],
) -> None:
    """Write an evaluation up to and including one set of votes; see :func:`save`.

    Args:
        folder: Gets the table as ``votes.csv``, ``.json``, ``.md`` and ``.tex``.
        name: Name of the set; its folder gets ``scores.parquet``.
        scores: Scores per picture.
        about: Facts on this set, added to the record's ``votes``.
        table: Accuracy of each source on all sets of votes so far.
        record: See :func:`start_record`.
    """
    (folder / name).mkdir(parents=True, exist_ok=True)
    _reopen(folder)
    _save_parquet(folder / name / SCORES, scores)
    record["votes"][name] = about
    save_tables(folder, {VOTES: table}, record)


def save_training(folder: Path, prompts: Mapping[str, str]) -> None:
    """Write the training logs found beside prompt files to ``training.parquet``.

    Args:
        folder: Folder of the evaluation.
        prompts: Prompt sources by name, see
            :func:`~clipiqa_plus.training.curves.training_curves`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _save_parquet(folder / TRAINING, training_curves(prompts))


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows for JSON, which has no NaN."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _save_parquet(path: Path, table: pd.DataFrame) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    table.to_parquet(unfinished, index=False)
    os.replace(unfinished, path)


def existing(path: Path) -> Path:
    """Return a file of a finished evaluation.

    Raises:
        FileNotFoundError: If it does not exist.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file: no finished evaluation; run evaluate.py with --out"
        )
    return path


def load_table(path: Path) -> pd.DataFrame:
    """Read a table that :func:`save` wrote as JSON.

    Raises:
        FileNotFoundError: If the file does not exist.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such table; make it with evaluate.py --out FOLDER")
    table = pd.DataFrame(json.loads(path.read_text()))
    numbers = [c for c in table.columns if c not in TEXT_COLUMNS]
    return table.astype({c: float for c in numbers if c != "n"})
