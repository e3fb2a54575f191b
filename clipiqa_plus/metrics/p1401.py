"""Statistical evaluation of quality models by ITU-T P.1401, and F-tests of residuals.

Recommendation ITU-T P.1401 (2020), "Methods, metrics and procedures for statistical evaluation,
qualification and comparison of objective quality prediction models": scores are mapped to MOS by a
monotonic third-order polynomial; RMSE* and outlier ratio count only errors beyond the confidence
interval of each MOS.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

Floats = NDArray[np.float64]

CUBIC_PARAMETERS = 4
_KNOTS = np.linspace(0, 1, 201)


def cubic_mapping(prediction: ArrayLike, mos: ArrayLike) -> Floats:
    """Map scores to MOS by the least-squares third-order polynomial that is monotonic on them.

    It is increasing or decreasing, whichever fits better. If the unconstrained polynomial is not
    monotonic within the range of the scores, its derivative is restricted to non-negative
    combinations of the extreme rays of the quadratics that are non-negative there, (t - s)^2 and
    t (1 - t) for scores t scaled to [0, 1]: a non-negative least-squares problem (s on a grid of
    201 points).

    Args:
        prediction: [N] scores.
        mos: [N].

    Returns:
        [N] in units of MOS; NaN for fewer than 5 pictures or constant scores.
    """
    x, y = np.asarray(prediction, np.float64), np.asarray(mos, np.float64)
    span = np.ptp(x) if len(x) else 0.0
    if len(x) <= CUBIC_PARAMETERS or span == 0:
        return np.full_like(x, np.nan)
    t = (x - x.min()) / span
    powers = np.stack([t, t**2, t**3], axis=1)
    q, r = np.linalg.qr(powers - powers.mean(axis=0))
    target = q.T @ (y - y.mean())  # [3]: N pictures reduced to three equations
    free = np.linalg.lstsq(r, target, rcond=None)[0]
    slopes = free[0] + 2 * free[1] * _KNOTS + 3 * free[2] * _KNOTS**2
    if (slopes >= 0).all() or (slopes <= 0).all():
        return y.mean() + q @ (r @ free)
    # Integrals of the rays, as coefficients of t, t^2, t^3: [3, 202].
    rays = np.stack([_KNOTS**2, -_KNOTS, np.full_like(_KNOTS, 1 / 3)])
    rays = np.concatenate([rays, [[0], [1 / 2], [-1 / 3]]], axis=1)
    fits = [(optimize.nnls(sign * r @ rays, target), sign) for sign in (1, -1)]
    (weights, _), sign = min(fits, key=lambda fit: float(fit[0][1]))
    return y.mean() + q @ (sign * r @ rays @ weights)


def rmse(mapped: ArrayLike, mos: ArrayLike, parameters: int = CUBIC_PARAMETERS) -> float:
    """Return the RMSE with N - parameters in the denominator.

    Args:
        mapped: [N] mapped scores.
        mos: [N].
        parameters: Number of parameters of the mapping.
    """
    return _root(np.asarray(mapped, np.float64) - np.asarray(mos, np.float64), parameters)


def rmse_star(
    mapped: ArrayLike, mos: ArrayLike, confidence: ArrayLike, parameters: int = CUBIC_PARAMETERS
) -> float:
    """Return RMSE*, the RMSE of the errors beyond the confidence intervals of the MOS.

    Args:
        mapped: [N] mapped scores.
        mos: [N].
        confidence: [N] halves of the confidence intervals.
        parameters: Number of parameters of the mapping.
    """
    return _root(_excess(mapped, mos, confidence), parameters)


def outlier_ratio(mapped: ArrayLike, mos: ArrayLike, confidence: ArrayLike) -> float:
    """Return the share of pictures whose error exceeds the confidence interval of their MOS.

    Args:
        mapped: [N] mapped scores.
        mos: [N].
        confidence: [N] halves of the confidence intervals.
    """
    excess = _excess(mapped, mos, confidence)
    return float((excess > 0).mean()) if np.isfinite(excess).all() else float("nan")


def rmse_test(first: float, second: float, degrees: int) -> float:
    """Two-sided F-test of two RMSE, or of two residual variances as in Sheikh et al., TIP 2006.

    It assumes independent, normal residuals. Residuals on the same pictures are not independent,
    which makes the test conservative; :func:`pitman_morgan` allows for the pairing.

    Args:
        first: RMSE of the first source.
        second: RMSE of the second.
        degrees: Degrees of freedom of each: N - parameters of the mapping.

    Returns:
        p-value; NaN if an RMSE is 0 or NaN, or there are no degrees of freedom.
    """
    low, high = sorted((first, second))
    if degrees < 1 or not low > 0 or not np.isfinite(high):
        return float("nan")
    return float(min(1.0, 2 * stats.f.sf((high / low) ** 2, degrees, degrees)))


def outlier_test(first: float, second: float, n: int) -> float:
    """Two-sided test of two outlier ratios over N pictures each, assumed independent.

    Args:
        first: Outlier ratio of the first source.
        second: Outlier ratio of the second.
        n: Number of pictures.

    Returns:
        p-value; NaN if both ratios are 0 or both 1.
    """
    pooled = (first + second) / 2
    variance = 2 * pooled * (1 - pooled) / n
    if not variance > 0:
        return float("nan")
    return float(2 * stats.norm.sf(abs(first - second) / np.sqrt(variance)))


def pitman_morgan(first: ArrayLike, second: ArrayLike) -> float:
    """Two-sided test of the variances of paired residuals (Pitman; Morgan, Biometrika 31, 1939).

    Two variances are equal if and only if the sum and the difference of the residuals are
    uncorrelated.

    Args:
        first: [N] residuals of one source.
        second: [N] residuals of another on the same pictures. Pictures are assumed independent.

    Returns:
        p-value; NaN for fewer than 3 pictures, or a constant sum or difference of the residuals.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if len(a) < 3 or not np.isfinite([a, b]).all() or np.ptp(a - b) == 0 or np.ptp(a + b) == 0:
        return float("nan")
    return float(stats.pearsonr(a + b, a - b).pvalue)


def _excess(mapped: ArrayLike, mos: ArrayLike, confidence: ArrayLike) -> Floats:
    error = np.abs(np.asarray(mapped, np.float64) - np.asarray(mos, np.float64))
    excess: Floats = np.maximum(error - np.asarray(confidence, np.float64), 0)
    return excess


def _root(errors: Floats, parameters: int) -> float:
    degrees = len(errors) - parameters
    return float(np.sqrt(np.sum(errors**2) / degrees)) if degrees > 0 else float("nan")
