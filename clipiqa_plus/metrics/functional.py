"""Correlation and error of predictions against MOS: SRCC, PLCC, KRCC, RMSE, the logistic mapping.

Pure functions of all predictions and targets at once, computed in float64 on the CPU. An undefined
value (constant input, too few samples, no convergence) is NaN with one warning, never 0.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize, special, stats
from torch import Tensor
from torchmetrics.utilities import rank_zero_warn

CORRELATION_SAMPLES = 3
"""Minimum number of samples for a correlation: two points always lie on a line."""
RMSE_SAMPLES = 2
"""Minimum number of samples for an RMSE."""
LOGISTIC_SAMPLES = 5
"""Minimum number of samples for the logistic mapping: one more than it has parameters."""


def srcc(prediction: Tensor, target: Tensor) -> Tensor:
    """Spearman's rank-order correlation coefficient: PLCC of the ranks, ties sharing their mean.

    Args:
        prediction: [N] real numbers of any dtype.
        target: [N] real numbers, usually MOS.

    Returns:
        float64 scalar in [-1, 1]; NaN with a warning for fewer than 3 samples or constant input.

    Raises:
        ValueError: If the shapes differ or are not [N], or a value is not finite.

    Example:
        >>> srcc(torch.tensor([0.1, 0.9, 0.4]), torch.tensor([20.0, 50.0, 70.0]))
        tensor(0.5000, dtype=torch.float64)
    """
    x, y = _checked(prediction, target)
    if not _correlates("SRCC", x, y):
        return _nan()
    return _pearson(_mean_ranks(x), _mean_ranks(y))


def plcc(prediction: Tensor, target: Tensor, logistic: bool = False) -> Tensor:
    """Pearson's linear correlation coefficient.

    Args:
        prediction: [N] real numbers of any dtype.
        target: [N] real numbers, usually MOS.
        logistic: Map the predictions by :func:`logistic_mapping` first. The mapping may be
            decreasing, so the result is then never negative.

    Returns:
        float64 scalar in [-1, 1]; NaN with a warning for fewer than 3 samples (5 with the logistic
        mapping), constant input, or a mapping that does not converge.

    Raises:
        ValueError: If the shapes differ or are not [N], or a value is not finite.

    Example:
        >>> plcc(torch.tensor([0.2, 0.4, 0.3]), torch.tensor([20.0, 50.0, 80.0]))
        tensor(0.5000, dtype=torch.float64)
    """
    x, y = _checked(prediction, target)
    if logistic:
        x = logistic_mapping(x, y)
        if bool(x.isnan().any()):
            return _nan()
    if not _correlates("PLCC", x, y):
        return _nan()
    return _pearson(x, y)


def krcc(prediction: Tensor, target: Tensor) -> Tensor:
    """Kendall's rank correlation coefficient, tau-b (corrected for ties), by scipy.

    Args:
        prediction: [N] real numbers of any dtype.
        target: [N] real numbers, usually MOS.

    Returns:
        float64 scalar in [-1, 1]; NaN with a warning for fewer than 3 samples or constant input.

    Raises:
        ValueError: If the shapes differ or are not [N], or a value is not finite.

    Example:
        >>> krcc(torch.tensor([0.1, 0.4, 0.3]), torch.tensor([20.0, 50.0, 70.0]))
        tensor(0.3333, dtype=torch.float64)
    """
    x, y = _checked(prediction, target)
    if not _correlates("KRCC", x, y):
        return _nan()
    # The method affects only the p-value, which is not used: choose the cheaper one.
    tau = stats.kendalltau(x.numpy(), y.numpy(), method="asymptotic").statistic
    return torch.tensor(float(tau), dtype=torch.float64)


def rmse(prediction: Tensor, target: Tensor, logistic: bool = False) -> Tensor:
    """Root mean squared error, in the units of the target.

    Args:
        prediction: [N] real numbers of any dtype, on the scale of the target unless mapped.
        target: [N] real numbers, usually MOS.
        logistic: Map the predictions by :func:`logistic_mapping` first.

    Returns:
        Non-negative float64 scalar; NaN with a warning for fewer than 2 samples, and with the
        logistic mapping for fewer than 5, constant input, or no convergence.

    Raises:
        ValueError: If the shapes differ or are not [N], or a value is not finite.

    Example:
        >>> rmse(torch.tensor([0.0, 0.0]), torch.tensor([3.0, 4.0]))
        tensor(3.5355, dtype=torch.float64)
    """
    x, y = _checked(prediction, target)
    if logistic:
        x = logistic_mapping(x, y)
    elif not _enough("RMSE", x, RMSE_SAMPLES):
        return _nan()
    return (x - y).square().mean().sqrt()


def logistic_mapping(prediction: Tensor, target: Tensor) -> Tensor:
    """Map predictions to the scale of the target with a fitted VQEG 4-parameter logistic.

    The least-squares fit of::

        mapped = b2 + (b1 - b2) / (1 + exp(-(prediction - b3) / |b4|))

    (Video Quality Experts Group, final report on FR-TV Phase I, 2000; in the form of
    Seshadrinathan et al., IEEE TIP 19(6), 2010.) It may be increasing or decreasing.

    Args:
        prediction: [N] real numbers of any dtype.
        target: [N] real numbers, usually MOS.

    Returns:
        [N] float64 mapped predictions, in the units of the target; all NaN, with a warning, for
        fewer than 5 samples, constant input, or if the fit does not converge.

    Raises:
        ValueError: If the shapes differ or are not [N], or a value is not finite.

    Example:
        >>> mos = torch.tensor([20.0, 25.0, 50.0, 75.0, 80.0])
        >>> mapped = logistic_mapping(torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9]), mos)
        >>> bool((mapped - mos).abs().max() < 2)
        True
    """
    x, y = _checked(prediction, target)
    mapped: NDArray[np.float64] | None = None
    name = "logistic mapping"
    if _enough(name, x, LOGISTIC_SAMPLES) and _varies(name, x, y):
        mapped = _fit_logistic(x.numpy(), y.numpy())
        if mapped is None:
            _warn(name, "the fit does not converge")
    return torch.full_like(x, torch.nan) if mapped is None else torch.from_numpy(mapped)


def _fit_logistic(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The mapped x, or None if no start converges.

    For a given centre b3 and width |b4| the best b1 and b2 follow from a linear regression, so
    only two parameters are searched (variable projection: Golub and Pereyra, SIAM J. Numer. Anal.
    10(2), 1973). Unlike a search over all four, it also terminates on data whose best fit lies at
    infinity, such as a perfect line. Weakly related data have many local optima, so the search
    starts from the six best points of a grid and the best result is kept.
    """
    u, _ = _z_scores(x)
    v, deviation = _z_scores(y)
    centres = np.quantile(u, np.linspace(0.02, 0.98, 30))
    grid = [np.array([c, w]) for c in centres for w in np.log([0.01, 0.03, 0.1, 0.3, 1.0, 3.0])]
    grid.sort(key=lambda shape: float(np.square(_logistic_residual(shape, u, v)).sum()))
    fits = [
        optimize.least_squares(
            _logistic_residual, start, _logistic_jacobian, args=(u, v), method="lm", max_nfev=1000
        )
        for start in grid[:6]
    ]
    converged = [fit for fit in fits if fit.success]
    if not converged:
        return None
    best = min(converged, key=lambda fit: float(fit.cost))
    return y - deviation * _logistic_residual(best.x, u, v)


def _z_scores(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Values scaled to zero mean and unit standard deviation, and their original deviation."""
    span = float(np.ptp(values))
    scaled = (values - values.min()) / span  # first, so that no square under- or overflows
    return (scaled - scaled.mean()) / scaled.std(), span * float(scaled.std())


def _logistic_curve(
    shape: NDArray[np.float64], u: NDArray[np.float64], v: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float, NDArray[np.float64], float]:
    """Argument z of the logistic, 1 / width, its centred values, and the slope of v on them."""
    # Wider than e^7 standard deviations the curve is a line, narrower than e^-7 a step: limits of
    # the shape.
    sharpness = float(np.exp(-np.clip(shape[1], -7, 7)))
    z = (u - shape[0]) * sharpness
    curve = special.expit(z)
    curve -= curve.mean()
    power = float(curve @ curve)
    return z, sharpness, curve, float(curve @ v) / power if power > 0 else 0.0


def _logistic_residual(
    shape: NDArray[np.float64], u: NDArray[np.float64], v: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Residuals of v (zero mean) from the best logistic with this centre and log width."""
    _, _, curve, slope = _logistic_curve(shape, u, v)
    return v - slope * curve


def _logistic_jacobian(
    shape: NDArray[np.float64], u: NDArray[np.float64], v: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[N, 2] derivative of the residual, in Kaufman's approximation (BIT 15, 1975).

    The derivative of the curve, minus its projection onto the curve itself.
    """
    z, sharpness, curve, slope = _logistic_curve(shape, u, v)
    steepness = special.expit(z) * special.expit(-z)
    by_width = steepness * z if abs(shape[1]) < 7 else np.zeros_like(z)
    derivative = np.stack([steepness * sharpness, by_width], axis=1)
    derivative -= derivative.mean(axis=0)
    power = float(curve @ curve)
    if power > 0:
        derivative -= np.outer(curve, curve @ derivative / power)
    return slope * derivative


def _checked(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both as [N] float64 on the CPU."""
    x, y = (torch.atleast_1d(v).detach().cpu() for v in (prediction, target))
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(
            "prediction and target must have the same shape [N], got "
            f"{list(x.shape)} and {list(y.shape)}"
        )
    for name, values in (("prediction", x), ("target", y)):
        if not bool(values.isfinite().all()):
            at = int((~values.isfinite()).nonzero()[0])
            raise ValueError(f"{name}[{at}] is {float(values[at])}; metrics need finite numbers")
    return x.double(), y.double()


def _mean_ranks(values: Tensor) -> Tensor:
    """Ranks 1 to N in float64; ties share their mean rank."""
    _, group, count = values.unique(return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    return (last - (count.double() - 1) / 2)[group]


def _pearson(x: Tensor, y: Tensor) -> Tensor:
    """PLCC of two [N] float64 tensors, neither constant."""
    x, y = _standardised(x), _standardised(y)
    return (x @ y).clamp(-1, 1)


def _standardised(values: Tensor) -> Tensor:
    """Zero mean and unit norm; scaled to [0, 1] first, so that no square under- or overflows."""
    low, high = values.aminmax()
    values = (values - low) / (high - low)
    values = values - values.mean()
    return values / torch.linalg.vector_norm(values)


def _correlates(name: str, x: Tensor, y: Tensor) -> bool:
    return _enough(name, x, CORRELATION_SAMPLES) and _varies(name, x, y)


def _enough(name: str, x: Tensor, least: int) -> bool:
    if len(x) < least:
        _warn(name, f"{len(x)} samples, at least {least} are needed")
    return len(x) >= least


def _varies(name: str, x: Tensor, y: Tensor) -> bool:
    for what, values in (("predictions", x), ("targets", y)):
        if bool((values == values[0]).all()):
            _warn(name, f"all {len(values)} {what} are {float(values[0]):g}")
            return False
    return True


def _warn(name: str, reason: str) -> None:
    rank_zero_warn(f"{name} is undefined and set to NaN: {reason}", UserWarning, stacklevel=5)


def _nan() -> Tensor:
    return torch.tensor(torch.nan, dtype=torch.float64)
