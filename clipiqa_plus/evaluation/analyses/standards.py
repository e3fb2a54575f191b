"""Krasula's analysis and ITU-T P.1401 of every source and every pair of sources.

Each table of pairs has two p-values for a measure: that of the standard's own test, which treats
pictures (or pairs of pictures) as independent, and that of sign flips over contents, which holds
its level on shared pictures. The verdict follows the second.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clipiqa_plus.evaluation.analyses.ratings import DEVIATION, RATINGS, missing_ratings
from clipiqa_plus.evaluation.units import WITHIN_CONTENT, units_of
from clipiqa_plus.metrics import krasula, p1401
from clipiqa_plus.metrics.functional import CORRELATION_SAMPLES
from clipiqa_plus.metrics.ratings import confidence
from clipiqa_plus.metrics.resampling import RESAMPLES
from clipiqa_plus.metrics.significance import PairedTest, compare_losses

Floats = NDArray[np.float64]

P1401_MEASURES = ("RMSE", "RMSE_star", "outlier_ratio")


class Standard(NamedTuple):
    """The tables of one standard."""

    sources: pd.DataFrame
    """One row per source."""
    pairs: pd.DataFrame
    """One row per pair of sources: ``prompts`` minus ``against``."""


def p1401_tables(scores: pd.DataFrame, sources: list[str], flips: int = RESAMPLES) -> Standard:
    """Evaluate sources of one target by ITU-T P.1401, on MOS normalised to [0, 1].

    Args:
        scores: Scores per picture of one target.
        sources: Names of the sources.
        flips: Number of random sign patterns.

    Returns:
        For each source PLCC, RMSE, RMSE* and outlier ratio after the monotonic cubic mapping, for
        each pair the differences with intervals and both p-values. RMSE* and outlier ratio are NaN
        and named in ``note`` where deviations or numbers of ratings are unknown.
    """
    mos, n = scores["mos"].to_numpy(), len(scores)
    missing, units = missing_ratings(scores), units_of(scores)
    half = np.full(n, np.nan)
    if not missing:
        half = confidence(scores[DEVIATION].to_numpy(), scores[RATINGS].to_numpy())
    mapped = np.stack([p1401.cubic_mapping(scores[source].to_numpy(), mos) for source in sources])
    excess = np.maximum(np.abs(mapped - mos) - half, 0)
    note = f"no RMSE* and outlier ratio: {missing}" if missing else ""
    rows: list[dict[str, Any]] = [
        {
            "prompts": source,
            "PLCC": _pearson(mapped[index], mos),
            "RMSE": p1401.rmse(mapped[index], mos),
            "RMSE_star": p1401.rmse_star(mapped[index], mos, half),
            "outlier_ratio": p1401.outlier_ratio(mapped[index], mos, half),
            "n": n,
            "note": note,
        }
        for index, source in enumerate(sources)
    ]
    pairs = list(combinations(range(len(sources)), 2))
    degrees = n - p1401.CUBIC_PARAMETERS
    scale = n / degrees if degrees > 0 else np.nan
    losses = {
        "RMSE": scale * (mapped - mos) ** 2,
        "RMSE_star": scale * excess**2,
        "outlier_ratio": np.where(np.isnan(excess), np.nan, excess > 0),
    }
    tests = {
        name: compare_losses(loss, pairs, units.groups, name != "outlier_ratio", flips)
        for name, loss in losses.items()
    }
    differences = []
    for at, (reference, other) in enumerate(pairs):
        first, second = rows[reference], rows[other]
        row: dict[str, Any] = {"prompts": sources[other], "against": sources[reference]}
        for name in P1401_MEASURES:
            row |= _difference(name, second[name] - first[name], tests[name], at)
            if name == "outlier_ratio":
                row["p_standard_outlier_ratio"] = p1401.outlier_test(first[name], second[name], n)
            else:
                row[f"p_standard_{name}"] = p1401.rmse_test(first[name], second[name], degrees)
        limits = "; ".join(filter(None, [note, units.test_limit]))
        differences.append(row | {"n": n, "resampled": units.text, "note": limits})
    return Standard(pd.DataFrame(rows), pd.DataFrame(differences))


def krasula_tables(
    scores: pd.DataFrame,
    sources: list[str],
    flips: int = RESAMPLES,
    most: int = krasula.MOST_PAIRS,
) -> Standard:
    """Evaluate sources of one target by Krasula's analysis.

    Args:
        scores: Scores per picture of one target; with a column ``data``, of several data sets that
            are pooled: pictures of different sets are not paired.
        sources: Names of the sources.
        flips: Number of random sign patterns.
        most: Largest number of pairs of pictures; more are sampled.

    Returns:
        For each source AUC_DS, AUC_BW, CC0 and the numbers of pairs, for each pair of sources the
        differences with intervals and both p-values (CC0 has no test of its own). Values are NaN
        and the reason in ``note`` where deviations or numbers of ratings are unknown.
    """
    units, missing = units_of(scores), missing_ratings(scores)
    indices = list(combinations(range(len(sources)), 2))
    if missing or len(scores) < CORRELATION_SAMPLES:
        note = f"left out: {missing or 'too few pictures'}"
        return _nothing(sources, indices, note)
    mos, std, ratings = (scores[column].to_numpy() for column in ("mos", DEVIATION, RATINGS))
    pairs = krasula.rated_pairs(mos, std, ratings, _sets(scores), most=most)
    predictions = np.stack([scores[source].to_numpy() for source in sources])
    found = krasula.krasula(predictions, pairs, indices)
    different = int((pairs.relation != 0).sum())
    note = "" if 0 < different < len(pairs.relation) else "all pairs of pictures are alike"
    shared = {"pairs": len(pairs.relation), "different": different}
    rows = [
        {
            "prompts": source,
            **{name: float(analysis.value[index]) for name, analysis in found.items()},
            **shared,
            "note": note,
        }
        for index, source in enumerate(sources)
    ]
    groups = np.arange(len(scores)) if units.groups is None else units.groups
    tests = krasula.compare(found, pairs, indices, groups, flips=flips)
    differences = []
    for at, (reference, other) in enumerate(indices):
        row: dict[str, Any] = {"prompts": sources[other], "against": sources[reference]}
        for name, analysis in found.items():
            effect = float(analysis.value[other] - analysis.value[reference])
            row |= _difference(name, effect, tests[name], at)
            if name != "CC0":
                row[f"p_standard_{name}"] = float(analysis.p_delong[at])
        limits = "; ".join(filter(None, [note, units.test_limit]))
        differences.append(row | shared | {"resampled": units.text, "note": limits})
    return Standard(pd.DataFrame(rows), pd.DataFrame(differences))


def _difference(name: str, effect: float, test: PairedTest, at: int) -> dict[str, float]:
    """The columns of one measure."""
    return {
        f"d{name}": effect,
        f"d{name}_low": float(test.low[at]),
        f"d{name}_high": float(test.high[at]),
        f"p_{name}": float(test.p[at]),
    }


def _nothing(sources: list[str], pairs: list[tuple[int, int]], note: str) -> Standard:
    """Rows without values, which name what is missing."""
    values = dict.fromkeys(krasula.ANALYSES, np.nan)
    rows = [{"prompts": source, **values, "note": note} for source in sources]
    none = {
        column.format(name): np.nan
        for name in krasula.ANALYSES
        for column in ("d{}", "d{}_low", "d{}_high", "p_{}")
    }
    differences = [
        {"prompts": sources[other], "against": sources[first], **none, "note": note}
        for first, other in pairs
    ]
    return Standard(pd.DataFrame(rows), pd.DataFrame(differences))


def _sets(scores: pd.DataFrame) -> NDArray[Any] | None:
    """The groups within which pictures are paired: data sets, or contents where MOS demand it."""
    keys = scores[[name for name in ("data",) if name in scores]].copy()
    if WITHIN_CONTENT in scores:
        keys["content"] = scores["content"].where(scores[WITHIN_CONTENT].astype(bool), "")
    return keys.groupby(list(keys), sort=False).ngroup().to_numpy() if len(keys.columns) else None


def _pearson(mapped: Floats, mos: Floats) -> float:
    if not np.isfinite(mapped).all() or np.ptp(mapped) == 0 or np.ptp(mos) == 0:
        return float("nan")
    return float(np.corrcoef(mapped, mos)[0, 1])
