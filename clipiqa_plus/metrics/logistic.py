"""Least-squares fits of the logistic mappings from scores to MOS.

For a given centre and width the other parameters follow from a linear regression, so only two are
searched (variable projection: Golub and Pereyra, SIAM J. Numer. Anal. 10(2), 1973). Unlike a search
over all of them, it also terminates on data whose best fit lies at infinity, such as a perfect
line.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Floats = NDArray[np.float64]


def fit_logistic(x: Floats, y: Floats, linear: bool = False) -> Floats | None:
    """Map scores to MOS by the best logistic curve.

    Weakly related data have many local optima, so the search starts from the six best points of a
    grid and the best result is kept.

    Args:
        x: [N] scores, not constant.
        y: [N] MOS, not constant.
        linear: Add a linear term to the curve (5 parameters), instead of none (4).

    Returns:
        [N] mapped scores; None if no start converges.
    """
    u, _ = _z_scores(x)
    v, deviation = _z_scores(y)
    problem = _Projected(u, v, linear)
    centres = np.quantile(u, np.linspace(0.02, 0.98, 30))
    grid = [np.array([c, w]) for c in centres for w in np.log([0.01, 0.03, 0.1, 0.3, 1.0, 3.0])]
    grid.sort(key=lambda shape: float(np.square(problem.residual(shape)).sum()))
    fits = [
        optimize.least_squares(
            problem.residual, start, problem.jacobian, method="lm", max_nfev=1000
        )
        for start in grid[:6]
    ]
    converged = [fit for fit in fits if fit.success]
    if not converged:
        return None
    best = min(converged, key=lambda fit: float(fit.cost))
    return y - deviation * problem.residual(best.x)


class _Projected:
    """The regression of v on a logistic of u, as a function of its centre and log width.

    What is linear in the other parameters is removed from v and from the curve: the mean and, with
    ``linear``, the multiple of u.
    """

    def __init__(self, u: Floats, v: Floats, linear: bool) -> None:
        self.u = u
        self.line = u / np.sqrt(u @ u) if linear else None
        # Wider than this many standard deviations (as a logarithm) the curve is a line, and with
        # the line removed a cubic; narrower than e^-7 a step: limits of the shape.
        self.widest = 3.0 if linear else 7.0
        self.v = self._free(v)

    def _free(self, values: Floats) -> Floats:
        """[N] or [N, K] without the mean and the line."""
        rest = values - values.mean(axis=0)
        if self.line is not None:
            rest -= np.multiply.outer(self.line, self.line @ rest)
        return rest

    def _curve(self, shape: Floats) -> tuple[Floats, float, Floats, float]:
        """Argument z of the logistic, 1 / width, its free part, and the slope of v on that."""
        sharpness = float(np.exp(-np.clip(shape[1], -7, self.widest)))
        z = (self.u - shape[0]) * sharpness
        curve = self._free(special.expit(z))
        power = float(curve @ curve)
        return z, sharpness, curve, float(curve @ self.v) / power if power > 0 else 0.0

    def residual(self, shape: Floats) -> Floats:
        """[N] residuals of v from the best curve with this centre and log width."""
        _, _, curve, slope = self._curve(shape)
        return self.v - slope * curve

    def jacobian(self, shape: Floats) -> Floats:
        """[N, 2] derivative of the residual, in Kaufman's approximation (BIT 15, 1975).

        The derivative of the curve, minus its projection onto the curve itself.
        """
        z, sharpness, curve, slope = self._curve(shape)
        steepness = special.expit(z) * special.expit(-z)
        inside = -7 < shape[1] < self.widest
        by_width = steepness * z if inside else np.zeros_like(z)
        derivative = self._free(np.stack([steepness * sharpness, by_width], axis=1))
        power = float(curve @ curve)
        if power > 0:
            derivative -= np.outer(curve, curve @ derivative / power)
        return slope * derivative


def _z_scores(values: Floats) -> tuple[Floats, float]:
    """Values scaled to zero mean and unit standard deviation, and their original deviation."""
    span = float(np.ptp(values))
    scaled = (values - values.min()) / span  # first, so that no square under- or overflows
    return (scaled - scaled.mean()) / scaled.std(), span * float(scaled.std())
