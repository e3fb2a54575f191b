"""What people said on a rating page: checked, and turned into a table that training reads."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clipiqa_plus.data.votes import check_votes

GRADES = (1, 2, 3, 4, 5)
"""Stars that a picture may get."""
_COLUMNS = {
    "stars": ("page", "rater", "image", "image_sha256", "stars"),
    "pairs": ("page", "rater", "first", "first_sha256", "second", "second_sha256", "vote"),
}
_TASK = re.compile(r'<script type="application/json" id="task">(.*?)</script>', re.DOTALL)


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a picture's file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_task(page: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what a rating page asks.

    Args:
        page: The HTML file.

    Returns:
        ``id``, ``kind`` (``stars`` or ``pairs``) and ``sha256``: the hash of each picture's file by
        its path.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no rating page.
    """
    path = Path(page)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such page; give the one that people rated on")
    found = _TASK.search(path.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{path}: not a page of 'clipiqa rate suggest'")
    task = json.loads(found[1])
    hashes = {shown["name"]: shown["sha256"] for shown in task["pictures"]}
    return {"id": task["id"], "kind": task["kind"], "sha256": hashes}


def import_ratings(
    files: Sequence[str | os.PathLike[str]],
    page: str | os.PathLike[str],
    root: str | os.PathLike[str],
) -> tuple[str, pd.DataFrame]:
    """Check the CSV files that were saved from a page, and join them.

    Args:
        files: The files; a file without the name of a rater is by a rater of its own.
        page: The page that people rated on.
        root: Folder of the pictures.

    Returns:
        The kind of the page. For stars a table with ``image``, ``mos``, ``mos_std`` (of the single
        ratings, n - 1; 0 of a single one), ``n_ratings`` and ``count_1`` to ``count_5``, a row for
        each picture; for pairs a table of votes, see :mod:`clipiqa_plus.data.votes.table`.

    Raises:
        FileNotFoundError: If a file, or a picture that was rated, does not exist.
        ValueError: If a file is from another page, a picture has changed, a grade is out of range,
            or a rater contradicts himself; names the file and the row.
    """
    task = read_task(page)
    if not files:
        raise ValueError("no files of ratings; give the CSV files that were saved from the page")
    tables = [_read(Path(file), task) for file in files]
    said = pd.concat(tables, ignore_index=True)
    _check_pictures(said, task, Path(root))
    return task["kind"], _scores(said) if task["kind"] == "stars" else _votes(said)


def _read(path: Path, task: Mapping[str, Any]) -> pd.DataFrame:
    """One file, with ``where`` naming each row."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of ratings")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except ValueError as error:
        raise ValueError(f"{path}: not a readable table ({error})") from error
    columns = _COLUMNS[task["kind"]]
    absent = [name for name in columns if name not in table]
    if absent:
        raise ValueError(
            f"{path}: no column {', '.join(absent)}; a file of {task['kind']} saved from the page "
            f"has {', '.join(columns)}"
        )
    if table.empty:
        raise ValueError(f"{path}: there are no ratings")
    table["where"] = [f"{path}: row {row}" for row in range(1, len(table) + 1)]
    for row in table[table["page"] != task["id"]].itertuples():
        raise ValueError(f"{row.where}: from page {row.page}, not {task['id']}: give that page")
    table["rater"] = table["rater"].str.strip().replace("", path.stem)
    return table


def _check_pictures(said: pd.DataFrame, task: Mapping[str, Any], root: Path) -> None:
    """Every picture is one of the page's, and its file is still the one that was shown."""
    columns = ["image"] if task["kind"] == "stars" else ["first", "second"]
    known: dict[str, str] = {}
    for row in said.to_dict("records"):
        for column in columns:
            name, where = row[column], row["where"]
            if name not in task["sha256"]:
                raise ValueError(f"{where}: {name} is not on the page")
            if row[f"{column}_sha256"] != task["sha256"][name]:
                raise ValueError(f"{where}: the hash of {name} is not that on the page")
            if name not in known:
                path = root / name
                if not path.is_file():
                    raise FileNotFoundError(f"{where}: {path} does not exist; correct --root")
                known[name] = sha256_of_file(path)
            if known[name] != task["sha256"][name]:
                raise ValueError(f"{where}: {root / name} has changed since it was put on the page")


def _scores(said: pd.DataFrame) -> pd.DataFrame:
    grades = pd.to_numeric(said["stars"], errors="coerce")
    for row in said[~grades.isin(GRADES)].itertuples():
        raise ValueError(f"{row.where}: {row.stars!r} stars; a grade is a whole number, 1 to 5")
    said = said.assign(grade=grades.astype(int))
    first: dict[tuple[str, str], Any] = {}
    for row in said.itertuples():
        earlier = first.setdefault((row.rater, row.image), row)
        if earlier.grade != row.grade:
            raise ValueError(
                f"{row.where}: {row.rater} gives {row.image} {row.grade} stars, but "
                f"{earlier.grade} in {earlier.where}; remove one of them"
            )
    by_picture = said.drop_duplicates(["rater", "image"]).groupby("image")["grade"]
    table = by_picture.agg(mos="mean", mos_std="std", n_ratings="count").reset_index()
    table["mos_std"] = table["mos_std"].fillna(0.0)
    for grade in GRADES:
        counts = by_picture.agg(lambda given, g=grade: int((given == g).sum()))
        table[f"count_{grade}"] = counts.to_numpy(dtype=np.int64)
    return table


def _votes(said: pd.DataFrame) -> pd.DataFrame:
    once = said.drop_duplicates(["rater", "first", "second", "vote"]).reset_index(drop=True)
    rows = once[["first", "second", "vote", "rater"]]
    files = ", ".join(dict.fromkeys(where.rpartition(": row ")[0] for where in said["where"]))
    return check_votes(rows, files).drop(columns="n")
