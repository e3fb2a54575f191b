"""The losses by their names in a configuration, computed group by group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from clipiqa_plus.losses.common import Labels, Predicted
from clipiqa_plus.losses.grades import cross_entropy_loss, emd_loss, grade_targets
from clipiqa_plus.losses.pairs import fidelity_loss, rank_loss, vote_loss
from clipiqa_plus.losses.scores import mse, mse_plcc, plcc_loss

LossName = Literal["mse", "plcc", "mse_plcc", "rank", "fidelity", "cross_entropy", "emd"]

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": mse,
    "plcc": plcc_loss,
    "mse_plcc": mse_plcc,
    "rank": rank_loss,
}
"""Losses that take scores and MOS, [B, T] each."""

GRADE_LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    "cross_entropy": lambda predicted, targets, levels: cross_entropy_loss(predicted, targets),
    "emd": emd_loss,
}
"""Losses that take predicted and target distributions over grades, [B, T, K] each, and the grades,
[K], or None if evenly spaced."""

_COMPARING = ("plcc", "mse_plcc", "rank", "fidelity")


def check_loss(name: str, grades: bool = True) -> None:
    """Refuse a loss that does not exist or that the model cannot have.

    Args:
        name: Name of the loss.
        grades: Whether the model gives distributions over grades.

    Raises:
        ValueError: Naming the remedy.
    """
    if name not in get_args(LossName):
        raise ValueError(f"loss {name!r}; choose from {', '.join(get_args(LossName))}")
    if name in GRADE_LOSSES and not grades:
        raise ValueError(
            f"loss {name} needs a distribution over grades, which a regressor does not give; set "
            "reduction to mean or none"
        )


def training_loss(name: LossName, predicted: Predicted, labels: Labels) -> Tensor:
    """Return a loss; within each group alone if the labels have groups.

    Pictures with votes have no MOS: their loss is :func:`~clipiqa_plus.losses.vote_loss`, whatever
    the name.

    Args:
        name: Name of the loss.
        predicted: What the model says about B pictures.
        labels: What raters said about them.

    Returns:
        Scalar: the mean over groups, weighted by the weight of their pictures. A group of a single
        picture is left out of losses that compare pictures, and one of votes without any vote.

    Raises:
        ValueError: If there is no such loss, it needs distributions over grades and the model gives
            none, or shapes do not fit.
    """
    if labels.group is None:
        return _loss(name, predicted, labels)
    weight = torch.ones_like(labels.mos[:, 0]) if labels.weight is None else labels.weight
    _, position, sizes = labels.group.unique(return_inverse=True, return_counts=True)
    rated = labels.mos.isfinite().all(dim=1)
    if name in _COMPARING and bool((sizes > 1).any()):
        kept = sizes > 1
    else:
        kept = torch.ones_like(sizes, dtype=torch.bool)
    losses, weights = [], []
    for number in kept.nonzero()[:, 0].tolist():
        (rows,) = (position == number).nonzero(as_tuple=True)
        own = labels.rows(rows)
        if not rated[rows[0]] and (own.voted is None or not len(own.voted)):
            continue
        losses.append(_loss(name, predicted.rows(rows), own))
        weights.append(weight[rows].sum())
    shares = torch.stack(weights)
    return (torch.stack(losses) * (shares / shares.sum())).sum()


def _loss(name: str, predicted: Predicted, labels: Labels) -> Tensor:
    """Return a loss over all pictures."""
    if labels.voted is not None and not bool(labels.mos.isfinite().any()):
        assert labels.preferred is not None
        assert labels.votes is not None
        return vote_loss(predicted.scores, labels.voted, labels.preferred, labels.votes)
    if name in LOSSES:
        return LOSSES[name](predicted.scores, labels.mos)
    if name == "fidelity":
        return fidelity_loss(predicted.scores, labels.mos, labels.mos_std)
    check_loss(name, grades=predicted.grades is not None)
    assert predicted.grades is not None
    grades = predicted.grades.shape[-1] if predicted.levels is None else predicted.levels
    targets = grade_targets(labels.mos, labels.mos_std, labels.counts, grades)
    return GRADE_LOSSES[name](predicted.grades, targets, predicted.levels)
