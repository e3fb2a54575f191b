"""FeatureTable: the features of one part (train, val or test), looked up by row and view."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from clipiqa_plus.data.base import Rows


class FeatureTable:
    """Looks up image features by indexing a single tensor, on any device.

    Args:
        features: [N, V, D], any floating-point type; V views of N pictures.
        rows: Row numbers [N] of the pictures in the annotations.
    """

    def __init__(self, features: Tensor, rows: Rows) -> None:
        self.features = features.flatten(0, 1)  # [N * V, D]
        self.views = features.shape[1]
        # One extra entry: rows out of range are clamped to it, and it holds -1.
        position = np.full(int(rows.max(initial=-1)) + 2, -1)
        position[rows] = np.arange(len(rows))
        self._position = torch.from_numpy(position)

    @property
    def device(self) -> torch.device:
        """Device of the features."""
        return self.features.device

    def to(self, device: torch.device | str) -> FeatureTable:
        """Move the features to a device, in place, and return the table."""
        self.features = self.features.to(device)
        return self

    def __call__(self, rows: Tensor, views: Tensor) -> Tensor:
        """Return the features of a batch.

        Args:
            rows: Row numbers in the annotations, int64 [B].
            views: View number of each row, int64 [B].

        Returns:
            Unit features, float32 [B, D], on the table's device.

        Raises:
            IndexError: If a row or a view is not in the table.
        """
        # Checked on the CPU: a check on a GPU would have to wait for the device.
        rows, views = rows.cpu(), views.cpu()
        position = self._position[rows.clamp(-1, len(self._position) - 1)]
        bad = (position < 0) | (views < 0) | (views >= self.views)
        if bad.any():
            first = int(bad.nonzero()[0, 0])
            raise IndexError(
                f"row {int(rows[first])} with view {int(views[first])} is not among the cached "
                f"features: {len(self.features) // self.views} rows with {self.views} views"
            )
        index = (position * self.views + views).to(self.device, non_blocking=True)
        return self.features[index].float()
