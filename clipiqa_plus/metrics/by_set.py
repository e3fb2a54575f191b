"""Metrics of a part while a model is trained: per data set and target, and their mean over sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics import MetricCollection

from clipiqa_plus.metrics.classes import iqa_metrics
from clipiqa_plus.metrics.votes import VoteAccuracy

Votes = Mapping[int, tuple[NDArray[np.int64], NDArray[np.float64]]]
"""By the number of a set, the sample ids of voted pairs [P, 2] and their votes [P, 3]."""


def selection(metrics: Mapping[str, Any]) -> float | None:
    """Return what selects the best state of a training: the mean of the validation metrics.

    Args:
        metrics: Values by name; those of SRCC and of the accuracy on votes are used.

    Returns:
        NaN if one is undefined; None if there are none.
    """
    names = ("val/SRCC", "val/accuracy")
    values = [float(value) for name, value in metrics.items() if name.startswith(names)]
    return sum(values) / len(values) if values else None


class PartMetrics(nn.Module):
    """SRCC and PLCC of each target of each set, and the accuracy of sets of votes.

    Args:
        targets: Number T of targets.
        tolerance: See :class:`~clipiqa_plus.metrics.classes.IQAMetric`.
    """

    def __init__(self, targets: int, tolerance: float = 1e-4) -> None:
        super().__init__()
        self.targets = targets
        self.tolerance = tolerance
        self.configure()

    def configure(
        self,
        targets: Sequence[str] = (),
        sets: Mapping[int, str] = {},
        votes: Votes = MappingProxyType({}),
    ) -> None:
        """Name the targets and the sets; what was collected is dropped.

        Args:
            targets: Names of the targets.
            sets: Names of the sets of a mixture by their numbers; none for a single set.
            votes: The votes of the sets that have votes instead of MOS; a single set is number 0.
        """
        self.target_names = list(targets)
        self.set_names = dict(sets)
        self.collections = nn.ModuleList(
            MetricCollection({"accuracy": VoteAccuracy(*votes[number], tolerance=self.tolerance)})
            if number in votes
            else iqa_metrics("", self.tolerance)
            for number in self.set_names or (0,)
            for _ in range(self.targets)
        )

    def update(self, scores: Tensor, mos: Tensor, ids: Tensor, sets: Tensor | None = None) -> None:
        """Collect a batch.

        Args:
            scores: [B, T].
            mos: [B, T].
            ids: Sample ids, int64 [B].
            sets: Number of the set of each sample, int64 [B]; needed for a mixture.
        """
        for position, number in enumerate(self.set_names or (None,)):
            rows = slice(None) if number is None or sets is None else sets == number
            for target in range(self.targets):
                collection = self._collection(position, target)
                if len(ids[rows]):
                    collection.update(scores[rows, target], mos[rows, target], ids[rows])

    def results(self) -> dict[str, Tensor]:
        """Compute all metrics over all processes, and start anew.

        Returns:
            ``SRCC`` and ``PLCC``, or ``accuracy`` of votes; with several targets,
            ``SRCC_<target>``; of a mixture, ``SRCC_<set>`` (and ``SRCC_<set>_<target>``) and
            ``SRCC_mean``, the mean over sets (and targets).
        """
        found: dict[str, Tensor] = {}
        means: dict[str, list[Tensor]] = {}
        for position in range(max(1, len(self.set_names))):
            for target in range(self.targets):
                collection = self._collection(position, target)
                suffix = self._suffix(position, target)
                for name, value in collection.compute().items():
                    found[f"{name}{suffix}"] = value
                    means.setdefault(name, []).append(value)
                collection.reset()
        if self.set_names:
            found |= {f"{name}_mean": torch.stack(values).mean() for name, values in means.items()}
        return found

    def _collection(self, position: int, target: int) -> MetricCollection:
        collection = self.collections[position * self.targets + target]
        assert isinstance(collection, MetricCollection)
        return collection

    def _suffix(self, position: int, target: int) -> str:
        words = list(self.set_names.values())[position : position + 1]
        if self.targets > 1:
            names = self.target_names
            words = [*words, names[target] if len(names) == self.targets else str(target + 1)]
        return "".join(f"_{word}" for word in words)
