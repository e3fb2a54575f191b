"""Votes on pairs of pictures by row number: those of a batch, and batches of voted pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import SequentialSampler

from clipiqa_plus.data.batches import ENDLESS, BatchIndex, BatchSampler, Rows


@dataclass(frozen=True)
class PairVotes:
    """All votes of a part, one entry for each pair of pictures.

    Attributes:
        pairs: Row numbers of the two pictures, int64 [P, 2]; each pair once.
        wins: Number of votes for the first, for the second, and for neither, float64 [P, 3].
        rows: Number of rows of the table of pictures.
    """

    pairs: Rows
    wins: NDArray[np.float64]
    rows: int

    @classmethod
    def counted(cls, pairs: Rows, votes: Sequence[str], n: Sequence[int], rows: int) -> PairVotes:
        """Add up votes.

        Args:
            pairs: Row numbers of the first and the second picture of V votes, [V, 2].
            votes: ``first``, ``second`` or ``same``, [V].
            n: Number of times that each was cast, [V].
            rows: Number of rows of the table of pictures.
        """
        swapped = pairs[:, 0] > pairs[:, 1]
        column = np.array([("first", "second", "same").index(vote) for vote in votes], np.int64)
        column = np.where(swapped & (column < 2), 1 - column, column)
        ordered = np.sort(pairs, axis=1).reshape(-1, 2)
        found, at = np.unique(ordered, axis=0, return_inverse=True)
        wins = np.zeros((len(found), 3))
        np.add.at(wins, (at.ravel(), column), np.asarray(n, np.float64))
        return cls(found.astype(np.int64), wins, rows)

    @classmethod
    def joined(cls, parts: Sequence[PairVotes], starts: Sequence[int], rows: int) -> PairVotes:
        """Return the votes of several sets whose rows start at different numbers."""
        pairs = [part.pairs + start for part, start in zip(parts, starts, strict=True)]
        return cls(np.concatenate(pairs), np.concatenate([part.wins for part in parts]), rows)

    @property
    def pictures(self) -> Rows:
        """Rows of the pictures that have a vote, ascending."""
        return np.unique(self.pairs)

    def __call__(self, rows: Tensor, views: Tensor) -> dict[str, Tensor]:
        """Return the votes between the pictures of a batch, as seen in the same view.

        Args:
            rows: Row numbers, int64 [B].
            views: View numbers, int64 [B].

        Returns:
            ``voted``: positions of two pictures in the batch, int64 [Q, 2]; ``preferred``: share of
            their votes that prefer the first, a vote for neither being half a vote for each,
            float32 [Q]; ``votes``: their number, float32 [Q].
        """
        _, view = np.unique(views.cpu().numpy(), return_inverse=True)
        keys = view * self.rows + rows.cpu().numpy()
        entries, place = np.unique(keys, return_index=True)
        # The pairs are sorted by their first picture: those of an entry are neighbours.
        low = np.searchsorted(self.pairs[:, 0], entries % self.rows, side="left")
        high = np.searchsorted(self.pairs[:, 0], entries % self.rows, side="right")
        entry = np.repeat(np.arange(len(entries)), high - low)
        pair = np.arange(len(entry)) - np.repeat(np.cumsum(high - low) - high, high - low)
        wanted = entries[entry] // self.rows * self.rows + self.pairs[pair, 1]
        other = np.searchsorted(entries, wanted).clip(max=len(entries) - 1)
        inside = entries[other] == wanted
        wins = self.wins[pair[inside]]
        number = wins.sum(axis=1)
        voted = np.stack([place[entry[inside]], place[other[inside]]], axis=1)
        return {
            "voted": torch.from_numpy(voted),
            "preferred": torch.from_numpy((wins[:, 0] + wins[:, 2] / 2) / number).float(),
            "votes": torch.from_numpy(number).float(),
        }


def draw_pairs(
    rng: np.random.Generator, pairs: Rows, views: int | None, count: int
) -> tuple[Rows, Rows]:
    """Draw voted pairs: none is drawn again before all others were.

    Args:
        rng: Random numbers.
        pairs: Row numbers [P, 2].
        views: Number of views; None if unlimited.
        count: Number of pairs to draw.

    Returns:
        Rows [2 count], the two of a pair side by side, and their views: one for each pair.
    """
    rounds = -(-count // max(1, len(pairs)))
    order = [rng.permutation(len(pairs)) for _ in range(rounds)]
    drawn = np.concatenate([*order, np.empty(0, np.int64)])[:count].astype(np.int64)
    return pairs[drawn].ravel(), rng.integers(0, views or ENDLESS, count).repeat(2)


class VoteBatches(BatchSampler):
    """Shuffled batches of voted pairs, drawn anew each epoch from (seed, epoch) alone.

    Args:
        votes: The votes; an epoch has each voted pair once.
        batch_size: Pictures per batch, an even number.
        views: Number of views of a picture; None if unlimited.
        seed: Random seed.
        epoch: Returns the current epoch when an iteration starts.
    """

    def __init__(
        self,
        votes: PairVotes,
        batch_size: int,
        views: int | None = 1,
        seed: int = 0,
        epoch: Callable[[], int] = lambda: 0,
    ) -> None:
        check_even(batch_size)
        super().__init__(votes.pairs.ravel(), batch_size, views, True, seed, epoch)
        self.votes = votes

    def draw(self) -> BatchIndex:
        """Return the rows and views of the current epoch in order."""
        rng = np.random.default_rng([self.seed, self.epoch()])
        return draw_pairs(rng, self.votes.pairs, self.views, len(self.votes.pairs))


class SameVoteBatches(VoteBatches, SequentialSampler):  # type: ignore[misc]
    """The batches of the first epoch in every epoch, for ``overfit_batches``."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **(options | {"epoch": lambda: 0}))  # type: ignore[arg-type]


def check_even(batch_size: int) -> None:
    """Refuse a batch size that would cut a voted pair in two."""
    if batch_size % 2:
        raise ValueError(
            f"batch_size is {batch_size}; votes are about two pictures: give an even number"
        )
