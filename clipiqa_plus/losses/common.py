"""What all losses take, and how it is checked."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Predicted:
    """What a model says about B pictures.

    Attributes:
        scores: [B, T], one score for each of T targets.
        grades: Probability of each of K grades, worst first, [B, T, K]; None if the scores are not
            those of scales, one for each target.
        levels: The grades, worst first, [K]; None if evenly spaced from 0 to 1.
    """

    scores: Tensor
    grades: Tensor | None = None
    levels: Tensor | None = None

    def rows(self, index: Tensor) -> Predicted:
        """Return the predictions of some pictures."""
        grades = None if self.grades is None else self.grades[index]
        return Predicted(self.scores[index], grades, self.levels)


@dataclass(frozen=True)
class Labels:
    """What raters said about B pictures; normalised, higher is better.

    Attributes:
        mos: [B, T], in [0, 1].
        mos_std: Standard deviation of single ratings on that scale, [B, T]; NaN where unknown.
        counts: Ratings per grade, worst first, [B, K]; NaN where unknown.
        group: Number of the group within which pictures may be compared, int64 [B]; None compares
            all.
        weight: Weight of each picture, [B]; None weights all equally.
        voted: Positions of pairs of pictures that people voted on, int64 [Q, 2].
        preferred: Share of the votes on a pair that prefer its first picture, [Q].
        votes: Number of votes on each pair, [Q].
    """

    mos: Tensor
    mos_std: Tensor | None = None
    counts: Tensor | None = None
    group: Tensor | None = None
    weight: Tensor | None = None
    voted: Tensor | None = None
    preferred: Tensor | None = None
    votes: Tensor | None = None

    @classmethod
    def of(cls, batch: Mapping[str, Any]) -> Labels:
        """Return the labels of a batch of :class:`~clipiqa_plus.data.batches.IQADataset`."""
        known = {f.name: batch[f.name] for f in fields(cls) if f.name in batch}
        return cls(**known)

    def rows(self, index: Tensor) -> Labels:
        """Return the labels of some pictures, and the votes between them."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        known = {name: v for name, v in values.items() if v is not None}
        if self.voted is not None:
            place = torch.full((len(self.mos),), -1, device=index.device)
            place[index] = torch.arange(len(index), device=index.device)
            voted = place[self.voted]
            kept = (voted >= 0).all(dim=1)
            votes = {name: known.pop(name)[kept] for name in ("preferred", "votes")}
            del known["voted"]
            votes["voted"] = voted[kept]
            return Labels(**{name: v[index] for name, v in known.items()}, **votes)
        return Labels(**{name: v[index] for name, v in known.items()})


def checked(pred: Tensor, mos: Tensor) -> tuple[Tensor, Tensor]:
    """Convert both to one dtype, at least float32; reject shapes that would broadcast silently."""
    if pred.ndim != 2 or pred.shape != mos.shape or len(pred) == 0:
        raise ValueError(
            "predictions and MOS must have one shape [B, T] with B >= 1, "
            f"got {list(pred.shape)} and {list(mos.shape)}"
        )
    dtype = torch.promote_types(pred.dtype, torch.float32)
    return pred.to(dtype), mos.to(dtype)


def warn_batch_of_one(pred: Tensor, loss: str) -> None:
    """Warn that a loss which compares pictures has nothing to compare."""
    if len(pred) == 1:
        warnings.warn(
            f"{loss} on a batch of one: nothing to compare, no gradient; "
            "use larger batches or the mse loss",
            stacklevel=3,
        )
