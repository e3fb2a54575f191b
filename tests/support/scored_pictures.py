"""A table of invented scores, for tests of comparisons and reports."""

from __future__ import annotations

import numpy as np
import pandas as pd

SOURCES = ["zero_shot", "a", "b"]


def scored(n: int = 90, contents: int | None = 30, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"id": range(n), "target": "mos", "mos": rng.uniform(size=n)})
    if contents:
        table["content"] = [f"c{i % contents}" for i in range(n)]
    for name, noise in zip(SOURCES, (1.0, 0.5, 0.9), strict=True):
        table[name] = table["mos"] + noise * rng.normal(size=n)
    return table
