"""FeatureTable: the features of one part in one tensor, looked up by row and view."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from clipiqa_plus.data.base import Rows


class FeatureTable:
    """Looks up image features: one index selection from one tensor, wherever that tensor is.

    Args:
        features: [N, V, D], any floating-point type; V views of N pictures.
        rows: Row numbers [N] of the pictures in the annotations.
    """

    def __init__(self, features: Tensor, rows: Rows) -> None:
        self.features = features.flatten(0, 1)  # [N * V, D]
        self.views = features.shape[1]
        # One entry more than rows need: what lies outside is clamped to that entry's -1.
        place = np.full(int(rows.max(initial=-1)) + 2, -1)
        place[rows] = np.arange(len(rows))
        self._place = torch.from_numpy(place)

    @property
    def device(self) -> torch.device:
        """Where the features are."""
        return self.features.device

    def to(self, device: torch.device | str) -> FeatureTable:
        """Move the features to a device, in place, and return the table."""
        self.features = self.features.to(device)
        return self

    def __call__(self, rows: Tensor, views: Tensor) -> Tensor:
        """Return the features of a batch.

        Args:
            rows: Row numbers in the annotations, int64 [B].
            views: Number of the view of each, int64 [B].

        Returns:
            Unit features, float32 [B, D], on the table's device.

        Raises:
            IndexError: If a row or a view is not in the table.
        """
        # Checked where the numbers come from: on a GPU a check would wait for the device.
        rows, views = rows.cpu(), views.cpu()
        place = self._place[rows.clamp(-1, len(self._place) - 1)]
        bad = (place < 0) | (views < 0) | (views >= self.views)
        if bad.any():
            first = int(bad.nonzero()[0, 0])
            raise IndexError(
                f"row {int(rows[first])} with view {int(views[first])} is not among the cached "
                f"features: {len(self.features) // self.views} rows with {self.views} views"
            )
        index = (place * self.views + views).to(self.device, non_blocking=True)
        return self.features[index].float()
