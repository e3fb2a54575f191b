"""SRCC, PLCC, KRCC and RMSE as torchmetrics classes, exact over batches and processes.

The classes collect (sample id, prediction, target), drop duplicates and pass the samples, sorted by
id, to the pure functions. The result therefore depends neither on the distribution of samples over
batches and processes nor on the copies that a padding sampler adds.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities import dim_zero_cat

from clipiqa_plus.metrics.functional import krcc, logistic_mapping, plcc, rmse, srcc

__all__ = [
    "KRCC",
    "PLCC",
    "RMSE",
    "SRCC",
    "IQAMetric",
    "full_iqa_metrics",
    "iqa_metrics",
    "krcc",
    "logistic_mapping",
    "plcc",
    "rmse",
    "srcc",
]


class IQAMetric(Metric):
    """Base class of the metrics: collects the samples; a subclass computes :meth:`score`.

    Samples are identified by their id. A sample seen several times (the padding of a distributed
    sampler) counts once. Its predictions may differ by the numerical noise of different batch
    compositions; the smallest is kept, so the result does not depend on the order of arrival.

    Predictions and targets are kept in float64 (float32 on MPS, which has no float64).

    Args:
        tolerance: Largest difference between two predictions for one sample that counts as noise.
            The default suits scores in [0, 1] computed in float32; half precision needs about 0.05.
        kwargs: Arguments of :class:`torchmetrics.Metric`.
    """

    is_differentiable = False
    full_state_update = False

    predictions: list[Tensor]
    targets: list[Tensor]
    sample_ids: list[Tensor]

    def __init__(self, tolerance: float = 1e-4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tolerance = tolerance
        for state in ("predictions", "targets", "sample_ids"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(self, prediction: Tensor, target: Tensor, sample_id: Tensor) -> None:
        """Add one batch.

        Args:
            prediction: [B] or a scalar, any real dtype.
            target: [B] or a scalar, any real dtype.
            sample_id: [B] or a scalar, integers; a sample has the same id in every process.

        Raises:
            ValueError: If the shapes differ or are not [B], or the ids are not integers.
        """
        values = [torch.atleast_1d(v) for v in (prediction, target, sample_id)]
        shapes = [list(v.shape) for v in values]
        if values[0].ndim != 1 or shapes != shapes[:1] * 3:
            raise ValueError(
                f"prediction, target and sample id must have the same shape [B], got {shapes}; "
                "with several targets, pass one column at a time"
            )
        if values[2].is_floating_point() or values[2].dtype == torch.bool:
            raise ValueError(f"sample ids must be integers, got {values[2].dtype}")
        for state, value, dtype in zip(self._states(), values, self._dtypes(), strict=True):
            state.append(value.detach().to(dtype, copy=True).to(self.device))

    def compute(self) -> Tensor:
        """The metric of all samples of all processes.

        Returns:
            float64 scalar (float32 on MPS); NaN with a warning where it is undefined.

        Raises:
            ValueError: If a value is not finite, or a sample id has two different targets, or
                predictions that differ by more than the tolerance. The message names the id; every
                process raises it.
        """
        prediction, target, sample_id = (
            # A state is a list, or one tensor once it has been gathered from all processes.
            dim_zero_cat(state).cpu() if len(state) else torch.empty(0)
            for state in self._states()
        )
        samples = _one_of_each(prediction.double(), target.double(), sample_id, self.tolerance)
        return self.score(*samples).to(self._dtypes()[0]).to(self.device)

    @abstractmethod
    def score(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The metric's value from all samples.

        Args:
            prediction: [N] float64, in the order of the sample ids.
            target: [N] float64.

        Returns:
            Scalar.
        """

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather from all processes; see :meth:`torchmetrics.Metric.sync`."""
        # For a process without samples torchmetrics would gather an empty float32 tensor, whose
        # dtype differs from what the other processes send.
        for state, dtype in zip(self._states(), self._dtypes(), strict=True):
            if isinstance(state, list) and not state:
                state.append(torch.empty(0, dtype=dtype, device=self.device))
        super().sync(*args, **kwargs)

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> Any:
        """Plot one value or several (needs matplotlib).

        Args:
            val: Values from ``compute`` or ``forward``; by default the current value.
            ax: Matplotlib axes to draw on.

        Returns:
            Figure and axes.
        """
        return self._plot(val, ax)

    def _states(self) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        return self.predictions, self.targets, self.sample_ids

    def _dtypes(self) -> tuple[torch.dtype, torch.dtype, torch.dtype]:
        real = torch.float32 if self.device.type == "mps" else torch.float64
        return real, real, torch.int64


class SRCC(IQAMetric):
    """Spearman's rank-order correlation coefficient of all samples (:func:`srcc`).

    Example:
        >>> metric = SRCC()
        >>> metric.update(torch.tensor([0.1, 0.9]), torch.tensor([2.0, 5.0]), torch.tensor([0, 1]))
        >>> metric.update(torch.tensor([0.4]), torch.tensor([7.0]), torch.tensor([2]))
        >>> metric.compute()
        tensor(0.5000, dtype=torch.float64)
    """

    higher_is_better = True
    plot_lower_bound = -1.0
    plot_upper_bound = 1.0

    def score(self, prediction: Tensor, target: Tensor) -> Tensor:
        """See :func:`srcc`."""
        return srcc(prediction, target)


class PLCC(IQAMetric):
    """Pearson's linear correlation coefficient of all samples (:func:`plcc`).

    Args:
        logistic: After the VQEG 4-parameter logistic mapping.
        kwargs: Arguments of :class:`IQAMetric`.

    Example:
        >>> metric = PLCC()
        >>> mos = torch.tensor([2.0, 5.0, 8.0])
        >>> metric.update(torch.tensor([0.4, 0.2, 0.3]), mos, torch.arange(3))
        >>> metric.compute()
        tensor(-0.5000, dtype=torch.float64)
    """

    higher_is_better = True
    plot_lower_bound = -1.0
    plot_upper_bound = 1.0

    def __init__(self, logistic: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.logistic = logistic

    def score(self, prediction: Tensor, target: Tensor) -> Tensor:
        """See :func:`plcc`."""
        return plcc(prediction, target, logistic=self.logistic)


class KRCC(IQAMetric):
    """Kendall's rank correlation coefficient of all samples (:func:`krcc`).

    Example:
        >>> metric = KRCC()
        >>> mos = torch.tensor([2.0, 5.0, 8.0])
        >>> metric.update(mos / 10, mos, torch.arange(3))
        >>> metric.compute()
        tensor(1., dtype=torch.float64)
    """

    higher_is_better = True
    plot_lower_bound = -1.0
    plot_upper_bound = 1.0

    def score(self, prediction: Tensor, target: Tensor) -> Tensor:
        """See :func:`krcc`."""
        return krcc(prediction, target)


class RMSE(IQAMetric):
    """Root mean squared error of all samples (:func:`rmse`).

    Args:
        logistic: After the VQEG 4-parameter logistic mapping.
        kwargs: Arguments of :class:`IQAMetric`.

    Example:
        >>> metric = RMSE()
        >>> mos = torch.tensor([0.2, 0.5, 0.8])
        >>> metric.update(mos + 0.1, mos, torch.arange(3))
        >>> metric.compute()
        tensor(0.1000, dtype=torch.float64)
    """

    higher_is_better = False
    plot_lower_bound = 0.0

    def __init__(self, logistic: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.logistic = logistic

    def score(self, prediction: Tensor, target: Tensor) -> Tensor:
        """See :func:`rmse`."""
        return rmse(prediction, target, logistic=self.logistic)


def iqa_metrics(prefix: str = "", tolerance: float = 1e-4) -> MetricCollection:
    """The metrics logged during training: SRCC and PLCC, with one shared state.

    Args:
        prefix: Prepended to the names, as in ``"val/"``.
        tolerance: See :class:`IQAMetric`.

    Returns:
        Collection whose ``compute`` gives ``{prefix + "SRCC": ..., prefix + "PLCC": ...}``.
    """
    return MetricCollection(
        {"SRCC": SRCC(tolerance=tolerance), "PLCC": PLCC(tolerance=tolerance)}, prefix=prefix
    )


def full_iqa_metrics(prefix: str = "", tolerance: float = 1e-4) -> MetricCollection:
    """All metrics, with one shared state: those of :func:`iqa_metrics` and of the result tables.

    Args:
        prefix: Prepended to the names.
        tolerance: See :class:`IQAMetric`.

    Returns:
        Collection of SRCC, PLCC, KRCC, RMSE, PLCC_logistic and RMSE_logistic.
    """
    return MetricCollection(
        {
            "SRCC": SRCC(tolerance=tolerance),
            "PLCC": PLCC(tolerance=tolerance),
            "KRCC": KRCC(tolerance=tolerance),
            "RMSE": RMSE(tolerance=tolerance),
            "PLCC_logistic": PLCC(logistic=True, tolerance=tolerance),
            "RMSE_logistic": RMSE(logistic=True, tolerance=tolerance),
        },
        prefix=prefix,
    )


def _one_of_each(
    prediction: Tensor, target: Tensor, sample_id: Tensor, tolerance: float
) -> tuple[Tensor, Tensor]:
    """Predictions and targets without duplicates, sorted by sample id."""
    order = torch.from_numpy(np.lexsort((prediction.numpy(), sample_id.numpy())))
    prediction, target, sample_id = prediction[order], target[order], sample_id[order]
    for name, values in (("prediction", prediction), ("target", target)):
        if not bool(values.isfinite().all()):
            at = int((~values.isfinite()).nonzero()[0])
            raise ValueError(
                f"sample id {int(sample_id[at])}: {name} is {float(values[at])}; "
                "metrics need finite numbers: check the model and the labels of this sample"
            )
    _, copies = sample_id.unique_consecutive(return_counts=True)
    first = copies.cumsum(0) - copies  # the smallest prediction of each id
    for name, values, noise, remedy in (
        ("targets", target, 0.0, "each image of each data set needs a sample id of its own"),
        ("predictions", prediction, tolerance, "reset the metric between passes over the data"),
    ):
        kept = values[first].repeat_interleave(copies)
        apart = ((values - kept).abs() > noise).nonzero()
        if len(apart):
            at = int(apart[0])
            raise ValueError(
                f"sample id {int(sample_id[at])}: two {name}, {float(kept[at])} and "
                f"{float(values[at])}, differ by more than {noise:g}; {remedy}"
            )
    return prediction[first], target[first]
