"""Votes drawn by Thurstone's model from a known order of small pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm


def thurstone_votes(
    quality: Sequence[float],
    votes: int,
    std: float | Sequence[float],
    seed: int = 0,
    raters: int = 0,
    pairs: Sequence[tuple[int, int]] | None = None,
) -> pd.DataFrame:
    """Votes on random pairs: a rater sees each picture with normal noise and prefers the better.

    A named rater has one noise for each picture, and so never contradicts himself.
    """
    rng = np.random.default_rng(seed)
    q = np.asarray(quality, float)
    noise = np.broadcast_to(np.asarray(std, float), q.shape)
    chosen = [tuple(rng.choice(len(q), 2, replace=False)) for _ in range(votes)]
    first, second = np.array(chosen if pairs is None else pairs).T
    at = np.arange(len(first))
    rater = rng.integers(0, raters, len(first)) if raters else at
    seen = q + rng.normal(size=(raters or len(first), len(q)))[rater] * noise
    better = np.where(seen[at, first] > seen[at, second], "first", "second")
    table = pd.DataFrame({"first": first, "second": second, "vote": better})
    if raters:
        table["rater"] = rater
    return table


def best_accuracy(quality: Sequence[float], std: float, votes: pd.DataFrame) -> float:
    """Expected accuracy of the true order on new votes on these pairs."""
    q = np.asarray(quality, float)
    gap = np.abs(q[votes["first"].to_numpy()] - q[votes["second"].to_numpy()])
    return float(norm.cdf(gap / (np.sqrt(2) * std)).mean())


def write_votes(
    folder: Path, votes: pd.DataFrame, count: int, make_picture: Callable[..., Path]
) -> Path:
    """The pictures and ``votes.csv``, which names them by file."""
    for i in range(count):
        make_picture(folder / f"{i}.png", seed=i)
    names = {name: votes[name].astype(str) + ".png" for name in ("first", "second")}
    votes.assign(**names).to_csv(folder / "votes.csv", index=False)
    return folder / "votes.csv"
