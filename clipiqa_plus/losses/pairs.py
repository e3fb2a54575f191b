"""Losses on pairs of pictures: their order, and the probability of it by Thurstone's model.

Both take O(B²) time but only O(B) memory: the pairs are processed in blocks.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from clipiqa_plus.losses.common import checked, warn_batch_of_one

RANK_SHARPNESS = 10.0
"""Slope of the rank loss: a difference of 0.1 between two predictions gives odds of e to 1."""
PAIR_BLOCK = 1 << 18
"""Pairs that are processed at once: few enough to fit a CPU cache."""
USUAL_STD = 0.25
"""Deviation of single ratings that the fidelity loss assumes where none is known: as in LIQE, 1 on
a scale of 1 to 5."""
SMALLEST_STD = 0.02
"""Added in squares to a deviation: raters who all agree leave no pair beyond doubt."""


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
    pred, mos = checked(pred, mos)
    warn_batch_of_one(pred, "rank loss")
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
        rows = max(1, PAIR_BLOCK // len(pred))
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


def fidelity_loss(pred: Tensor, mos: Tensor, mos_std: Tensor | None = None) -> Tensor:
    """Fidelity loss over all pairs of the batch, by Thurstone's model.

    A rating of a picture is modelled as normal around its MOS. The probability that a rater prefers
    picture i to picture j, and its prediction, are::

        p   = Phi((mos_i - mos_j) / sqrt(std_i^2 + std_j^2))
        p^  = Phi((pred_i - pred_j) / sqrt(std_i^2 + std_j^2))

    and the loss is the mean over all pairs of::

        1 - sqrt(p p^) - sqrt((1 - p) (1 - p^))

    (UNIQUE: Zhang et al., "Uncertainty-Aware Blind Image Quality Assessment in the Laboratory and
    Wild", TIP 2021, section III; the loss: Tsai et al., "FRank", SIGIR 2007.) Pairs of uncertain
    pictures count less. UNIQUE predicts the deviations of p^; here they are the raters'.

    Without deviations it is the loss of LIQE (Zhang et al., CVPR 2023, section 3): p is 1 for the
    better picture, 0.5 for ties, and every deviation of p^ is :data:`USUAL_STD`.

    A target of one picture has no pair: it contributes 0, and a warning is triggered.

    Args:
        pred: [B, T] predictions.
        mos: [B, T] normalised MOS.
        mos_std: [B, T] deviations of single ratings on the scale of the normalised MOS. A target
            with a NaN has none.

    Returns:
        Scalar in [0, 1].

    Raises:
        ValueError: If the shapes are not one equal [B, T], or the batch is empty.

    Example:
        >>> mos = torch.tensor([[0.2], [0.8]])
        >>> fidelity_loss(mos, mos, torch.full((2, 1), 0.3))
        tensor(0.)
    """
    pred, mos = checked(pred, mos)
    warn_batch_of_one(pred, "fidelity loss")
    nothing = torch.full_like(mos, torch.nan)
    std = nothing if mos_std is None else checked(mos_std, mos)[0]
    columns = zip(pred.T, mos.T, std.T, strict=True)
    return torch.stack([_fidelity_column(*column) for column in columns]).mean()


def vote_loss(pred: Tensor, voted: Tensor, preferred: Tensor, votes: Tensor) -> Tensor:
    """Fidelity loss on pairs that people voted on, by Thurstone's model.

    As :func:`fidelity_loss` without deviations, with the share of votes for the first picture as
    its probability ``p``: the mean over all votes of::

        1 - sqrt(p p^) - sqrt((1 - p) (1 - p^)),  p^ = Phi((pred_i - pred_j) / (sqrt(2) std))

    where std is :data:`USUAL_STD` (LIQE: Zhang et al., CVPR 2023, section 3; the model: Thurstone,
    "A law of comparative judgment", Psychological Review 1927, case V). A vote for neither counts
    as half a vote for each, which gives LIQE's p = 0.5 for ties.

    Args:
        pred: [B, T] predictions.
        voted: Positions of the two pictures of each pair, int64 [Q, 2].
        preferred: Share of votes that prefer the first, [Q].
        votes: Number of votes on each pair, [Q].

    Returns:
        Scalar in [0, 1]; 0 without votes.

    Example:
        >>> pred = torch.tensor([[0.5], [0.5]])
        >>> vote_loss(pred, torch.tensor([[0, 1]]), torch.tensor([0.5]), torch.tensor([2.0]))
        tensor(0.)
    """
    pred = pred.to(torch.promote_types(pred.dtype, torch.float32))
    p = preferred.to(pred.dtype)[:, None]
    z = (pred[voted[:, 0]] - pred[voted[:, 1]]) / (math.sqrt(2) * USUAL_STD)  # [Q, T]
    # Logarithms, whose gradient stays finite where the probability underflows.
    half, half_not = torch.special.log_ndtr(z) / 2, torch.special.log_ndtr(-z) / 2
    cost = 1 - p.sqrt() * half.exp() - (1 - p).clamp(min=0).sqrt() * half_not.exp()
    weight = votes.to(pred.dtype)[:, None]
    return (cost * weight).sum() / (weight.sum() * pred.shape[1]).clamp(min=1)


def _fidelity_column(pred: Tensor, mos: Tensor, std: Tensor) -> Tensor:
    """Fidelity loss of one target, [B] each."""
    known = not bool(std.isnan().any())
    variance = std.square() + SMALLEST_STD**2 if known else torch.full_like(mos, USUAL_STD**2)
    total: Tensor = _Infidelity.apply(pred, mos, variance, known)
    return total / max(1, math.comb(len(pred), 2))


class _Infidelity(torch.autograd.Function):
    """Sum of the fidelity losses of all pairs, block by block, with its gradient."""

    @staticmethod
    def forward(ctx: Any, pred: Tensor, mos: Tensor, variance: Tensor, known: bool) -> Tensor:
        """Sum over i < j; [B] each."""
        total = pred.new_zeros((), dtype=torch.float64)
        gradient = torch.zeros_like(pred)
        rows = max(1, PAIR_BLOCK // len(pred))
        for start in range(0, len(pred), rows):
            block = slice(start, start + rows)
            spread = (variance[block, None] + variance[start:]).sqrt()
            gap = mos[block, None] - mos[start:]
            p = torch.special.ndtr(gap / spread) if known else (gap.sign() + 1) / 2
            z = (pred[block, None] - pred[start:]) / spread
            # Roots of the predicted probabilities by their logarithms: neither underflows before
            # the density that is divided by it.
            half, half_not = torch.special.log_ndtr(z) / 2, torch.special.log_ndtr(-z) / 2
            right, wrong = p.sqrt(), (1 - p).clamp(min=0).sqrt()
            cost = 1 - right * half.exp() - wrong * half_not.exp()
            density = -z.square() / 2 - math.log(2 * math.pi) / 2
            slope = wrong * (density - half_not).exp() - right * (density - half).exp()
            slope = slope.triu_(1) / (2 * spread)
            total += cost.triu_(1).sum()
            gradient[block] += slope.sum(dim=1)
            gradient[start:] -= slope.sum(dim=0)
        ctx.save_for_backward(gradient)
        return total.to(pred.dtype)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        """Return the gradient of the sum."""
        return upstream * ctx.saved_tensors[0], None, None, None
