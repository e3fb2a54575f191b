"""Annotation tables: their checks, and what raters said beside the mean.

A table has one row per picture. Beside a score column such as ``mos`` it may have

- ``mos_std``: standard deviation of single ratings, on the scale of the score;
- ``n_ratings``: number of ratings;
- ``count_1`` to ``count_K``: number of ratings per grade. The K grades are evenly spaced over the
  scale of ``mos``; ``count_1`` belongs to its lowest score.

Deviation and number follow from the counts where only those are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

COUNT = "count_"
"""Prefix of the columns with the number of ratings per grade."""
RATINGS = "n_ratings"
"""Column with the number of ratings."""
DEVIATION = "_std"
"""Suffix of the column with the standard deviation of a score's ratings."""

Floats = NDArray[np.float64]


def validate(
    table: pd.DataFrame,
    targets: Sequence[str],
    mos_range: tuple[float, float],
    label: str,
    mean_of_grades: bool = True,
) -> None:
    """Check an annotation table.

    Args:
        table: The table, one row per picture.
        targets: Required score columns; their values must be finite and in range.
        mos_range: Declared range of raw scores.
        label: Name of the data set in error messages.
        mean_of_grades: Whether ``mos`` is the mean of the grades, so that counts must agree with
            it.

    Raises:
        ValueError: On a defect; names the column, the row (counted from 1) and the remedy.
    """
    for column in ("image", *targets):
        if column not in table:
            raise ValueError(
                f"{label}: no column {column!r}; there are {', '.join(map(str, table.columns))}"
            )
    if table.empty:
        raise ValueError(f"{label}: the label file has no rows")
    defects = _Defects(table, label)
    defects.check(table["image"].isna(), "image name is empty", "name the file or remove the row")
    low, high = mos_range
    for column in targets:
        scores = defects.numbers(column)
        defects.check(
            (scores < low) | (scores > high),
            f"{column} {{}} is outside the declared scale {low:g} to {high:g}",
            "declare the true scale or correct the score",
            scores,
        )
        if column + DEVIATION in table:
            _check_deviation(defects, column + DEVIATION, high - low)
    if RATINGS in table:
        numbers = defects.numbers(RATINGS)
        bad = (numbers < 1) | (numbers % 1 != 0)
        remedy = "it must be a whole number, at least 1"
        defects.check(bad, f"{RATINGS} is {{}}", remedy, numbers)
    if count_columns(table):
        _check_counts(defects, mos_range, mean_of_grades)
    repeated = table["image"].duplicated()
    defects.check(repeated, "image name repeats an earlier row", "keep one row per picture")


def count_columns(table: pd.DataFrame) -> list[str]:
    """Return the names of the columns with counts per grade, lowest grade first."""
    found: list[str] = []
    while f"{COUNT}{len(found) + 1}" in table:
        found.append(f"{COUNT}{len(found) + 1}")
    return found


def with_ratings(table: pd.DataFrame, mos_range: tuple[float, float]) -> pd.DataFrame:
    """Add deviation and number of ratings to a table that has only counts per grade.

    Args:
        table: A validated table.
        mos_range: Declared range of raw scores.

    Returns:
        The table; the sample deviation (n - 1) is used, 0 for a single rating.
    """
    columns = count_columns(table)
    if not columns:
        return table
    counts = table[columns].to_numpy(dtype=np.float64)
    _, _, sample = grade_moments(counts, mos_range)
    derived = {"mos" + DEVIATION: sample, RATINGS: counts.sum(axis=1).astype(np.int64)}
    return table.assign(**{name: v for name, v in derived.items() if name not in table})


def rating_tensors(
    table: pd.DataFrame,
    targets: Sequence[str],
    mos_range: tuple[float, float],
    higher_is_better: bool = True,
) -> dict[str, Tensor]:
    """Return what a table says about its ratings, normalised as MOS are.

    Args:
        table: A validated table of N rows.
        targets: T score columns.
        mos_range: Declared range of raw scores.
        higher_is_better: Whether a higher raw score means better quality.

    Returns:
        Those of these that are known: ``mos_std`` float32 [N, T], the scale being 0 to 1, NaN for
        a target without deviations; ``n_ratings`` float32 [N]; ``counts`` float32 [N, K], worst
        grade first.
    """
    tensors = {}
    span, count = mos_range[1] - mos_range[0], len(table)
    known = [target + DEVIATION for target in targets if target + DEVIATION in table]
    if known:
        nothing = pd.Series(np.nan, index=table.index)
        columns = [table.get(target + DEVIATION, nothing) for target in targets]
        deviations = np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)
        tensors["mos_std"] = torch.from_numpy(deviations / span).float().view(count, len(targets))
    if RATINGS in table:
        numbers = table[RATINGS].to_numpy(dtype=np.float32, copy=True)
        tensors["n_ratings"] = torch.from_numpy(numbers)
    grades = count_columns(table)
    if grades:
        counts = torch.from_numpy(table[grades].to_numpy(dtype=np.float32, copy=True))
        tensors["counts"] = counts if higher_is_better else counts.flip(1)
    return tensors


def rating_columns(ratings: Mapping[str, Tensor], index: int, target: str) -> dict[str, Floats]:
    """Return what is known of the ratings of one target, as columns of a table of scores.

    Args:
        ratings: See :func:`rating_tensors`.
        index: Number of the target.
        target: Its name.

    Returns:
        Those of these that are known, [N] each: ``mos_std``, on the scale of the normalised MOS;
        ``n_ratings``; and, for the target ``mos``, ``count_1`` to ``count_K``, worst grade first.
    """
    columns = {}
    if "mos_std" in ratings:
        columns["mos_std"] = ratings["mos_std"][:, index]
    if RATINGS in ratings:
        columns[RATINGS] = ratings[RATINGS]
    if "counts" in ratings and target == "mos":
        grades = ratings["counts"].T
        columns |= {f"{COUNT}{grade}": counts for grade, counts in enumerate(grades, start=1)}
    return {name: values.double().numpy() for name, values in columns.items()}


def grade_moments(counts: Floats, mos_range: tuple[float, float]) -> tuple[Floats, Floats, Floats]:
    """Return the moments of ratings given as counts per grade.

    Args:
        counts: [N, K], lowest grade first, at least one rating in each row.
        mos_range: Scores of the first and of the last grade.

    Returns:
        Mean, population deviation (divided by n) and sample deviation (by n - 1; 0 for a single
        rating), [N] each, on the scale of ``mos_range``.
    """
    grades = np.linspace(*mos_range, counts.shape[1])
    total = counts.sum(axis=1)
    mean = counts @ grades / total
    variance = (counts * (grades - mean[:, None]) ** 2).sum(axis=1) / total
    sample = variance * total / np.maximum(total - 1, 1)
    return mean, np.sqrt(variance), np.sqrt(sample)


def _check_deviation(defects: _Defects, column: str, span: float) -> None:
    deviations = defects.numbers(column)
    remedy = "correct it; a standard deviation is at least 0"
    defects.check(deviations < 0, f"{column} {{}} is negative", remedy, deviations)
    defects.check(
        deviations > span,
        f"{column} {{}} is larger than the scale, {span:g}",
        "give the deviation of single ratings on the scale of the score",
        deviations,
    )


def _check_counts(defects: _Defects, mos_range: tuple[float, float], mean_of_grades: bool) -> None:
    """Counts are whole numbers, and agree with number, mean and deviation within rounding."""
    table, names = defects.table, count_columns(defects.table)
    if len(names) < 2:
        defects.fail(f"there is {names[0]} but no {COUNT}2; a scale has at least two grades")
    for name in names:
        values = defects.numbers(name)
        bad = (values < 0) | (values % 1 != 0)
        defects.check(bad, f"{name} is {{}}", "a count is a whole number, at least 0", values)
    counts = table[names].to_numpy(dtype=np.float64)
    total = counts.sum(axis=1)
    defects.check(total == 0, "all counts are 0", "remove the row or the counts")
    if RATINGS in table:
        numbers = table[RATINGS].to_numpy(dtype=np.float64)
        remedy = f"correct the counts or {RATINGS}"
        said = f"the counts add up to {{}}, not to {RATINGS}"
        defects.check(total != numbers, said, remedy, total)
    mean, population, sample = grade_moments(counts, mos_range)
    if mean_of_grades and "mos" in table:
        mos = defects.numbers("mos")
        bad = np.abs(mean - mos) > _rounding(mos)
        remedy = f"correct the row; {COUNT}1 belongs to {mos_range[0]:g}, the lowest score"
        defects.check(bad, "the counts have the mean {}, not that of mos", remedy, mean)
    column = "mos" + DEVIATION
    if column in table:
        given = defects.numbers(column)
        slack = _rounding(given)
        bad = (given < population - slack) | (given > sample + slack)
        said = f"the counts have the standard deviation {{}}, not that of {column}"
        defects.check(bad, said, "correct the row", sample)


def _rounding(values: Floats) -> float:
    """Half a unit of the last decimal that a column is written with, at most six decimals."""
    for decimals in range(7):
        if np.allclose(values, values.round(decimals), rtol=0, atol=1e-9):
            break
    return 0.5 * 10.0**-decimals + 1e-6 * max(1.0, float(np.abs(values).max()))


class _Defects:
    """Raises one error for the first bad row of a table, with its number and its picture."""

    def __init__(self, table: pd.DataFrame, label: str) -> None:
        self.table = table
        self.label = label

    def fail(self, what: str) -> None:
        raise ValueError(f"{self.label}: {what}")

    def check(
        self,
        bad: pd.Series | NDArray[np.bool_],
        what: str,
        remedy: str,
        values: Floats | None = None,
    ) -> None:
        """Raise an error if any row is bad; ``{}`` in ``what`` is the first bad value."""
        bad = np.asarray(bad, dtype=bool)
        if not bad.any():
            return
        row = int(np.flatnonzero(bad)[0])
        if values is not None:
            what = what.replace("{}", f"{values[row]:.4g}")
        self.fail(
            f"row {row + 1} ({self.table['image'].iloc[row]}): {what} "
            f"({int(bad.sum())} such rows); {remedy}"
        )

    def numbers(self, column: str) -> Floats:
        """Return a column of finite numbers, float64 [N]."""
        values = pd.to_numeric(self.table[column], errors="coerce").to_numpy(dtype=np.float64)
        what = f"{column} is empty or not a number"
        self.check(~np.isfinite(values), what, "correct or remove the row")
        return values
