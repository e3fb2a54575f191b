"""Which pictures or pairs to rate next: where the members of an ensemble disagree, and diverse.

To ask where members disagree is query by committee (Seung, Opper and Sompolinsky, COLT 1992).
Pictures are chosen one by one: the next is the one whose disagreement times its distance to the
nearest chosen picture is largest, a greedy trade of information for diversity.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

NEAR = 0.1
"""Pictures nearer to each other than this share of the usual distance are near duplicates."""
CANDIDATES = 6
"""Pictures considered for pairs, for each pair that is chosen."""


def relative_ranks(scores: Floats) -> Floats:
    """Return the ranks of pictures by each member, in [0, 1]: members' scales do not matter.

    Args:
        scores: [M, N] of M members.
    """
    return (rankdata(scores, axis=1) - 0.5) / scores.shape[1]


def choose_pictures(scores: Floats, features: Floats, count: int) -> Rows:
    """Choose pictures on whose rank members disagree most, none a near duplicate of another.

    Args:
        scores: [M, N] of M members.
        features: Unit features [N, D].
        count: Number of pictures.

    Returns:
        Rows, the most informative first; fewer than ``count`` if the others are near duplicates or
        all members agree on them.
    """
    ranks = relative_ranks(scores)
    gain = np.where(np.ptp(ranks, axis=0) > 0, ranks.std(axis=0), 0)  # no rounding errors
    novelty = _Novelty(features)
    chosen: list[int] = []
    while len(chosen) < min(count, len(gain)):
        worth = gain * np.where(novelty.near, 0, novelty.distance)
        nearest = int(np.argmax(worth))
        if worth[nearest] <= 0:
            break
        chosen.append(nearest)
        novelty.add(nearest)
    return np.array(chosen, dtype=np.int64)


def choose_pairs(scores: Floats, features: Floats, count: int) -> Rows:
    """Choose pairs on whose order members disagree most; no picture is in two pairs.

    The disagreement of a pair is the smaller of the shares of members that prefer either picture,
    times the deviation of the members' differences in rank.

    Args:
        scores: [M, N] of M members.
        features: Unit features [N, D].
        count: Number of pairs.

    Returns:
        Rows of the two pictures, [C, 2] with C at most ``count``, the most informative first.
    """
    ranks = relative_ranks(scores)
    order = np.argsort(-ranks.std(axis=0), kind="stable")[: CANDIDATES * count]
    first, second = (order[side] for side in np.triu_indices(len(order), 1))
    gap = ranks[:, first] - ranks[:, second]
    prefer = (gap > 0).mean(axis=0)
    gain = np.minimum(prefer, (gap < 0).mean(axis=0)) * gap.std(axis=0)
    novelty = _Novelty(features)
    apart = np.linalg.norm(features[first] - features[second], axis=1)
    gain[apart < NEAR * novelty.usual] = 0  # nothing to see between near duplicates
    chosen: list[tuple[int, int]] = []
    while len(chosen) < count and len(gain):
        free = ~(novelty.near[first] | novelty.near[second])
        both = np.minimum(novelty.distance[first], novelty.distance[second])
        worth = gain * np.where(free, both, 0)
        best = int(np.argmax(worth))
        if worth[best] <= 0:
            break
        chosen.append((int(first[best]), int(second[best])))
        novelty.add(chosen[-1][0])
        novelty.add(chosen[-1][1])
    return np.array(chosen, dtype=np.int64).reshape(-1, 2)


class _Novelty:
    """Distance of each picture to the nearest chosen one."""

    def __init__(self, features: Floats) -> None:
        self.features = features
        drawn = np.random.default_rng(0).integers(0, len(features), (2, 2000))
        gaps = np.linalg.norm(features[drawn[0]] - features[drawn[1]], axis=1)[drawn[0] != drawn[1]]
        self.usual = float(np.median(gaps)) if len(gaps) else 1.0
        # Before the first choice all are equally new.
        self.distance = np.full(len(features), 2.0)

    @property
    def near(self) -> NDArray[np.bool_]:
        """Near duplicates of chosen pictures, and these themselves."""
        return self.distance < max(NEAR * self.usual, 1e-6)

    def add(self, row: int) -> None:
        gaps = np.linalg.norm(self.features - self.features[row], axis=1)
        gaps[row] = 0
        self.distance = np.minimum(self.distance, gaps)
