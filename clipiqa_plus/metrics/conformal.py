"""Split-conformal prediction intervals for MOS.

Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World (2005); Lei et al.,
Distribution-free predictive inference for regression (2018), algorithm 2. Given the residuals ``r``
of ``n`` held-out pictures, let ``q`` be the ``ceil((n + 1) level)``-th smallest ``|r|``. The
interval ``score +- q`` then covers the MOS of a new picture from the same distribution with
probability at least ``level``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LEVELS = tuple(round(0.5 + i / 100, 2) for i in range(50))
"""Levels for which files store half-widths: 0.50 to 0.99."""


def half_width(scores: Tensor, mos: Tensor, level: float) -> float:
    """Return the half-width of the intervals at a level.

    Args:
        scores: Scores of held-out pictures, [N].
        mos: Their MOS on the same scale, [N].
        level: Minimum coverage, in (0, 1).

    Returns:
        The half-width; infinite if N is too small for the level.
    """
    residuals = (scores.double() - mos.double()).abs().sort().values
    rank = math.ceil((len(residuals) + 1) * level - 1e-9)  # 0.9 * 10 is 9.000000000000002 or so
    return math.inf if rank > len(residuals) else float(residuals[rank - 1])


def coverage(scores: Tensor, mos: Tensor, width: float) -> float:
    """Return the share of pictures whose MOS lies in ``score +- width``; [N] each."""
    # The 1e-7 keeps values exactly at an end inside despite float32 rounding.
    return float(((scores.double() - mos.double()).abs() <= width + 1e-7).double().mean())


def interval_facts(
    scores: Tensor, mos: Tensor, mos_range: tuple[float, float], higher_is_better: bool = True
) -> dict[str, object]:
    """Return the metadata that a file stores about its intervals.

    Args:
        scores: Scores of the validation part, [N, T].
        mos: Its normalised MOS, [N, T].
        mos_range: Range of the raw MOS.
        higher_is_better: Whether a higher raw MOS means a higher score.

    Returns:
        JSON values: ``n``; ``scale``, the raw MOS at scores 0 and 1; and ``half_widths`` in units
        of score, one list over :data:`LEVELS` per target, None where N is too small.
    """
    low, high = map(float, mos_range)
    widths = [
        [half_width(ours, theirs, level) for level in LEVELS]
        for ours, theirs in zip(scores.T, mos.T, strict=True)
    ]
    return {
        "n": len(scores),
        "scale": [low, high] if higher_is_better else [high, low],
        "half_widths": [[round(w, 6) if math.isfinite(w) else None for w in ws] for ws in widths],
    }


def half_widths(facts: dict[str, object], level: float, holder: str) -> list[float]:
    """Return the half-width of each target that a file stores.

    Args:
        facts: Metadata of the file.
        level: One of :data:`LEVELS`.
        holder: Name of the file in the error.

    Raises:
        ValueError: If the file has no intervals, or none at this level.
    """
    recorded = facts.get("intervals")
    if not isinstance(recorded, dict):
        raise ValueError(
            f"{holder} has no intervals: it was written without a validation part, or by an "
            "earlier version; train or fit again with a validation part"
        )
    if round(level, 6) not in LEVELS:
        raise ValueError(f"interval {level:g}; give a level from 0.5 to 0.99 in hundredths")
    widths = [ws[LEVELS.index(round(level, 6))] for ws in recorded["half_widths"]]
    if None in widths:
        raise ValueError(
            f"{holder}: its validation part of {recorded['n']} pictures is too small for an "
            f"interval of {level:g}; ask for a lower level"
        )
    return widths


def mos_interval(scores: Tensor, widths: list[float], scale: list[float]) -> tuple[Tensor, Tensor]:
    """Return the ends of the intervals on the raw MOS scale, clipped to that scale.

    Args:
        scores: [B, T].
        widths: Half-width of each of the T targets.
        scale: Raw MOS at scores 0 and 1.

    Returns:
        Lower and upper ends, [B, T] each.
    """
    worst, best = scale
    half = torch.tensor(widths, dtype=scores.dtype, device=scores.device)
    less, more = (worst + (scores + h).clamp(0, 1) * (best - worst) for h in (-half, half))
    return torch.minimum(less, more), torch.maximum(less, more)
