"""What a study has computed, on disk: a stopped study resumes where it was."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import pandas as pd
from safetensors import safe_open
from safetensors.torch import save

from clipiqa_plus.inference.bulk.durable_files import LineFile, csv_line
from clipiqa_plus.training.fits import Fitted
from clipiqa_plus.training.run_folder import write_json

FACTS = "study.json"
"""File in a study's folder: what its results depend on."""


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
        self.path = folder / "rows.csv"
        self.columns, self.keys = columns, keys
        _open(folder, self.path, settings, overwrite)
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


class StudyFits:
    """Fits of a study on disk, a file each, so that a stopped study can be resumed.

    Args:
        folder: Folder of the study; the files lie in ``fits`` below it.
        settings: What the fits depend on, JSON values.
        overwrite: Start again from scratch.

    Raises:
        ValueError: If the folder holds a study with other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], overwrite: bool = False) -> None:
        self.folder = folder / "fits"
        _open(folder, self.folder, settings, overwrite)
        self.folder.mkdir(exist_ok=True)

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:04d}.safetensors"

    def get(self, number: int) -> Fitted | None:
        """Return a fit, with tensors on the CPU; None if it is not there."""
        file = self._file(number)
        if not file.is_file():
            return None
        with safe_open(file, "pt") as archive:
            values = json.loads(archive.metadata()["fit"])
            return Fitted(archive.get_tensor("ctx"), archive.get_tensor("text"), **values)

    def add(self, number: int, fit: Fitted) -> None:
        """Write a fit; the file appears when it is complete."""
        values = asdict(fit)
        tensors = {name: values.pop(name).cpu().contiguous() for name in ("ctx", "text")}
        unfinished = self._file(number).with_suffix(f".{os.getpid()}.part")
        unfinished.write_bytes(save(tensors, {"fit": json.dumps(values)}))
        os.replace(unfinished, self._file(number))


def _open(folder: Path, results: Path, settings: Mapping[str, Any], overwrite: bool) -> None:
    """Write what a study depends on; refuse results of other settings, or remove them."""
    folder.mkdir(parents=True, exist_ok=True)
    facts, mine = folder / FACTS, json.loads(json.dumps(settings))
    if overwrite:
        shutil.rmtree(results) if results.is_dir() else results.unlink(missing_ok=True)
    elif results.exists() and (not facts.is_file() or json.loads(facts.read_text()) != mine):
        raise ValueError(
            f"{folder}: holds a study with other settings, see {facts}; give another --out, or "
            "--overwrite"
        )
    write_json(facts, mine)
