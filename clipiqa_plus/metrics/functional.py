"""Correlation and error of predictions against MOS: SRCC, PLCC, KRCC, RMSE, the logistic mapping.

Pure functions of all predictions and targets at once, computed in float64 on the CPU. An undefined
value (constant input, too few samples, no convergence) is NaN with one warning, never 0.
"""

from __future__ import annotations

from typing import Literal

import torch
from scipy import stats
from torch import Tensor
from torchmetrics.utilities import rank_zero_warn

from clipiqa_plus.metrics.logistic import fit_logistic

CORRELATION_SAMPLES = 3
"""Minimum number of samples for a correlation: two points always lie on a line."""
RMSE_SAMPLES = 2
"""Minimum number of samples for an RMSE."""
LOGISTIC_SAMPLES = 5
"""Minimum number of samples for the 4-parameter logistic: one more than it has parameters."""


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


def logistic_mapping(prediction: Tensor, target: Tensor, parameters: Literal[4, 5] = 4) -> Tensor:
    """Map predictions to the scale of the target with a fitted logistic.

    The least-squares fit of one of::

        4: mapped = b2 + (b1 - b2) / (1 + exp(-(prediction - b3) / |b4|))
        5: mapped = b1 (1/2 - 1 / (1 + exp(b2 (prediction - b3)))) + b4 prediction + b5

    (4: Video Quality Experts Group, final report on FR-TV Phase I, 2000, in the form of
    Seshadrinathan et al., IEEE TIP 19(6), 2010; 5: Sheikh, Sabir, Bovik, IEEE TIP 15(11), 2006.)
    Both may be decreasing; the second need not be monotonic.

    Args:
        prediction: [N] real numbers of any dtype.
        target: [N] real numbers, usually MOS.
        parameters: Number of parameters.

    Returns:
        [N] float64 mapped predictions, in the units of the target; all NaN, with a warning, for
        fewer samples than parameters + 1, constant input, or if the fit does not converge.

    Raises:
        ValueError: If the shapes differ or are not [N], a value is not finite, or the number of
            parameters is neither 4 nor 5.

    Example:
        >>> mos = torch.tensor([20.0, 25.0, 50.0, 75.0, 80.0])
        >>> mapped = logistic_mapping(torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9]), mos)
        >>> bool((mapped - mos).abs().max() < 2)
        True
    """
    if parameters not in (4, 5):
        raise ValueError(f"logistic with {parameters} parameters; give 4 or 5")
    x, y = _checked(prediction, target)
    name = "logistic mapping"
    if _enough(name, x, parameters + 1) and _varies(name, x, y):
        mapped = fit_logistic(x.numpy(), y.numpy(), linear=parameters == 5)
        if mapped is not None:
            return torch.from_numpy(mapped)
        _warn(name, "the fit does not converge")
    return torch.full_like(x, torch.nan)


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
