"""Level of the tests of a difference: how often equal sources are called different at 5%.

Run it from the repository root: python benchmarks/significance.py [--repeats 2000]

Sources of equal correlation with MOS, by simulation: SRCC and PLCC by sign flips over contents; for
comparison the share of 95% paired bootstrap intervals without 0. The standard error of a level of
0.05 is 0.005 at 2,000 repeats. With 6 contents only the p-values 1/32, 2/32, ... occur.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from clipiqa_plus.metrics.resampling import bootstrap, interval
from clipiqa_plus.metrics.significance import compare_correlations

Floats = NDArray[np.float64]

CASES = {
    "both err by content and by picture": "alike",
    "both are noise, with content effects": "noise",
    "one on an exponential scale (SRCC only)": "scales",
    "slope of the scores varies by content": "slopes",
    "one errs by content, one by picture: equal, not alike": "unlike",
}
UNITS = ((6, 33), (8, 33), (20, 10), (100, 6), (200, 1), (2000, 1))
"""Contents, and pictures in each."""


def simulate(
    case: str, contents: int, pictures: int, rng: np.random.Generator
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return scores [2, N] of sources of equal correlation, MOS [N] and contents [N]."""
    groups = np.repeat(np.arange(contents), pictures)
    shape = (2, len(groups))
    mos = rng.normal(size=contents)[groups] / 2 + rng.normal(size=len(groups))
    by_content = rng.normal(size=(2, contents))[:, groups]
    by_picture = rng.normal(size=shape)
    if case == "noise":
        return by_content + by_picture, mos, groups
    if case == "unlike":
        return mos + 1.2 * np.stack([by_content[0], by_picture[1]]), mos, groups
    slopes = np.exp(rng.normal(size=(2, contents)) / 2)[:, groups] if case == "slopes" else 1.0
    x = slopes * mos + 0.7 * by_content + by_picture
    if case == "scales":
        x[1] = np.exp(3 * x[1])
    return x, mos, groups


def main() -> None:
    """Print a table for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--bootstrap", type=int, default=200, help="repeats of the bootstrap")
    args = parser.parse_args()
    for text, case in CASES.items():
        print(f"\n{text}\n{'contents':>10}{'pictures':>10}{'SRCC':>8}{'PLCC':>8}{'bootstrap':>11}")
        for contents, pictures in UNITS:
            rng = np.random.default_rng(contents)
            rejected, excluded = np.zeros((args.repeats, 2)), []
            for repeat in range(args.repeats):
                x, mos, groups = simulate(case, contents, pictures, rng)
                tests = compare_correlations(x, mos, [(0, 1)], groups, flips=499)
                rejected[repeat] = [tests[name].p[0] <= 0.05 for name in ("SRCC", "PLCC")]
                if repeat < args.bootstrap:
                    samples = bootstrap(x, mos, groups, resamples=499)["SRCC"]
                    low, high = interval(samples[1] - samples[0])
                    excluded.append(not low <= 0 <= high)
            srcc, plcc = rejected.mean(axis=0)
            shown = f"{plcc:8.3f}" if case != "scales" else f"{'-':>8}"
            peer = f"{np.mean(excluded):11.3f}" if excluded else ""
            print(f"{contents:>10}{pictures:>10}{srcc:8.3f}{shown}{peer}", flush=True)


if __name__ == "__main__":
    main()
