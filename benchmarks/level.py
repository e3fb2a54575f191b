"""Level and power of every test of an evaluation, by simulation.

Run it from the repository root: python benchmarks/level.py [--repeats 1000] [--cases 0 1 2 3]

Level: how often two equal sources are called different at 5%. Its standard error is 0.007 at 1,000
repeats. Power: how often a source is told from a worse one, whose errors are 1.15 times as large;
of before and after, how often a mean gain of 0.02 is found.
Tests "as written" are those of the standards, which take pictures (or pairs of pictures) as
independent; all others decide verdicts.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
import torch
from scipy import stats

from clipiqa_plus.evaluation.analyses import standards
from clipiqa_plus.evaluation.before_after.statistics import paired
from clipiqa_plus.metrics import krasula
from clipiqa_plus.metrics.functional import logistic_mapping, plcc
from clipiqa_plus.metrics.p1401 import rmse_test
from clipiqa_plus.metrics.rank_tests import friedman
from clipiqa_plus.metrics.significance import (
    compare_correlations,
    compare_losses,
    wilcoxon,
    williams,
)

CASES = ((200, 0), (200, 20), (2000, 0), (2000, 200))
"""Pictures, and contents; 0: every picture has its own."""
WORSE = 1.15
"""Size of the errors of the worse source, for the power."""
GAIN = 0.02
"""Mean gain of after over before, for the power."""
PAIRS = 50_000
"""Pairs of pictures in Krasula's analysis."""
FLIPS = 499
STANDARD = "as written: "
"""Begins the names of tests that are reported as the standards write them."""


def simulate(n: int, contents: int, worse: float, rng: np.random.Generator) -> pd.DataFrame:
    """Return scores of two sources, a the worse one, with MOS by 15 raters.

    Both err by content and by picture, and bend the scale of quality alike.
    """
    content = np.arange(n) if not contents else np.repeat(np.arange(contents), n // contents)
    count = int(content.max()) + 1
    quality = rng.normal(size=count)[content] / 2 + rng.normal(size=n)
    errors = 0.7 * rng.normal(size=(2, count))[:, content] + rng.normal(size=(2, n))
    a, b = np.tanh((quality + errors * [[worse], [1]]) / 3)
    deviation = 0.12 * np.exp(rng.normal(size=n) / 5)
    mos = 0.5 + 0.15 * quality + deviation / np.sqrt(15) * rng.normal(size=n)
    table = pd.DataFrame({"mos": mos, "mos_std": deviation, "n_ratings": 15, "a": a, "b": b})
    return table.assign(content=content.astype(str)) if contents else table


def p_values(scores: pd.DataFrame, gain: float = 0.0) -> dict[str, float]:
    """Return the p-value of every test that applies; before is a, after is b with this gain."""
    x, mos = scores[["a", "b"]].to_numpy().T, scores["mos"].to_numpy()
    groups = scores["content"].to_numpy() if "content" in scores else None
    found = {
        name: float(test.p[0])
        for name, test in compare_correlations(x, mos, [(0, 1)], groups, FLIPS).items()
    }
    a, b = x
    y, first, second = (torch.tensor(values) for values in (mos, a, b))
    residuals = np.stack([(logistic_mapping(row, y, 5) - y).numpy() for row in (first, second)])
    found["residuals"] = float(compare_losses(residuals**2, [(0, 1)], groups, flips=FLIPS).p[0])
    roots = np.sqrt(np.square(residuals).mean(axis=1))
    found[f"{STANDARD}F-test of residuals"] = rmse_test(roots[0], roots[1], len(mos) - 5)
    if groups is None:
        plccs = [float(plcc(*pair)) for pair in ((first, y), (second, y), (first, second))]
        found["Williams"] = williams(plccs[0], plccs[1], plccs[2], len(y))[1]
    row = standards.p1401_tables(scores, ["a", "b"], FLIPS).pairs.iloc[0]
    for name in standards.P1401_MEASURES:
        found[f"P.1401 {name}"] = row[f"p_{name}"]
        found[f"{STANDARD}P.1401 {name}"] = row[f"p_standard_{name}"]
    row = standards.krasula_tables(scores, ["a", "b"], FLIPS, PAIRS).pairs.iloc[0]
    for name in krasula.ANALYSES:
        found[f"Krasula {name}"] = row[f"p_{name}"]
    for name in ("AUC_DS", "AUC_BW"):
        found[f"{STANDARD}DeLong {name}"] = row[f"p_standard_{name}"]
    if groups is not None:
        blocks = np.stack([a, b, mos]).reshape(3, len(np.unique(groups)), -1)  # sorted by content
        ranks = stats.rankdata(blocks, axis=2)
        ranks = (ranks - ranks.mean(axis=2, keepdims=True)) / ranks.std(axis=2, keepdims=True)
        within = (ranks[:2] * ranks[2]).mean(axis=2)
        found["Wilcoxon over contents"] = wilcoxon(within[0].tolist(), within[1].tolist())
    change = paired(a, b + gain, groups, FLIPS)
    found["before/after: mean difference"] = change["p_difference"]
    found["before/after: win rate"] = change["p_win_rate"]
    return found


def rejections(n: int, contents: int, worse: float, repeats: int) -> pd.Series:
    """Return how often each test rejects at 5%."""
    rng = np.random.default_rng([n, contents, round(100 * worse)])
    gain = GAIN if worse > 1 else 0.0
    rows = [p_values(simulate(n, contents, worse, rng), gain) for _ in range(repeats)]
    return (pd.DataFrame(rows) <= 0.05).mean()


def over_data_sets(repeats: int) -> pd.DataFrame:
    """Return the level of Friedman's test, and how often Nemenyi's finds any pair."""
    rng, rows = np.random.default_rng(0), []
    for sets in (5, 8, 12, 20):
        for sources in (3, 4, 6):
            found = [friedman(rng.normal(size=(sets, sources))) for _ in range(repeats)]
            apart = [np.ptp(test.ranks) >= test.critical_difference for test in found]
            level = np.mean([test.p <= 0.05 for test in found])
            rows.append(
                {
                    "data sets": sets,
                    "sources": sources,
                    "Friedman": level,
                    "Nemenyi": np.mean(apart),
                }
            )
    return pd.DataFrame(rows)


def main() -> None:
    """Print a table of levels and powers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--cases", type=int, nargs="*", default=range(len(CASES)))
    args = parser.parse_args()
    for case in args.cases:
        n, contents = CASES[case]
        start = time.perf_counter()
        level = rejections(n, contents, 1.0, args.repeats)
        power = rejections(n, contents, WORSE, max(args.repeats // 10, 1))
        shown = pd.DataFrame({"level": level, "power": power})
        print(f"\n{n} pictures, {contents or 'no'} contents ({time.perf_counter() - start:.0f} s)")
        order = sorted(shown.index, key=lambda name: name.startswith(STANDARD))
        print(shown.loc[order].to_string(float_format="{:.3f}".format), flush=True)
    print(f"\nover data sets\n{over_data_sets(args.repeats).to_string(index=False)}")


if __name__ == "__main__":
    main()
