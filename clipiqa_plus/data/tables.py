"""User data: any table of pictures and opinion scores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from clipiqa_plus.data.base import IQADataModule

FEWEST_ROWS, LEAST_FILLED = 10, 0.1
"""From this number of pictures on, scores must span this share of the declared scale."""


class TableData(IQADataModule):
    """Pictures and scores listed in a CSV, TSV or Parquet file.

    The table has one row per picture: its file (relative to ``root``), its score, and optionally
    the columns ``split`` (``train``, ``val``, ``test``) and ``content`` (shared by pictures of one
    scene; a ``content`` split keeps them together) and ``mos_std``, ``n_ratings`` and counts per
    grade (see :mod:`clipiqa_plus.data.annotations`). Other score columns can be targets.

    Args:
        table: The file: ``.csv``, ``.tsv`` or ``.parquet``.
        mos_range: Required: lowest and highest score that the scale allows. It is never guessed
            from the scores, because two tables on one scale would then be normalised differently.
        higher_is_better: Whether a higher score means better quality.
        root: Folder of the pictures; None uses the folder of the table.
        image_column: Column with the file names.
        mos_column: Column with the scores.
        split: None uses the ``split`` column if there is one, otherwise a random split (by content
            if contents are known).
        **options: The arguments of :class:`~clipiqa_plus.data.base.IQADataModule`.
    """

    title = "table"

    def __init__(
        self,
        table: str,
        mos_range: tuple[float, float] | None = None,
        higher_is_better: bool = True,
        root: str | os.PathLike[str] | None = None,
        image_column: str = "image",
        mos_column: str = "mos",
        split: str | None = None,
        **options: Any,
    ) -> None:
        self.table = Path(table)
        super().__init__(root=root or self.table.parent, split=split, **options)
        self.mos_range = checked_range(mos_range, self.label)
        self.higher_is_better = higher_is_better
        self.image_column = image_column
        self.mos_column = mos_column
        self._split_given = split is not None

    @property
    def label(self) -> str:
        """Name of this data set in error messages."""
        return str(self.table)

    def read_annotations(self) -> pd.DataFrame:
        """Read the table."""
        table = read_table(self.table, (self.image_column, "split", "content"))
        renamed = {self.image_column: "image", self.mos_column: "mos"}
        for column in renamed:
            if column not in table:
                raise ValueError(
                    f"{self.table}: no column {column!r}; there are {', '.join(table.columns)}. "
                    "Name the right ones with image_column and mos_column"
                )
        table = table.rename(columns=renamed)
        if not self._split_given:
            self.split_kind = usual_split(table)
        check_scale(table, self.targets, self.mos_range, self.label)
        return table


def usual_split(table: pd.DataFrame) -> str:
    """Return the default kind of split for a user's table.

    Pictures of one content in both training and test would make prompts look better than they are.

    Args:
        table: Annotations.
    """
    if "split" in table:
        return "official"
    return "content" if "content" in table and table["content"].nunique() > 1 else "random"


def check_scale(
    table: pd.DataFrame, targets: Sequence[str], mos_range: tuple[float, float], label: str
) -> None:
    """Reject a scale that the scores hardly use, such as 1 to 5 declared as 0 to 100.

    Args:
        table: Annotations; fewer than :data:`FEWEST_ROWS` rows are not checked.
        targets: Score columns.
        mos_range: Declared scale.
        label: Name of the table in error messages.

    Raises:
        ValueError: If the scores of a target span less than :data:`LEAST_FILLED` of it.
    """
    low, high = mos_range
    for target in targets:
        if target not in table or len(table) < FEWEST_ROWS:
            continue
        scores = pd.to_numeric(table[target], errors="coerce").dropna()
        filled = float(scores.max() - scores.min()) / (high - low)
        if 0 < filled < LEAST_FILLED:
            raise ValueError(
                f"{label}: {target} goes from {scores.min():g} to {scores.max():g}, {filled:.0%} "
                f"of the declared scale {low:g} to {high:g}; give the true scale as mos_range"
            )


def checked_range(mos_range: tuple[float, float] | None, label: str) -> tuple[float, float]:
    """Return the validated range of a user's scale.

    Raises:
        ValueError: If it is missing, empty or reversed.
    """
    if mos_range is None:
        raise ValueError(
            f"{label}: mos_range is missing; give the lowest and the highest score that the scale "
            "allows, such as --data.mos_range '[1, 5]'"
        )
    low, high = mos_range
    if not low < high:
        raise ValueError(f"mos_range is {low:g} to {high:g}; give the lowest score first")
    return low, high


def read_table(path: Path, text_columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read a CSV, TSV or Parquet file.

    Args:
        path: The file.
        text_columns: Columns read as text in CSV and TSV: an image "007" is not the number 7.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read in the format of its suffix.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such table")
    separators = {".csv": ",", ".tsv": "\t"}
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        if path.suffix in separators:
            kinds = dict.fromkeys(text_columns, str)
            return pd.read_csv(path, sep=separators[path.suffix], dtype=kinds)
    except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors
        raise ValueError(f"{path}: not a readable table ({error})") from error
    raise ValueError(f"{path}: unknown kind of table; use .csv, .tsv or .parquet")
