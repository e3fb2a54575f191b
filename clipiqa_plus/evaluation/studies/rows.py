"""The results of a study on disk, row by row, so that an interrupted study can be resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import pandas as pd

from clipiqa_plus.inference.bulk.durable_files import LineFile, csv_line
from clipiqa_plus.training.run_folder import write_json


class StudyRows:
    """Rows of a study on disk, added one by one, so that a stopped study can be resumed.

    Args:
        folder: Folder of the study.
        columns: Columns of a row; the first ``keys`` of them identify it.
        keys: Number of columns that identify a row.
        settings: What the rows depend on, JSON values.
        overwrite: Start again from scratch.

    Raises:
        ValueError: If the folder holds a study with other settings.
    """

    def __init__(
        self,
        folder: Path,
        columns: list[str],
        keys: int,
        settings: Mapping[str, Any],
        overwrite: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, facts = folder / "rows.csv", folder / "study.json"
        self.columns, self.keys = columns, keys
        mine = json.loads(json.dumps(settings))
        if overwrite:
            self.path.unlink(missing_ok=True)
        elif self.path.is_file() and (not facts.is_file() or json.loads(facts.read_text()) != mine):
            raise ValueError(
                f"{folder}: holds a study with other settings, see {facts}; give another --out, or "
                "--overwrite"
            )
        write_json(facts, mine)
        self._file = LineFile(self.path, csv_line(columns))
        rows = self.table() if self.path.is_file() else pd.DataFrame(columns=columns)
        self.done = set(map(tuple, rows.iloc[:, :keys].astype(str).to_numpy().tolist()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.__exit__()

    def has(self, *key: object) -> bool:
        """Return True if the row of a key exists."""
        return tuple(map(str, key)) in self.done

    def add(self, *row: object) -> None:
        """Add a row."""
        self._file.append(csv_line(row))
        self.done.add(tuple(map(str, row[: self.keys])))

    def table(self) -> pd.DataFrame:
        """Return all rows."""
        return pd.read_csv(self.path)
