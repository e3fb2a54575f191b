"""Losses on distributions over grades: cross entropy and earth mover's distance to soft grades."""

from __future__ import annotations

import torch
from torch import Tensor

TILT = 1000.0
"""Largest slope of the exponential that gives soft grades their mean."""
HALVINGS = 44
"""Steps of bisection for that slope; the mean is then exact to float32."""


def soft_grades(mos: Tensor, mos_std: Tensor | None, grades: int | Tensor) -> Tensor:
    """Return a distribution over grades that has the MOS as its mean.

    The K grades are evenly spaced over [0, 1], or given. With a deviation, the probability of a
    grade is that of a normal distribution in the cell around it (the outer cells are open), as in
    DeQA-Score (You et al., CVPR 2025); without, or with one below a fifth of the smallest step, all
    of it is on the two nearest grades. DeQA-Score corrects the mean by a linear map, which can give
    negative values; here the probabilities are multiplied by an exponential of the grade.

    Args:
        mos: [...] normalised MOS.
        mos_std: [...] deviations of single ratings on that scale; NaN or None where unknown.
        grades: Number K of grades, at least 2, or the grades themselves, worst first, [K]. A MOS
            beyond the outer ones counts as the nearer of them.

    Returns:
        [..., K], float32 at least, worst grade first.

    Example:
        >>> soft_grades(torch.tensor([0.6]), None, 3)
        tensor([[0.0000, 0.8000, 0.2000]])
        >>> soft_grades(torch.tensor([0.6]), torch.tensor([0.3]), 2)
        tensor([[0.4000, 0.6000]])
    """
    mos = mos.to(torch.promote_types(mos.dtype, torch.float32))[..., None]
    if isinstance(grades, int):
        levels = torch.linspace(0, 1, grades, dtype=mos.dtype, device=mos.device)
    else:
        levels = grades.to(mos)
    steps = levels.diff()
    mos = mos.clamp(min=levels[0], max=levels[-1])
    ramp = (mos - levels[:-1]) / steps  # from 0 at each grade to 1 at the next
    end = torch.ones_like(mos)
    nearest = torch.minimum(torch.cat([end, ramp], -1), torch.cat([1 - ramp, end], -1)).clamp(min=0)
    if mos_std is None:
        return nearest
    std = mos_std.to(mos.dtype)[..., None]
    known = std >= steps.min() / 5  # NaN is not
    std = torch.where(known, std, 1.0)
    edges = (levels[:-1] + steps / 2 - mos) / std
    # Logarithms of the cells by the tail that is smaller: no cell rounds to nothing.
    below, above = torch.special.log_ndtr(edges), torch.special.log_ndtr(-edges)
    upper = edges.sum(dim=-1, keepdim=True) * 0
    end = torch.full_like(upper, -torch.inf)
    by_below = _log_difference(torch.cat([below, upper], dim=-1), torch.cat([end, below], dim=-1))
    by_above = _log_difference(torch.cat([upper, above], dim=-1), torch.cat([above, end], dim=-1))
    cells = torch.where(levels < mos, by_below, by_above).clamp(min=-1e4)
    low, high = torch.full_like(mos, -TILT), torch.full_like(mos, TILT)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        mean = ((cells + middle * levels).softmax(dim=-1) * levels).sum(dim=-1, keepdim=True)
        low, high = torch.where(mean < mos, middle, low), torch.where(mean < mos, high, middle)
    tilted = (cells + (low + high) / 2 * levels).softmax(dim=-1)
    return torch.where(known, tilted, nearest)


def grade_targets(
    mos: Tensor, mos_std: Tensor | None, counts: Tensor | None, grades: int | Tensor
) -> Tensor:
    """Return the distributions over grades that a model should predict.

    Args:
        mos: [B, T] normalised MOS.
        mos_std: [B, T] deviations, or None.
        counts: Ratings per grade of the first target, [B, C]; NaN where unknown.
        grades: Number K of grades of the model, or its grades if they are not evenly spaced.

    Returns:
        [B, T, K]: the shares of the raters for pictures with counts of K grades, otherwise
        :func:`soft_grades`.
    """
    targets = soft_grades(mos, mos_std, grades)
    if counts is None or not isinstance(grades, int) or counts.shape[1] < grades:
        return targets
    known = ~counts.isnan()
    exactly = known[:, :grades].all(dim=1) & ~known[:, grades:].any(dim=1)
    shares = counts[:, :grades] / counts[:, :grades].sum(dim=1, keepdim=True)
    first = torch.where(exactly[:, None], shares.to(targets.dtype), targets[:, 0])
    return torch.cat([first[:, None], targets[:, 1:]], dim=1)


def cross_entropy_loss(predicted: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy to soft grades, less the entropy of these: the Kullback-Leibler divergence.

    The difference does not depend on the predictions, so the gradients are equal; 0 is a perfect
    prediction.

    Args:
        predicted: [B, T, K] probabilities.
        targets: [B, T, K] probabilities, see :func:`grade_targets`.

    Returns:
        Scalar, not negative.

    Raises:
        ValueError: If the shapes differ, or the batch is empty.
    """
    predicted, targets = _checked(predicted, targets)
    tiny = torch.finfo(predicted.dtype).tiny
    logs = predicted.clamp(min=tiny).log()
    return (torch.xlogy(targets, targets) - targets * logs).sum(dim=-1).mean()


def emd_loss(predicted: Tensor, targets: Tensor, levels: Tensor | None = None) -> Tensor:
    """Squared earth mover's distance to soft grades.

    The mean over the first K - 1 grades of the squared difference of the cumulative distributions
    (Hou et al., "Squared Earth Mover's Distance-based Loss", 2016, as in NIMA, Talebi & Milanfar,
    TIP 2018, eq. 1 with r = 2, without the root), each weighted by the step to the next grade.

    Args:
        predicted: [B, T, K] probabilities.
        targets: [B, T, K] probabilities, see :func:`grade_targets`.
        levels: The grades, worst first, [K]; None if evenly spaced from 0 to 1.

    Returns:
        Scalar in [0, 1].

    Raises:
        ValueError: If the shapes differ, or the batch is empty.
    """
    predicted, targets = _checked(predicted, targets)
    squared = (predicted - targets).cumsum(dim=-1)[..., :-1].square()
    if levels is None:
        return squared.mean()
    return (squared * levels.to(squared).diff()).sum(dim=-1).mean()


def _log_difference(larger: Tensor, smaller: Tensor) -> Tensor:
    """Logarithm of the difference of two numbers given by their logarithms."""
    return larger + torch.log1p(-(smaller - larger).clamp(max=0).exp())


def _checked(predicted: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    if predicted.ndim != 3 or predicted.shape != targets.shape or len(predicted) == 0:
        raise ValueError(
            "predicted and target grades must have one shape [B, T, K] with B >= 1, "
            f"got {list(predicted.shape)} and {list(targets.shape)}"
        )
    dtype = torch.promote_types(predicted.dtype, torch.float32)
    return predicted.to(dtype), targets.to(dtype)
