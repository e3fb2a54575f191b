"""Distance between predicted distributions over grades and those of the raters."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import jensenshannon

Floats = NDArray[np.float64]


def earth_movers_distance(
    predicted: ArrayLike, raters: ArrayLike, levels: ArrayLike | None = None
) -> Floats:
    """Return the earth mover's distance of each picture (Wasserstein distance of order 1).

    Grades are places on [0, 1], so that the two may have different numbers of grades. Those of the
    raters are evenly spaced from 0 to 1.

    Args:
        predicted: [N, K] probabilities, worst grade first.
        raters: [N, C] counts or probabilities, worst grade first.
        levels: Grades of the predictions, worst first, [K]; None spaces them evenly from 0 to 1.

    Returns:
        [N], in [0, 1].

    Raises:
        ValueError: If the numbers of pictures differ or a row does not describe a distribution.
    """
    ours, theirs = _checked(predicted, raters)
    places = [np.linspace(0, 1, shares.shape[1]) for shares in (ours, theirs)]
    if levels is not None:
        places[0] = np.asarray(levels, dtype=np.float64)
    ends = np.unique(np.concatenate(places))
    below = [
        np.stack([shares[:, place <= end + 1e-12].sum(axis=1) for end in ends[:-1]], axis=1)
        for shares, place in zip((ours, theirs), places, strict=True)
    ]
    distance: Floats = (np.abs(below[0] - below[1]) * np.diff(ends)).sum(axis=1)
    return distance


def js_divergence(predicted: ArrayLike, raters: ArrayLike) -> Floats:
    """Return the Jensen-Shannon divergence of each picture, to base 2.

    Args:
        predicted: [N, K] probabilities.
        raters: [N, K] counts or probabilities over the same grades.

    Returns:
        [N], in [0, 1].

    Raises:
        ValueError: If the shapes differ or a row does not describe a distribution.
    """
    ours, theirs = _checked(predicted, raters)
    if ours.shape != theirs.shape:
        raise ValueError(f"distributions over {ours.shape[1]} and {theirs.shape[1]} grades")
    divergence: Floats = jensenshannon(ours, theirs, base=2, axis=1) ** 2
    return divergence


def _checked(predicted: ArrayLike, raters: ArrayLike) -> tuple[Floats, Floats]:
    """Return both normalised to shares."""
    both = [np.asarray(values, dtype=np.float64) for values in (predicted, raters)]
    if both[0].ndim != 2 or both[1].ndim != 2 or len(both[0]) != len(both[1]):
        shapes = " and ".join(str(list(values.shape)) for values in both)
        raise ValueError(f"distributions must be [N, K] for the same N pictures, got {shapes}")
    for values in both:
        bad = ~(np.isfinite(values) & (values >= 0)).all(axis=1) | (values.sum(axis=1) <= 0)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"picture {row}: {values[row].tolist()} is no distribution over grades"
            )
    ours, theirs = (values / values.sum(axis=1, keepdims=True) for values in both)
    return ours, theirs
