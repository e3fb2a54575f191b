"""How often each set of a mixture is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import SequentialSampler

from clipiqa_plus.data.batches import ENDLESS, BatchIndex, BatchSampler, Rows, WholePart
from clipiqa_plus.data.votes.pairs import check_even, draw_pairs

Sampling = Literal["size", "equal"] | dict[str, float]
"""Shares of the sets: by their ``size``, ``equal``, or by weights per set."""


@dataclass(frozen=True)
class Part:
    """The training part of one set.

    Attributes:
        rows: Row numbers in the mixture.
        views: Number of views of a picture; None if unlimited.
        pairs: Of votes, the voted pairs in the mixture, [P, 2].
    """

    rows: Rows
    views: int | None
    pairs: Rows | None = None


def shares(sampling: Sampling, sizes: Mapping[str, int]) -> NDArray[np.float64]:
    """Return the share of each set in an epoch.

    Args:
        sampling: ``size``, ``equal``, or a weight for each set.
        sizes: Number of training pictures of each set.

    Returns:
        [S], adding up to 1.

    Raises:
        ValueError: If a weight is missing, unknown, negative or not finite, or all are 0.
    """
    if sampling == "size":
        weights = np.array(list(sizes.values()), dtype=np.float64)
    elif sampling == "equal":
        weights = np.ones(len(sizes))
    elif isinstance(sampling, Mapping):
        differing = sorted(set(sampling) ^ set(sizes))
        if differing:
            raise ValueError(
                f"sampling: give one weight for each set ({', '.join(sizes)}) and no other; "
                f"wrong: {', '.join(differing)}"
            )
        weights = np.array([sampling[name] for name in sizes], dtype=np.float64)
    else:
        raise ValueError(f"sampling {sampling!r}; choose size, equal, or a weight for each set")
    if not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() == 0:
        raise ValueError(f"sampling {sampling}: weights must not be negative or all 0")
    return weights / weights.sum()


def counts(weights: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Divide a number of draws by shares: rounded down, the rest to the largest remainders.

    Args:
        weights: Shares [S], adding up to 1.
        total: Number of draws.
    """
    exact = weights * total
    floor = np.floor(exact + 1e-9)
    rest = round(total - floor.sum())
    floor[np.argsort(floor - exact, kind="stable")[:rest]] += 1
    return floor.astype(np.int64)


class MixedBatches(BatchSampler):
    """Shuffled batches of several sets, drawn anew each epoch from (seed, epoch) alone.

    An epoch has as many draws as there are training pictures. A set that gets more draws than it
    has pictures repeats them evenly: no picture is drawn again before all others were. Of votes,
    pairs are drawn, and the two pictures of a pair are always in one batch.

    Args:
        parts: The training part of each set.
        weights: Share of each set, [S].
        batch_size: Rows per batch.
        **options: Seed and epoch, see :class:`~clipiqa_plus.data.batches.BatchSampler`.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        weights: NDArray[np.float64],
        batch_size: int,
        **options: Any,
    ) -> None:
        rows = np.concatenate([part.rows for part in parts])
        drawn = counts(weights, len(rows))
        self.voted = any(part.pairs is not None for part in parts)
        if self.voted:
            check_even(batch_size)
            drawn += drawn % 2 * np.array([part.pairs is not None for part in parts])
        super().__init__(np.resize(rows, int(drawn.sum())), batch_size, shuffle=True, **options)
        self.parts = list(parts)
        self.counts = drawn

    def draw(self) -> BatchIndex:
        """Return the rows and views of the current epoch in order."""
        rng = np.random.default_rng([self.seed, self.epoch()])
        rows, views = [], []
        for part, count in zip(self.parts, self.counts, strict=True):
            if part.pairs is not None:
                continue
            rounds = -(-int(count) // max(1, len(part.rows)))
            order = [rng.permutation(part.rows) for _ in range(rounds)]
            rows.append(np.concatenate([*order, part.rows[:0]])[:count])
            views.append(rng.integers(0, part.views or ENDLESS, count))
        singles = np.concatenate([*rows, self.rows[:0]]), np.concatenate([*views, self.rows[:0]])
        shuffled = rng.permutation(len(singles[0]))
        rows, views = [singles[0][shuffled]], [singles[1][shuffled]]
        if not self.voted:
            return rows[0], views[0]
        for part, count in zip(self.parts, self.counts, strict=True):
            if part.pairs is not None:
                pair_rows, pair_views = draw_pairs(rng, part.pairs, part.views, int(count) // 2)
                rows.append(pair_rows)
                views.append(pair_views)
        return _shuffled_by_two(rng, rows, views)


def _shuffled_by_two(
    rng: np.random.Generator, rows: list[Rows], views: list[Rows]
) -> tuple[Rows, Rows]:
    """Shuffle entries two by two, so that the pictures of a pair stay together.

    The first of an odd number of single pictures, all of which come first, goes to the end.
    """
    odd = len(rows[0]) % 2
    shuffled = []
    twos = rng.permutation((sum(map(len, rows)) - odd) // 2)
    for parts in (rows, views):
        entries = np.concatenate(parts)
        shuffled.append(np.concatenate([entries[odd:].reshape(-1, 2)[twos].ravel(), entries[:odd]]))
    return shuffled[0], shuffled[1]


class SameMixedBatches(MixedBatches, SequentialSampler):  # type: ignore[misc]
    """The batches of the first epoch in every epoch, for ``overfit_batches``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **(options | {"epoch": lambda: 0}))


class MixedWholePart(WholePart):
    """All views of all training pictures of all sets as one batch.

    Args:
        parts: The training part of each set; its views are limited.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__(np.concatenate([part.rows for part in parts]), 1)
        views = [part.views or 0 for part in parts]
        self.batch = (
            np.concatenate([p.rows.repeat(v) for p, v in zip(parts, views, strict=True)]),
            np.concatenate(
                [np.tile(np.arange(v), len(p.rows)) for p, v in zip(parts, views, strict=True)]
            ),
        )


class SameMixedWholePart(MixedWholePart, SequentialSampler):  # type: ignore[misc]
    """The whole part for ``overfit_batches``."""
