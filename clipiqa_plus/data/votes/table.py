"""Files of votes, and their checks.

A file has one row per vote:

- ``first``, ``second``: the two pictures;
- ``vote``: ``first``, ``second`` or ``same``; also ``better`` and ``worse``, said of the first;
- ``rater`` (optional): who voted; no rater may vote both ways on one pair;
- ``n`` (optional): number of equal votes that the row stands for;
- ``content`` (optional): what both pictures show, such as the reference image;
- ``split`` (optional): ``train``, ``val`` or ``test``.

A JSON file is a list of objects with these keys.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clipiqa_plus.data.tables import read_table

VOTES = {"first": "first", "better": "first", "second": "second", "worse": "second", "same": "same"}
"""What a vote may be, and what it means."""
_NEEDED = ("first", "second", "vote")
_TEXT = (*_NEEDED, "rater", "content", "split")


def read_votes(path: Path, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Read and check a file of votes.

    Args:
        path: The file: ``.csv``, ``.tsv``, ``.parquet`` or ``.json``.
        columns: Names that the file has for some of the columns, by ours.

    Returns:
        One row per vote, in the order of the file: ``first``, ``second``, ``vote`` (``first``,
        ``second`` or ``same``), ``n``, and those of ``rater``, ``content`` and ``split`` that the
        file has.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: On a defect; names the row, counted from 1 without the header.
    """
    renamed = {theirs: ours for ours, theirs in (columns or {}).items()}
    text = [theirs for theirs, ours in renamed.items() if ours in _TEXT]
    table = _read_json(path) if path.suffix == ".json" else read_table(path, (*_TEXT, *text))
    table = table.rename(columns=renamed)
    absent = [name for name in _NEEDED if name not in table]
    if absent:
        raise ValueError(
            f"{path}: no column {', '.join(absent)}; there are {', '.join(map(str, table))}. Votes "
            "need first, second and vote: map other names with the option columns"
        )
    if table.empty:
        raise ValueError(f"{path}: there are no votes")
    kept = [*_NEEDED, *(name for name in ("rater", "content", "split", "n") if name in table)]
    return check_votes(table[kept].reset_index(drop=True), str(path))


def _read_json(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of votes")
    try:
        rows: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not readable JSON ({error})") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path}: votes are a list of objects with first, second and vote")
    table = pd.DataFrame(rows)
    for name in set(_TEXT) & set(table):
        table[name] = [None if value is None else str(value) for value in table[name]]
    return table


def check_votes(table: pd.DataFrame, label: str) -> pd.DataFrame:
    """Check votes.

    Args:
        table: ``first``, ``second``, ``vote`` and the optional columns.
        label: Name of the file, for errors.

    Returns:
        The table with the meaning of each vote in ``vote`` and the number of votes in ``n``.

    Raises:
        ValueError: If a picture is not named, a pair is of one picture, a vote is none of
            :data:`VOTES`, a number is not whole and positive, or a rater prefers each of two
            pictures to the other.
    """

    def fail(bad: pd.Series, what: str, remedy: str) -> None:
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            values = {str(name): value for name, value in table.iloc[row].items()}
            count = f" ({int(bad.sum())} such rows)" if bad.sum() > 1 else ""
            raise ValueError(f"{label}: row {row + 1}: {what.format(**values)}{count}; {remedy}")

    for name in ("first", "second"):
        missing = table[name].isna() | (table[name].astype(str).str.strip() == "")
        fail(missing, f"{name} is empty", "name the picture or remove the row")
    words = table["vote"].astype("string").str.strip().str.casefold()
    known = f"a vote is one of {', '.join(VOTES)}"
    fail(~words.isin(list(VOTES)).fillna(False).astype(bool), "vote is '{vote}'", known)
    alone = table["first"] == table["second"]
    fail(alone, "{first} is compared with itself", "a pair is of two pictures")
    if "split" in table:
        parts = table["split"].isin(["train", "val", "test"])
        fail(~parts, "split is '{split}'", "it is train, val or test")
    numbers = pd.to_numeric(table.get("n", pd.Series(1, table.index)), errors="coerce")
    whole = (numbers >= 1) & (numbers % 1 == 0)
    fail(~whole, "n is '{n}'", "the number of votes is a whole number, at least 1")
    checked = table.assign(vote=words.map(VOTES), n=numbers.astype(np.int64))
    _refuse_contradictions(checked, label)
    return checked


def _refuse_contradictions(votes: pd.DataFrame, label: str) -> None:
    """Refuse that a rater prefers each of two pictures to the other."""
    decided = votes[votes["vote"] != "same"]
    if "rater" not in votes or decided.empty:
        return
    decided = decided[decided["rater"].notna()]
    better = decided["first"].where(decided["vote"] == "first", decided["second"])
    worse = decided["second"].where(decided["vote"] == "first", decided["first"])
    said = pd.DataFrame({"rater": decided["rater"], "better": better, "worse": worse})
    said["row"] = said.index + 1
    first = said.drop_duplicates(["rater", "better", "worse"])
    opposite = first.rename(columns={"better": "worse", "worse": "better"})
    both = first.merge(opposite, on=["rater", "better", "worse"], suffixes=("", "_other"))
    if len(both):
        pair = both.sort_values("row").iloc[0]
        rows = sorted((int(pair["row"]), int(pair["row_other"])))
        raise ValueError(
            f"{label}: rows {rows[0]} and {rows[1]}: rater {pair['rater']} prefers "
            f"{pair['better']} to {pair['worse']}, and {pair['worse']} to {pair['better']} "
            f"({len(both) // 2} such pairs); remove one of them, or both"
        )
