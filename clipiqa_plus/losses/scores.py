"""Losses on scores: mean squared error, PLCC loss, and their sum."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from clipiqa_plus.losses.common import checked, warn_batch_of_one


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
    pred, mos = checked(pred, mos)
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
    pred, mos = checked(pred, mos)
    warn_batch_of_one(pred, "PLCC loss")
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


def _standardised(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return centred columns of unit norm [B, T], and [T] which are constant (only centred)."""
    centred = values - values.mean(dim=0)
    # A few units in the last place. Below that the direction of `centred` is rounding noise, and
    # the gradient, which grows as 1 / norm, is that noise times ten million.
    noise = 4 * torch.finfo(values.dtype).eps * values.detach().abs().amax(dim=0)
    flat = values.detach().amax(dim=0) - values.detach().amin(dim=0) <= noise
    norm = torch.linalg.vector_norm(centred, dim=0)
    return centred / torch.where(flat, 1.0, norm), flat
