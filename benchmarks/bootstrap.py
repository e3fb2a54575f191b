"""Time of the bootstrap: 10,000 resamples of 10,000 pictures, against one resample at a time.

Run it from the repository root: python benchmarks/bootstrap.py
The peer's way, scipy on each resample, is timed on 200 of them and scaled up.
"""

from __future__ import annotations

import time

import numpy as np
from scipy import stats

from clipiqa_plus.metrics.resampling import bootstrap, resample_counts

N, RESAMPLES, PEER = 10_000, 10_000, 200


def main() -> None:
    """Print one line for each way."""
    rng = np.random.default_rng(0)
    mos = rng.uniform(size=N)
    scores = np.stack([mos + rng.normal(size=N), (mos + rng.normal(size=N)).round(2)])
    for name, sources in (("one source", scores[:1]), ("two sources, paired", scores)):
        start = time.perf_counter()
        bootstrap(sources, mos, resamples=RESAMPLES)
        seconds = time.perf_counter() - start
        print(f"{name + ': SRCC, PLCC, KRCC, RMSE':<48}{seconds:8.2f} s")
    start = time.perf_counter()
    for counts in resample_counts(N, PEER):
        for row in counts.astype(np.int64):
            index = np.repeat(np.arange(N), row)
            stats.spearmanr(scores[0][index], mos[index])
            stats.pearsonr(scores[0][index], mos[index])
            stats.kendalltau(scores[0][index], mos[index])
    seconds = (time.perf_counter() - start) * RESAMPLES / PEER
    print(f"{'one source: SRCC, PLCC, KRCC by scipy (scaled up)':<48}{seconds:8.2f} s")


if __name__ == "__main__":
    main()
