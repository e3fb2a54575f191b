"""Histograms of scores and of their differences, drawn by the page's style sheet."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BINS = 40


def histogram(name: str, values: NDArray[np.floating], signed: bool = False) -> dict[str, Any]:
    """Return the template's variables for a histogram.

    Args:
        name: What the values are.
        values: [N], finite.
        signed: Values above 0 are good, values below are bad: a bin begins at 0, and bars are
            coloured by their sign.

    Returns:
        ``name``, ``numbers`` and ``label`` in words, ``low`` and ``high``, the ends of the axis,
        and ``bars``: height in percent of the highest, and ``better``, ``worse`` or nothing.
    """
    x = values.astype(np.float64)
    low, mean, high = x.min(), x.mean(), x.max()
    counts, edges = np.histogram(x, _edges(low, high, signed))
    at = int(counts.argmax())
    heights = (100 * counts / counts.max()).round(1).tolist()
    signs = [("better" if edge >= 0 else "worse") if signed else "" for edge in edges[:-1]]
    form = "+.3f" if signed else ".3f"
    return {
        "name": name,
        "bars": [
            (height, sign if signed else "") for height, sign in zip(heights, signs, strict=True)
        ],
        "low": f"{edges[0]:{form}}",
        "high": f"{edges[-1]:{form}}",
        "numbers": f"mean {mean:{form}}, standard deviation {x.std():.3f}",
        "label": f"Histogram of {name}: from {low:{form}} to {high:{form}}, most of them between "
        f"{edges[at]:{form}} and {edges[at + 1]:{form}}.",
    }


def _edges(low: float, high: float, signed: bool) -> NDArray[np.float64]:
    """Edges of the bins; one is 0 if the values are signed."""
    room = 0.0 if high - low > 1e-6 else 0.01  # equal values have no width
    low, high = low - room, high + room
    if not signed or low >= 0 or high <= 0:
        return np.linspace(low, high, _BINS + 1)
    step = (high - low) / (_BINS - 1)
    first = np.floor(low / step)
    return np.arange(first, first + _BINS + 1) * step
