"""Scores per picture -> the tables of a comparison: results, differences, all pairs of sources.

Every number comes from the table of scores per picture; no model is needed. The column ``note``
states which numbers are rough or could not be computed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray

from clipiqa_plus.evaluation.analyses.ratings import ceilings
from clipiqa_plus.evaluation.units import WITHIN_CONTENT, Units, count_pictures, units_of
from clipiqa_plus.metrics.functional import krcc, logistic_mapping, plcc, rmse, srcc
from clipiqa_plus.metrics.p1401 import rmse_test
from clipiqa_plus.metrics.resampling import FEWEST_UNITS, METRICS, RESAMPLES, bootstrap, interval
from clipiqa_plus.metrics.significance import (
    compare_correlations,
    compare_losses,
    holm,
    wilcoxon,
    williams,
)

SKIPPED = "skipped.csv"
"""File that lists the pictures without a score."""
NO_WILLIAMS = "Williams' test left out: pictures share contents"
SIGNIFICANT = 0.05
"""Level of the tests."""

COLUMNS = ("SRCC", "PLCC", "KRCC", "RMSE", "PLCC_logistic", "RMSE_logistic", "n")
"""As measured, after the logistic mapping, and the number of pictures."""
RESULTS = (
    *("SRCC", "SRCC_low", "SRCC_high", "PLCC", "PLCC_low", "PLCC_high"),
    *("KRCC", "KRCC_low", "KRCC_high", "RMSE", "RMSE_low", "RMSE_high"),
    *("PLCC_logistic", "RMSE_logistic", "PLCC_logistic5", "RMSE_logistic5"),
    *("SRCC_ceiling", "SRCC_ceiling_low", "SRCC_ceiling_high", "SRCC_share"),
    *("PLCC_ceiling", "PLCC_ceiling_low", "PLCC_ceiling_high", "PLCC_share"),
    *("n", "resampled", "note"),
)
"""Columns of a result: metrics with the ends of their 95% intervals; PLCC and RMSE after the
logistic mapping with 4 and with 5 parameters; noise ceilings, and the share of each that the source
reaches; the number of pictures, the resampled units, and notes on limits of the numbers."""
LOGISTIC: Final = 5
"""Parameters of the mapping whose residuals are compared, as in Sheikh et al., TIP 2006."""
DIFFERENCES = (
    *("dSRCC", "dSRCC_low", "dSRCC_high", "p_SRCC", "dPLCC", "dPLCC_low", "dPLCC_high", "p_PLCC"),
    "p_williams",
    *("dRMSE_logistic5", "dRMSE_logistic5_low", "dRMSE_logistic5_high", "p_residuals", "F", "p_F"),
    *("n", "resampled", "note"),
)
"""Columns of a difference: 95% interval and p-value by sign flips over contents; Williams' test of
PLCC, left out where pictures share contents; the residuals of the 5-parameter logistic by sign
flips and by the F-test: ``F`` is the ratio of their variances, above 1 if the source has the
smaller one."""


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
    with _undefined_is_nan():
        found = {"SRCC": srcc(x, y), "PLCC": plcc(x, y), "KRCC": krcc(x, y), "RMSE": rmse(x, y)}
        mapped = logistic_mapping(x, y)
        fitted = bool(mapped.isfinite().all())
        found["PLCC_logistic"] = plcc(mapped, y) if fitted else mapped.new_tensor(torch.nan)
        found["RMSE_logistic"] = rmse(mapped, y) if fitted else mapped.new_tensor(torch.nan)
    return {name: float(value) for name, value in found.items()} | {"n": len(x)}


@contextmanager
def _undefined_is_nan() -> Iterator[None]:
    """Without warnings: what does not exist is noted in the table."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is undefined and set to NaN")
        yield


def _plcc(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """PLCC; NaN where it does not exist, also of NaN."""
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return float("nan")
    with _undefined_is_nan():
        return float(plcc(torch.tensor(x), torch.tensor(y)))


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
    units = units_of(scores)
    enough = units.size >= FEWEST_UNITS
    samples = bootstrap(predictions, mos, units.groups, resamples if enough else 0)
    ceiling, target = ceilings(scores), torch.tensor(mos)
    with _undefined_is_nan():
        mapped = np.stack(
            [logistic_mapping(torch.tensor(x), target, LOGISTIC).numpy() for x in predictions]
        )
    results = []
    for index, source in enumerate(sources):
        row: dict[str, Any] = {"prompts": source, **correlations(predictions[index], mos)}
        row["PLCC_logistic5"] = _plcc(mapped[index], mos)
        row["RMSE_logistic5"] = float(np.sqrt(np.mean((mapped[index] - mos) ** 2)))
        for metric in METRICS:
            row[f"{metric}_low"], row[f"{metric}_high"] = interval(samples[metric][index])
        row["resampled"] = units.text
        row["note"] = _note(units, {source: predictions[index]}, mos, units.interval_limit)
        results.append(row)
        row |= _shares(row, ceiling)
    pairs = list(combinations(range(len(sources)), 2))
    differences = [
        {"prompts": sources[index], "against": sources[reference], "n": len(mos)}
        for reference, index in pairs
    ]
    tests = compare_correlations(predictions, mos, pairs, units.groups, resamples)
    for at, (reference, index) in enumerate(pairs):
        row, first, second = differences[at], results[reference], results[index]
        for metric, (lows, highs, ps) in tests.items():
            row[f"d{metric}"] = second[metric] - first[metric]
            row |= {f"d{metric}_low": lows[at], f"d{metric}_high": highs[at]}
            row[f"p_{metric}"] = ps[at]
        limits = [units.test_limit]
        if units.shared:
            limits.append(NO_WILLIAMS)
        else:
            between = _plcc(predictions[reference], predictions[index])
            plccs = (first["PLCC"], second["PLCC"], between)
            row["p_williams"] = williams(*plccs, len(mos))[1]
        pair = {sources[i]: predictions[i] for i in (reference, index)}
        row["resampled"] = units.text
        row["note"] = _note(units, pair, mos, "; ".join(filter(None, limits)))
    _compare_residuals(differences, mapped - mos, pairs, units, resamples)
    return results, differences


def _compare_residuals(
    differences: list[dict[str, Any]],
    residuals: NDArray[np.float64],
    pairs: Sequence[tuple[int, int]],
    units: Units,
    flips: int,
) -> None:
    """Add the tests of the residuals [S, N] to the rows of the pairs."""
    degrees = residuals.shape[1] - LOGISTIC
    squares = residuals**2
    variances = squares.sum(axis=1) / degrees if degrees > 0 else np.full(len(residuals), np.nan)
    roots = np.sqrt(squares.mean(axis=1))
    tests = compare_losses(squares, pairs, units.groups, True, flips)
    for at, (reference, index) in enumerate(pairs):
        name, row = "dRMSE_logistic5", differences[at]
        row |= {name: roots[index] - roots[reference], "p_residuals": tests.p[at]}
        row |= {f"{name}_low": tests.low[at], f"{name}_high": tests.high[at]}
        first, second = variances[reference], variances[index]
        row["F"] = first / second if second > 0 else np.nan
        row["p_F"] = rmse_test(np.sqrt(first), np.sqrt(second), degrees)


def _shares(result: Mapping[str, float], ceiling: Mapping[str, float]) -> dict[str, float]:
    """The ceilings of a data set, and the share that a source reaches."""
    shares = {
        f"{metric}_share": result[metric] / ceiling[f"{metric}_ceiling"]
        for metric in ("SRCC", "PLCC")
        if ceiling.get(f"{metric}_ceiling", 0) > 0
    }
    return {**ceiling, **shares}


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


def _note(
    units: Units, predictions: dict[str, NDArray[np.float64]], mos: ArrayLike, limit: str
) -> str:
    """The limits of the numbers of these sources."""
    n = np.size(mos)
    notes = []
    if n < 3:
        notes.append(f"{count_pictures(n)}: no correlation")
    else:
        named = {"MOS": np.asarray(mos)} | {f"scores of {k}": v for k, v in predictions.items()}
        notes += [f"constant {k}: no correlation" for k, v in named.items() if np.ptp(v) == 0]
    return "; ".join(filter(None, [*notes, limit, units.note]))


def adjust(
    differences: pd.DataFrame, metric: str = "SRCC", higher_is_better: bool = True
) -> pd.DataFrame:
    """Add Holm's correction of a p-value over all rows as ``p_holm``, and the ``verdict``.

    Args:
        differences: Differences of all data sets that are tested together.
        metric: The metric that decides: columns ``d<metric>`` and ``p_<metric>``.
        higher_is_better: Whether a higher value of the metric is better.

    Returns:
        The table with both columns after the p-value. The verdict is ``better`` or ``worse`` where
        ``p_holm`` is below :data:`SIGNIFICANT`, else ``not told apart``; ``too few`` or
        ``undefined`` where there is no p-value.
    """
    adjusted = differences.drop(columns=["p_holm", "verdict"], errors="ignore")
    column = adjusted.columns.get_loc(f"p_{metric}")
    assert isinstance(column, int)
    p_holm = holm(adjusted[f"p_{metric}"].to_numpy(np.float64))
    gains = adjusted[f"d{metric}"].to_numpy(np.float64) * (1 if higher_is_better else -1)
    words = [verdict(gain, p) for gain, p in zip(gains, p_holm, strict=True)]
    adjusted.insert(column + 1, "p_holm", p_holm)
    adjusted.insert(column + 2, "verdict", pd.Series(words, adjusted.index, dtype=object))
    return adjusted


def verdict(gain: float, p_holm: float) -> str:
    """Return the verdict of a comparison, see :func:`adjust`; a positive gain is better."""
    if np.isnan(p_holm):
        return "undefined" if np.isnan(gain) else "too few"
    if p_holm >= SIGNIFICANT:
        return "not told apart"
    return "better" if gain > 0 else "worse"
