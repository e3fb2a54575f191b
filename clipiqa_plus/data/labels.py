"""Label files to tables; each defect raises one error that names the file and the remedy."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.io import loadmat


def read_csv(path: Path, columns: Sequence[str], remedy: str = "", **options: Any) -> pd.DataFrame:
    """Read a delimited text file.

    Args:
        path: The file.
        columns: Required columns; with ``header=None`` the names of all columns.
        remedy: What to do if it is the wrong file; appended to the error.
        **options: Passed to :func:`pandas.read_csv`.

    Returns:
        The table, with runs of blanks in column names collapsed to one.

    Raises:
        ValueError: If it is not such a table, is a saved web page, or lacks a column.
    """
    with path.open("rb") as file:
        start = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html")):
        raise ValueError(
            f"{path}: this is a saved web page, not the table itself; download the raw file. "
            f"{remedy}"
        )
    headless = "header" in options and options["header"] is None
    if headless:
        options["names"] = list(columns)
        options["index_col"] = False
    try:
        with warnings.catch_warnings():
            # pandas only warns about a line with more fields than names, and drops them.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(path, skipinitialspace=True, encoding="utf-8-sig", **options)
    except (ValueError, OSError, pd.errors.ParserWarning) as error:
        raise ValueError(f"{path}: not a readable table ({error}). {remedy}") from error
    return _with_columns(table, columns, path, remedy)


def read_sheet(
    path: Path, sheet: str | int, columns: Sequence[str], remedy: str = ""
) -> pd.DataFrame:
    """Read a table from a sheet of an Excel workbook (``.xls`` or ``.xlsx``).

    The header may be in any of the first ten rows and start in any column. Rows without a value in
    the first of ``columns`` are padding and are dropped.

    Args:
        path: The workbook.
        sheet: Name or number of the sheet.
        columns: Required columns.
        remedy: What to do if it is the wrong file; appended to the error.

    Returns:
        DataFrame of the rows below the header.

    Raises:
        ValueError: If it is not a workbook, or has no such sheet or columns.
    """
    try:
        with pd.ExcelFile(path, engine="calamine") as book:
            sheets = book.sheet_names
            if isinstance(sheet, str) and sheet not in sheets:
                raise ValueError(f"no sheet {sheet!r}; it has {', '.join(map(str, sheets))}")
            cells = pd.read_excel(book, sheet_name=sheet, header=None)
    except ImportError:
        raise
    except Exception as error:  # the engine's own errors share no base class
        raise ValueError(f"{path}: not the expected workbook ({error}). {remedy}") from error
    for row in range(min(len(cells), 10)):
        names = [" ".join(str(cell).split()) for cell in cells.iloc[row]]
        if set(columns) <= set(names):
            break
    else:
        names = [" ".join(str(cell).split()) for cell in (cells.iloc[0] if len(cells) else [])]
        row = 0
    table = cells.iloc[row + 1 :].set_axis(names, axis=1).reset_index(drop=True)
    table = _with_columns(table, columns, path, remedy)
    return table[table[columns[0]].notna()].infer_objects().reset_index(drop=True)


def read_mat(path: Path, names: Sequence[str], remedy: str = "") -> dict[str, NDArray[Any]]:
    """Read variables of a MATLAB file as flat arrays.

    Args:
        path: The ``.mat`` file.
        names: Required variables.
        remedy: What to do if it is the wrong file; appended to the error.

    Returns:
        One array [N] for each name: numbers, or text if the variable is a cell array.

    Raises:
        ValueError: If it is not a MATLAB file or lacks a variable.
    """
    try:
        content = loadmat(path)
    except Exception as error:  # loadmat raises many kinds for a broken or foreign file
        raise ValueError(f"{path}: not a readable MATLAB file ({error}). {remedy}") from error
    found = [name for name in content if not name.startswith("__")]
    absent = [name for name in names if name not in content]
    if absent:
        raise ValueError(
            f"{path}: no variable {', '.join(absent)}; it has {', '.join(found)}. {remedy}"
        )
    arrays = {name: np.asarray(content[name]).ravel() for name in names}
    return {name: _text(a) if a.dtype == object else a for name, a in arrays.items()}


def name_parts(names: pd.Series, pattern: str, path: Path, remedy: str = "") -> pd.DataFrame:
    """Split picture names into their parts.

    Args:
        names: N picture names.
        pattern: Regular expression with named groups, case-insensitive.
        path: The label file, for the error.
        remedy: What to do if a name does not match; appended to the error.

    Returns:
        DataFrame [N] of text, one column for each group.

    Raises:
        ValueError: If a name does not match; names the row.
    """
    parts = names.astype(str).str.extract(f"^(?i:{pattern})$")
    unfit = parts.isna().all(axis=1).to_numpy()
    if unfit.any():
        row = int(np.flatnonzero(unfit)[0])
        raise ValueError(
            f"{path}: row {row + 1}: {names.iloc[row]!r} is not a picture name of this data set "
            f"({int(unfit.sum())} such rows). {remedy}"
        )
    return parts


def whole_numbers(column: pd.Series, path: Path, remedy: str = "") -> pd.Series:
    """Return a column of whole numbers as int64.

    Args:
        column: N numbers, or text; its name is used in the error.
        path: The label file, for the error.
        remedy: What to do if it is the wrong file; appended to the error.

    Raises:
        ValueError: If a value is empty or not a whole number; names the row.
    """
    if pd.api.types.is_integer_dtype(column):
        return column.astype(np.int64)
    values = pd.to_numeric(column, errors="coerce")
    bad = ~(values % 1 == 0).to_numpy()
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"{path}: row {row + 1}: {column.name} is '{column.iloc[row]}'; it must be a whole "
            f"number. {remedy}"
        )
    return values.astype(np.int64)


def _with_columns(
    table: pd.DataFrame, columns: Sequence[str], path: Path, remedy: str
) -> pd.DataFrame:
    table.columns = pd.Index([" ".join(str(column).split()) for column in table.columns])
    absent = [column for column in columns if column not in table]
    if absent:
        shown = ", ".join(table.columns[:12]) + (", ..." if len(table.columns) > 12 else "")
        raise ValueError(
            f"{path}: no column {', '.join(absent)}; it has {shown}: another edition of the "
            f"label file. {remedy}"
        )
    return table


def _text(cells: NDArray[Any]) -> NDArray[Any]:
    out = np.empty(len(cells), dtype=object)
    out[:] = ["".join(map(str, np.ravel(cell))).strip() for cell in cells]
    return out
