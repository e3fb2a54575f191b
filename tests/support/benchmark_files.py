"""Small label files in the formats of the benchmarks, and access to the real ones."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clipiqa_plus.data.base import IQADataModule


def picture(path: Path, size: tuple[int, int] = (8, 6)) -> Path:
    """Write a picture of (width, height) in the format of its extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(map(ord, path.name))
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_csv(path: Path, header: str | None, rows: Iterable[str]) -> Path:
    """Write lines below a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*([header] if header else []), *rows]) + "\n", encoding="utf-8")
    return path


def write_sheets(path: Path, sheets: dict[str, list[list[Any]]]) -> Path:
    """Write a workbook; each sheet is a list of rows."""
    from openpyxl import Workbook

    path.parent.mkdir(parents=True, exist_ok=True)
    book = Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def read(data: IQADataModule) -> pd.DataFrame:
    """Read and validate the annotations."""
    return data.annotations


def cells(names: Iterable[str], column: bool = False) -> np.ndarray:
    """A MATLAB cell array of text."""
    names = list(names)
    out = np.empty((len(names), 1) if column else (1, len(names)), dtype=object)
    out.ravel()[:] = names
    return out


def real_labels(*files: str) -> Callable[[Any], Any]:
    """Mark a test that reads the real label files; it gets their folder as ``labels``."""
    folder = os.environ.get("CLIPIQA_LABELS") or None
    absent = [] if folder is None else [f for f in files if not (Path(folder) / f).exists()]
    reason = (
        "CLIPIQA_LABELS does not name the folder of real label files"
        if folder is None
        else f"{', '.join(absent)} is not in CLIPIQA_LABELS"
    )

    def mark(test: Any) -> Any:
        test = pytest.mark.skipif(folder is None or bool(absent), reason=reason)(test)
        return pytest.mark.parametrize("labels", [Path(folder or ".")], ids=["real"])(test)

    return mark


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path
