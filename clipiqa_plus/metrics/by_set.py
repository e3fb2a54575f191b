"""Metrics of a part while a model is trained: per data set and target, and their mean over sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from clipiqa_plus.metrics.classes import iqa_metrics


class PartMetrics(nn.Module):
    """SRCC and PLCC of each target of each set.

    Args:
        targets: Number T of targets.
        tolerance: See :class:`~clipiqa_plus.metrics.classes.IQAMetric`.
    """

    def __init__(self, targets: int, tolerance: float = 1e-4) -> None:
        super().__init__()
        self.targets = targets
        self.tolerance = tolerance
        self.configure()

    def configure(self, targets: Sequence[str] = (), sets: Mapping[int, str] = {}) -> None:
        """Name the targets and the sets; what was collected is dropped.

        Args:
            targets: Names of the targets.
            sets: Names of the sets of a mixture by their numbers; none for a single set.
        """
        self.target_names = list(targets)
        self.set_names = dict(sets)
        count = self.targets * max(1, len(self.set_names))
        self.collections = nn.ModuleList(iqa_metrics("", self.tolerance) for _ in range(count))

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
            ``SRCC`` and ``PLCC``; with several targets, ``SRCC_<target>``; of a mixture,
            ``SRCC_<set>`` (and ``SRCC_<set>_<target>``) and ``SRCC_mean``, the mean over sets (and
            targets).
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
