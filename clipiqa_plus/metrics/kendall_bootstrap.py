"""KRCC of bootstrap resamples that are given as counts.

Kendall's tau-b needs the number of discordant pairs, those that score and MOS order differently.
With the pictures sorted by score, these are the inversions of MOS; a merge sort counts them in
log2(N) levels (Knight, JASA 61(314), 1966). The pairs compared at each level depend only on the
values, not on the counts, so they are computed once for all resamples. Each level is then one
cumulative sum of the counts in the lower halves, indexed by the pictures of the upper halves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_BASE = 64  # pictures per block, sorted by score, that are compared pairwise


class _Level(NamedTuple):
    """One level of the merge: blocks of pictures sorted by score, each with two halves."""

    lower: NDArray[np.int64]
    """Pictures of all lower halves, sorted by block and MOS."""
    upper: NDArray[np.int64]
    """Pictures of all upper halves."""
    until: NDArray[np.int64]
    """For each upper picture: index in ``lower`` after the last MOS of its block up to its own."""
    end: NDArray[np.int64]
    """For each upper picture: index in ``lower`` after the end of its block."""


class KendallBootstrap:
    """Computes tau-b between two rows of values for any resample.

    Args:
        x: [N], scores of one source.
        y: [N], MOS.
    """

    def __init__(self, x: Floats, y: Floats) -> None:
        n = len(x)
        self.order = np.lexsort((y, x))  # ties sorted by MOS, so they count as no inversion
        rank = np.unique(y, return_inverse=True)[1][self.order]
        padded = np.full(-(-n // _BASE) * _BASE, n)
        padded[:n] = rank
        blocks = padded.reshape(-1, _BASE)
        inverted = blocks[:, :, None] > blocks[:, None, :]
        self.within = np.triu(inverted, 1).astype(np.float32)  # [blocks, _BASE, _BASE]
        self.levels = []
        place, size = np.arange(n), _BASE
        while size < n:
            block, is_upper = place // (2 * size), (place // size) % 2 == 1
            key = block * (n + 1) + rank
            lower, upper = place[~is_upper], place[is_upper]
            lower = lower[np.argsort(key[lower], kind="stable")]
            until = np.searchsorted(key[lower], key[upper], side="right")
            end = np.searchsorted(key[lower], block[upper] * (n + 1) + n, side="right")
            self.levels.append(_Level(lower, upper, until, end))
            size *= 2
        self.ties = [_groups(values) for values in (x, y, np.stack([x, y]))]

    def tau(self, counts: Floats) -> Floats:
        """Return tau-b of resamples.

        Args:
            counts: [b, N], number of times each picture occurs in each resample.

        Returns:
            [b]; NaN where a resample is constant.
        """
        n = counts.sum(axis=1)
        pairs = n * (n - 1) / 2
        in_x, in_y, in_both = (_tied(counts, *groups) for groups in self.ties)
        numerator = pairs - in_x - in_y + in_both - 2 * self._inversions(counts)
        power = np.sqrt((pairs - in_x) * (pairs - in_y))
        return np.divide(numerator, power, out=np.full(len(n), np.nan), where=power > 0)

    def _inversions(self, counts: Floats) -> Floats:
        # Counts and their cumulative sums are integers below 2^24: exact in float32.
        c = counts.astype(np.float32).take(self.order, axis=1)
        rows, n = c.shape
        neighbours = np.zeros((rows, self.within.shape[0] * _BASE), np.float32)
        neighbours[:, :n] = c
        blocks = neighbours.reshape(rows, -1, _BASE).transpose(1, 0, 2)
        found = np.einsum("kbi,kbi->kb", blocks @ self.within, blocks)
        total: Floats = found.sum(axis=0, dtype=np.float64)
        running = np.zeros((rows, n + 1), np.float32)
        for level in self.levels:
            lower = c.take(level.lower, axis=1)
            np.cumsum(lower, axis=1, out=running[:, 1 : lower.shape[1] + 1])
            above = running.take(level.end, axis=1)
            above -= running.take(level.until, axis=1)
            above *= c.take(level.upper, axis=1)
            total += above.sum(axis=1, dtype=np.float64)
        return total


def _groups(values: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Order that puts equal values ([N], or pairs [2, N]) together, and where each group starts."""
    _, group = np.unique(values, axis=-1, return_inverse=True)
    order = np.argsort(group.ravel(), kind="stable")
    return order, np.flatnonzero(np.diff(group.ravel()[order], prepend=-1))


def _tied(counts: Floats, order: NDArray[np.int64], starts: NDArray[np.int64]) -> Floats:
    """Number of tied pairs in each resample: [b]."""
    sizes = np.add.reduceat(counts.take(order, axis=1), starts, axis=1)
    tied: Floats = np.einsum("bg,bg->b", sizes, sizes - 1) / 2
    return tied
