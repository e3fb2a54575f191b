"""Scores per picture -> the tables of a comparison: results, differences, all pairs of sources.

Every number comes from the table of scores per picture; no model is needed. The column ``note``
states which numbers are rough or could not be computed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray

from clipiqa_plus.metrics.functional import krcc, logistic_mapping, plcc, rmse, srcc
from clipiqa_plus.metrics.resampling import FEWEST_UNITS, METRICS, RESAMPLES, bootstrap, interval
from clipiqa_plus.metrics.significance import (
    FEWEST_TO_TEST,
    compare_correlations,
    holm,
    wilcoxon,
    williams,
)

WITHIN_CONTENT = "within_content"
"""Column that marks scores which are comparable only within one content, as in PIQ23."""
SKIPPED = "skipped.csv"
"""File that lists the pictures without a score."""
FEW_UNITS = 20
"""With fewer pictures or contents, notes call intervals rough and tests approximate."""

SIGNIFICANT = 0.05
"""Level of the tests."""

COLUMNS = ("SRCC", "PLCC", "KRCC", "RMSE", "PLCC_logistic", "RMSE_logistic", "n")
"""As measured, after the logistic mapping, and the number of pictures."""
RESULTS = (
    *("SRCC", "SRCC_low", "SRCC_high", "PLCC", "PLCC_low", "PLCC_high"),
    *("KRCC", "KRCC_low", "KRCC_high", "RMSE", "RMSE_low", "RMSE_high"),
    *("PLCC_logistic", "RMSE_logistic", "n", "resampled", "note"),
)
"""Columns of a result: metrics with the ends of their 95% intervals, the number of pictures, the
resampled units, and notes on limits of the numbers."""
DIFFERENCES = (
    *("dSRCC", "dSRCC_low", "dSRCC_high", "p_SRCC", "dPLCC", "dPLCC_low", "dPLCC_high", "p_PLCC"),
    *("p_williams", "n", "resampled", "note"),
)
"""Columns of a difference: 95% interval and p-value by sign flips over contents, and Williams' test
of PLCC, which treats the pictures as independent."""


class Comparison(NamedTuple):
    """The tables of :func:`compare_sources`."""

    results: pd.DataFrame
    """One row per target and source: target, prompts, :data:`RESULTS`."""
    differences: pd.DataFrame
    """One row per target and source but the first: target, prompts, against,
    :data:`DIFFERENCES`."""
    pairs: pd.DataFrame
    """The same for every pair of sources, where there are more than two."""

    def add(self, data: str, other: Comparison) -> Comparison:
        """Return the tables with those of a data set appended, its name in column ``data``.

        Holm's correction is applied over all rows of a table.
        """
        results, differences, pairs = (
            pd.concat([known, new.assign(data=data)[["data", *new]]], ignore_index=True)
            for known, new in zip(self, other, strict=True)
        )
        return Comparison(results, adjust(differences), adjust(pairs))


NOTHING = Comparison(pd.DataFrame(), pd.DataFrame(), pd.DataFrame())
"""Empty tables, to which the first data set is added."""


class _Units(NamedTuple):
    """The units that are resampled: contents or pictures."""

    groups: NDArray[Any] | None
    text: str
    size: int
    note: str


def correlations(prediction: ArrayLike, mos: ArrayLike) -> dict[str, float]:
    """Compare scores with MOS.

    Args:
        prediction: Scores, [N].
        mos: Normalised MOS, [N].

    Returns:
        The numbers of :data:`COLUMNS`; NaN where one does not exist (constant scores, too few
        pictures).
    """
    x, y = (torch.tensor(np.asarray(values), dtype=torch.float64) for values in (prediction, mos))
    with warnings.catch_warnings():
        # What does not exist is noted in the table.
        warnings.filterwarnings("ignore", message=".*is undefined and set to NaN")
        found = {"SRCC": srcc(x, y), "PLCC": plcc(x, y), "KRCC": krcc(x, y), "RMSE": rmse(x, y)}
        mapped = logistic_mapping(x, y)
        fitted = bool(mapped.isfinite().all())
        found["PLCC_logistic"] = plcc(mapped, y) if fitted else mapped.new_tensor(torch.nan)
        found["RMSE_logistic"] = rmse(mapped, y) if fitted else mapped.new_tensor(torch.nan)
    return {name: float(value) for name, value in found.items()} | {"n": len(x)}


def rank_correlation(prediction: ArrayLike, mos: ArrayLike) -> float:
    """Return SRCC alone, [N] scores with [N] MOS; NaN where it does not exist."""
    x, y = (np.asarray(values, np.float64) for values in (prediction, mos))
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(srcc(torch.tensor(x), torch.tensor(y)))


def compare(scores: pd.DataFrame, sources: Iterable[str]) -> pd.DataFrame:
    """Compute the metrics alone, without intervals.

    Args:
        scores: What :func:`~clipiqa_plus.evaluation.evaluation.score` returned.
        sources: Names of the sources.

    Returns:
        One row per target and source: target, prompts, :data:`COLUMNS`.
    """
    rows = [
        {"target": target, "prompts": source, **correlations(group[source], group["mos"])}
        for target, group in scores.groupby("target", sort=False)
        for source in sources
    ]
    return pd.DataFrame(rows)


def compare_sources(
    scores: pd.DataFrame,
    sources: Sequence[str],
    resamples: int = RESAMPLES,
    skipped: int = 0,
    backbones: Mapping[str, str] | None = None,
) -> Comparison:
    """Compute the tables of a data set, with intervals and tests.

    Args:
        scores: What :func:`~clipiqa_plus.evaluation.evaluation.score` returned.
        sources: Names of the sources; the others are compared with the first.
        resamples: Number of bootstrap resamples, and of random sign patterns.
        skipped: Number of pictures without a score because they could not be read.
        backbones: Backbone of each source, in words; notes name them where they differ.
    """
    results: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    for target, group in scores.groupby("target", sort=False):
        if WITHIN_CONTENT in scores:
            found, against = _compare_within(group, list(sources))
        else:
            found, against = _compare_target(group, list(sources), resamples)
        results += [{"target": target, **row} for row in found]
        differences += [{"target": target, **row} for row in against]
    left_out = f"pictures left out: {skipped}, see {SKIPPED}" if skipped else ""
    for row in results + differences:
        notes = [left_out, _backbones(row, backbones or {}), row["note"]]
        row["note"] = "; ".join(filter(None, notes))
    pairs = pd.DataFrame(differences, columns=["target", "prompts", "against", *DIFFERENCES])
    against_first = pairs[pairs["against"] == sources[0]].reset_index(drop=True)
    return Comparison(
        pd.DataFrame(results, columns=["target", "prompts", *RESULTS]),
        against_first,
        pairs if len(sources) > 2 else pairs[:0],
    )


def _backbones(row: dict[str, Any], backbones: Mapping[str, str]) -> str:
    """The backbones of a row, if the sources have different ones."""
    if len(set(backbones.values())) < 2:
        return ""
    mine = backbones[row["prompts"]]
    if "against" not in row:
        return f"features of {mine}"
    other = backbones[row["against"]]
    return f"different backbones: {mine} against {other}" if mine != other else ""


def _compare_target(
    scores: pd.DataFrame, sources: list[str], resamples: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    mos = scores["mos"].to_numpy()
    predictions = np.stack([scores[source].to_numpy() for source in sources])
    units = _units(scores)
    enough = units.size >= FEWEST_UNITS
    samples = bootstrap(predictions, mos, units.groups, resamples if enough else 0)
    results = []
    for index, source in enumerate(sources):
        row: dict[str, Any] = {"prompts": source, **correlations(predictions[index], mos)}
        for metric in METRICS:
            row[f"{metric}_low"], row[f"{metric}_high"] = interval(samples[metric][index])
        row["resampled"] = units.text
        row["note"] = _note(units, {source: predictions[index]}, mos, _interval_limit(units))
        results.append(row)
    differences = []
    pairs = list(combinations(range(len(sources)), 2))
    tests = compare_correlations(predictions, mos, pairs, units.groups, resamples)
    for at, (reference, index) in enumerate(pairs):
        row = {"prompts": sources[index], "against": sources[reference]}
        for metric, (lows, highs, ps) in tests.items():
            row[f"d{metric}"] = results[index][metric] - results[reference][metric]
            row |= {f"d{metric}_low": lows[at], f"d{metric}_high": highs[at]}
            row[f"p_{metric}"] = ps[at]
        between = correlations(predictions[reference], predictions[index])["PLCC"]
        _, row["p_williams"] = williams(
            results[reference]["PLCC"], results[index]["PLCC"], between, len(mos)
        )
        pair = {sources[i]: predictions[i] for i in (reference, index)}
        row |= {"n": len(mos), "resampled": units.text}
        row["note"] = _note(units, pair, mos, _test_limit(units))
        differences.append(row)
    return results, differences


def _compare_within(
    scores: pd.DataFrame, sources: list[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Medians over contents, with Wilcoxon's signed-rank test instead of resampling."""
    metrics = [name for name in COLUMNS if name != "n"]
    of_content = {
        source: pd.DataFrame(
            [correlations(g[source], g["mos"]) for _, g in scores.groupby("content", sort=False)]
        )
        for source in sources
    }
    count = scores["content"].nunique()
    shared = {"n": len(scores), "resampled": "", "note": f"median over {count} contents"}
    results = [
        {"prompts": source, **table[metrics].median().to_dict(), **shared}
        for source, table in of_content.items()
    ]
    differences = []
    for reference, source in combinations(sources, 2):
        row: dict[str, Any] = {"prompts": source, "against": reference, **shared}
        for metric in ("SRCC", "PLCC"):
            pair = pd.concat([of_content[s][metric] for s in (reference, source)], axis=1).dropna()
            first, second = (pair.iloc[:, i].to_numpy() for i in (0, 1))
            row[f"d{metric}"] = float(np.median(second - first)) if len(pair) else np.nan
            row[f"p_{metric}"] = wilcoxon(first, second)
        differences.append(row)
    return results, differences


def _units(scores: pd.DataFrame) -> _Units:
    """Resample by content if all contents are known, otherwise by picture."""
    n = len(scores)
    missing = int(scores["content"].isna().sum()) if "content" in scores else n
    if missing:
        note = "contents unknown" if missing == n else f"{missing} contents missing"
        return _Units(None, _pictures(n), n, f"{note}: resampled by picture")
    groups = scores["content"].astype(str).to_numpy()
    size = len(np.unique(groups))
    return _Units(groups, f"{size} contents", size, "")


def _pictures(n: int) -> str:
    return "1 picture" if n == 1 else f"{n} pictures"


def _interval_limit(units: _Units) -> str:
    if units.size < FEWEST_UNITS:
        return f"{units.text}: too few for an interval"
    return f"{units.text}: rough interval" if units.size < FEW_UNITS else ""


def _test_limit(units: _Units) -> str:
    if units.size < FEWEST_TO_TEST:
        return f"{units.text}: too few for a test, which needs {FEWEST_TO_TEST}"
    return f"{units.text}: approximate test" if units.size < FEW_UNITS else ""


def _note(
    units: _Units, predictions: dict[str, NDArray[np.float64]], mos: ArrayLike, limit: str
) -> str:
    """The limits of the numbers of these sources."""
    n = np.size(mos)
    notes = []
    if n < 3:
        notes.append(f"{_pictures(n)}: no correlation")
    else:
        named = {"MOS": np.asarray(mos)} | {f"scores of {k}": v for k, v in predictions.items()}
        notes += [f"constant {k}: no correlation" for k, v in named.items() if np.ptp(v) == 0]
    return "; ".join(filter(None, [*notes, limit, units.note]))


def adjust(differences: pd.DataFrame) -> pd.DataFrame:
    """Add Holm's correction of ``p_SRCC`` over all rows as ``p_holm``, and the ``verdict``.

    Args:
        differences: Differences of all data sets that are tested together.

    Returns:
        The table with both columns after ``p_SRCC``. The verdict is ``better`` or ``worse`` where
        ``p_holm`` is below :data:`SIGNIFICANT`, else ``not told apart``; ``too few`` or
        ``undefined`` where there is no p-value.
    """
    adjusted = differences.drop(columns=["p_holm", "verdict"], errors="ignore")
    column = adjusted.columns.get_loc("p_SRCC")
    assert isinstance(column, int)
    adjusted.insert(column + 1, "p_holm", holm(adjusted["p_SRCC"].to_numpy(np.float64)))
    words = [verdict(row.dSRCC, row.p_holm) for row in adjusted.itertuples()]
    adjusted.insert(column + 2, "verdict", pd.Series(words, adjusted.index, dtype=object))
    return adjusted


def verdict(difference: float, p_holm: float) -> str:
    """Return the verdict of a comparison, see :func:`adjust`."""
    if np.isnan(p_holm):
        return "undefined" if np.isnan(difference) else "too few"
    if p_holm >= SIGNIFICANT:
        return "not told apart"
    return "better" if difference > 0 else "worse"
