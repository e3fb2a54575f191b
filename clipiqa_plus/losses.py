"""Training losses: mean squared error, PLCC loss, their sum, and a pairwise rank loss.

Every loss takes predictions and MOS as [B, T] (T targets per image), is computed per target and
then averaged over the targets. Half precision is raised to float32 first.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

RANK_SHARPNESS = 10.0
"""Slope of the rank loss: predictions 0.1 apart give their order odds of e to 1."""


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
    """PLCC loss: ``(1 - PLCC) / 2`` over the batch, 0 for a perfect line and 1 for a reversed one.

    PLCC does not exist where the predictions or the MOS of a target are constant (up to the
    rounding of their dtype). Such a target counts as PLCC = 0: it adds the constant 0.5 and no
    gradient, so a flat batch neither divides by zero nor throws the context tokens far away. A
    batch of one is always of that kind and warns, because a run of such batches learns nothing.

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
    slope: Burges, MSR-TR-2010-82, section 2.) Ties in MOS say nothing about an order and are left
    out. A target without any pair adds 0 and no gradient; a batch of one warns, as in
    :func:`plcc_loss`. Takes memory of the order B² T.

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
    i, j = torch.triu_indices(len(pred), len(pred), offset=1, device=pred.device)
    order = torch.sign(mos[i] - mos[j])  # [B(B-1)/2, T]: 1, -1, or 0 for a tie
    cost = functional.softplus(-sharpness * order * (pred[i] - pred[j]))
    pairs = order.abs()
    return ((cost * pairs).sum(dim=0) / pairs.sum(dim=0).clamp(min=1)).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": mse,
    "plcc": plcc_loss,
    "mse_plcc": mse_plcc,
    "rank": rank_loss,
}
"""The losses by the name a configuration gives them."""


def _checked(pred: Tensor, mos: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one dtype, float32 at least; refuses what broadcasting would silently accept."""
    if pred.ndim != 2 or pred.shape != mos.shape or len(pred) == 0:
        raise ValueError(
            "predictions and MOS must have one shape [B, T] with B >= 1, "
            f"got {list(pred.shape)} and {list(mos.shape)}"
        )
    dtype = torch.promote_types(pred.dtype, torch.float32)
    return pred.to(dtype), mos.to(dtype)


def _standardised(values: Tensor) -> tuple[Tensor, Tensor]:
    """Columns [B, T] centred to unit norm, and [T] whether a column is constant (left centred)."""
    centred = values - values.mean(dim=0)
    # A few units in the last place: below that the direction of `centred` is rounding noise, and
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
