"""User data: any table of pictures and opinion scores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from clipiqa_plus.data.base import IQADataModule


class TableData(IQADataModule):
    """Pictures and scores named in a CSV or Parquet file.

    The table has a row per picture: its file (relative to ``root``), its score, and optionally
    the columns ``split`` (``train``, ``val``, ``test``) and ``content`` (pictures of one scene
    share it; a ``content`` split keeps them together). Columns of other scores can be targets.

    Args:
        table: The file: ``.csv``, ``.tsv`` or ``.parquet``.
        mos_range: Lowest and highest score that the scale allows. It is never guessed from the
            scores, which would make two tables of one scale differ.
        higher_is_better: Whether a higher score means better quality.
        root: Folder of the pictures; None takes the folder of the table.
        image_column: Column with the file names.
        mos_column: Column with the scores.
        split: None takes the ``split`` column if there is one, else a random split.
        **options: The arguments of :class:`~clipiqa_plus.data.base.IQADataModule`.
    """

    title = "table"

    def __init__(
        self,
        table: str,
        mos_range: tuple[float, float],
        higher_is_better: bool = True,
        root: str | os.PathLike[str] | None = None,
        image_column: str = "image",
        mos_column: str = "mos",
        split: str | None = None,
        **options: Any,
    ) -> None:
        self.table = Path(table)
        super().__init__(root=root or self.table.parent, split=split, **options)
        self.mos_range = checked_range(mos_range)
        self.higher_is_better = higher_is_better
        self.image_column = image_column
        self.mos_column = mos_column
        self._split_given = split is not None

    @property
    def label(self) -> str:
        """What errors call this data set."""
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
            self.split_kind = "official" if "split" in table else "random"
        return table


def checked_range(mos_range: tuple[float, float]) -> tuple[float, float]:
    """Return the range of a user's scale.

    Raises:
        ValueError: If it is empty or upside down.
    """
    low, high = mos_range
    if not low < high:
        raise ValueError(f"mos_range is {low:g} to {high:g}; give the lowest score first")
    return low, high


def read_table(path: Path, text_columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read a CSV, TSV or Parquet file.

    Args:
        path: The file.
        text_columns: Columns that stay text in CSV and TSV: an image "007" is not number 7.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read as what its ending says.
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
