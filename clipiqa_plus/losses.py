"""Training losses: mean squared error, PLCC loss, their sum, and a pairwise rank loss.

Every loss takes predictions and MOS as [B, T] (T targets per image), is computed per target and
averaged over the targets. Half precision is converted to float32 first.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

RANK_SHARPNESS = 10.0
"""Slope of the rank loss: a difference of 0.1 between two predictions gives odds of e to 1."""
RANK_BLOCK = 1 << 18
"""Pairs that the rank loss processes at once: few enough to fit a CPU cache."""


def mse(pred: Tensor, mos: Tensor) -> Tensor:
    """Mean squared error: the loss of the official CLIP-IQA+ training, on MOS in [0, 1].

    Args:
        pred: [B, T] predictions.
        mos: [B, T] normalised MOS.

    Returns:
        Scalar, not negative.

    Raises:
        ValueError: If the shapes are not one equal [B, T], or the batch is empty.
    """
    pred, mos = _checked(pred, mos)
    return functional.mse_loss(pred, mos)


def plcc_loss(pred: Tensor, mos: Tensor) -> Tensor:
    """PLCC loss: ``(1 - PLCC) / 2`` over the batch, 0 for PLCC = 1 and 1 for PLCC = -1.

    PLCC is undefined if the predictions or the MOS of a target are constant (up to the rounding of
    their dtype). Such a target counts as PLCC = 0: it contributes the constant 0.5 and no gradient,
    so a constant batch neither divides by zero nor produces a huge update. A batch of one is always
    constant and triggers a warning, because training on such batches learns nothing.

    Args:
        pred: [B, T] predictions.
        mos: [B, T] normalised MOS.

    Returns:
        Scalar in [0, 1].

    Raises:
        ValueError: If the shapes are not one equal [B, T], or the batch is empty.

    Example:
        >>> mos = torch.tensor([[0.1], [0.5], [0.9]])
        >>> plcc_loss(1 - 0.5 * mos, mos)
        tensor(1.)
    """
    pred, mos = _checked(pred, mos)
    _warn_batch_of_one(pred, "PLCC loss")
    (x, flat_x), (y, flat_y) = _standardised(pred), _standardised(mos)
    correlation = torch.where(flat_x | flat_y, 0.0, (x * y).sum(dim=0))
    return (1 - correlation).mean() / 2


def mse_plcc(pred: Tensor, mos: Tensor) -> Tensor:
    """Sum of :func:`mse` and :func:`plcc_loss`: the loss of pyiqa's CLIP-IQA+ training.

    Args:
        pred: [B, T] predictions.
        mos: [B, T] normalised MOS.

    Returns:
        Scalar, not negative.

    Raises:
        ValueError: If the shapes are not one equal [B, T], or the batch is empty.
    """
    return mse(pred, mos) + plcc_loss(pred, mos)


def rank_loss(pred: Tensor, mos: Tensor, sharpness: float = RANK_SHARPNESS) -> Tensor:
    """Pairwise logistic rank loss over all pairs of the batch whose MOS differ.

    The mean over the pairs with ``mos_i > mos_j`` of::

        log(1 + exp(-sharpness * (pred_i - pred_j)))

    (RankNet: Burges et al., "Learning to Rank using Gradient Descent", ICML 2005; the form with the
    slope: Burges, MSR-TR-2010-82, section 2.) Pairs with tied MOS have no order and are left out. A
    target without any pair contributes 0 and no gradient; a batch of one triggers a warning, as in
    :func:`plcc_loss`. Takes O(B² T) time, but only O(B T) memory.

    Args:
        pred: [B, T] predictions.
        mos: [B, T] MOS; only its order matters.
        sharpness: Slope; the default suits predictions in [0, 1].

    Returns:
        Scalar, not negative.

    Raises:
        ValueError: If the shapes are not one equal [B, T], or the batch is empty.

    Example:
        >>> rank_loss(torch.tensor([[0.2], [0.2]]), torch.tensor([[0.1], [0.9]]))  # log 2
        tensor(0.6931)
    """
    pred, mos = _checked(pred, mos)
    _warn_batch_of_one(pred, "rank loss")
    columns = zip(pred.T, mos.T, strict=True)
    return torch.stack([_rank_column(p, m, sharpness) for p, m in columns]).mean()


def _rank_column(pred: Tensor, mos: Tensor, sharpness: float) -> Tensor:
    """Rank loss of one target, [B] each."""
    mos, order = mos.sort(descending=True)  # the first picture of a pair is never the worse one
    ties = torch.unique_consecutive(mos, return_counts=True)[1]
    pairs = (len(mos) * (len(mos) - 1) - (ties * (ties - 1)).sum()) // 2
    total: Tensor = _PairCosts.apply(pred[order], mos, sharpness)
    return total / pairs.clamp(min=1)


class _PairCosts(torch.autograd.Function):
    """Sum of the logistic costs of all pairs, block by block, with its gradient.

    Autograd would keep every block for the backward pass, which takes O(B²) memory.
    """

    @staticmethod
    def forward(ctx: Any, pred: Tensor, mos: Tensor, sharpness: float) -> Tensor:
        """Sum over i < j with ``mos[i] > mos[j]``; both are [B], mos in descending order."""
        total = pred.new_zeros((), dtype=torch.float64)
        gradient = torch.zeros_like(pred)
        rows = max(1, RANK_BLOCK // len(pred))
        for start in range(0, len(pred), rows):
            block = slice(start, start + rows)
            differ = mos[block, None] > mos[start:]
            exponent = sharpness * (pred[start:] - pred[block, None])
            total += (functional.softplus(exponent) * differ).sum()
            slope = exponent.sigmoid_().mul_(differ)
            gradient[block] -= slope.sum(dim=1)
            gradient[start:] += slope.sum(dim=0)
        ctx.save_for_backward(sharpness * gradient)
        return total.to(pred.dtype)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        """Return the gradient of the sum."""
        return upstream * ctx.saved_tensors[0], None, None


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": mse,
    "plcc": plcc_loss,
    "mse_plcc": mse_plcc,
    "rank": rank_loss,
}
"""The losses by their name in a configuration."""


def _checked(pred: Tensor, mos: Tensor) -> tuple[Tensor, Tensor]:
    """Convert both to one dtype, at least float32; reject shapes that would broadcast silently."""
    if pred.ndim != 2 or pred.shape != mos.shape or len(pred) == 0:
        raise ValueError(
            "predictions and MOS must have one shape [B, T] with B >= 1, "
            f"got {list(pred.shape)} and {list(mos.shape)}"
        )
    dtype = torch.promote_types(pred.dtype, torch.float32)
    return pred.to(dtype), mos.to(dtype)


def _standardised(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return centred columns of unit norm [B, T], and [T] which are constant (only centred)."""
    centred = values - values.mean(dim=0)
    # A few units in the last place. Below that the direction of `centred` is rounding noise, and
    # the gradient, which grows as 1 / norm, is that noise times ten million.
    noise = 4 * torch.finfo(values.dtype).eps * values.detach().abs().amax(dim=0)
    flat = values.detach().amax(dim=0) - values.detach().amin(dim=0) <= noise
    norm = torch.linalg.vector_norm(centred, dim=0)
    return centred / torch.where(flat, 1.0, norm), flat


def _warn_batch_of_one(pred: Tensor, loss: str) -> None:
    if len(pred) == 1:
        warnings.warn(
            f"{loss} on a batch of one: nothing to compare, no gradient; "
            "use larger batches or the mse loss",
            stacklevel=3,
        )
