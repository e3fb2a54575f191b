"""Pictures and cached features of a mixture, each by way of its own set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipiqa_plus.data.batches import FeatureLookup, IQADataset, Reader
from clipiqa_plus.data.images import RGBImage


class Offsets:
    """The rows of several sets, one set after the other.

    Args:
        sizes: Number of rows of each set.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def locate(self, row: int) -> tuple[int, int]:
        """Return the set of a row, and its row in that set."""
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        return number, row - int(self.starts[number])


class MixedReader:
    """Reads the picture of a row by the reader of its set.

    Args:
        readers: The reader of each set.
        offsets: Where the rows of each set are.
    """

    def __init__(self, readers: Sequence[Reader], offsets: Offsets) -> None:
        self.readers = list(readers)
        self.offsets = offsets

    def __call__(self, row: int) -> RGBImage:
        """Return the picture of a row: uint8 [H, W, 3], RGB."""
        number, own = self.offsets.locate(row)
        return self.readers[number](own)

    def identity(self, row: int) -> str:
        """Return a string that changes whenever the picture of a row may have changed."""
        number, own = self.offsets.locate(row)
        return self.readers[number].identity(own)


class MixedDataset(IQADataset):
    """Batches of pictures of several sets, each with its set's own size and views.

    Args:
        datasets: The data set of each set, for one part.
        offsets: Where the rows of each set are.
        **options: The labels and features of the mixture, see
            :class:`~clipiqa_plus.data.batches.IQADataset`.
    """

    def __init__(self, datasets: Sequence[IQADataset], offsets: Offsets, **options: Any) -> None:
        reader = MixedReader([dataset.reader for dataset in datasets], offsets)
        super().__init__(reader, views=datasets[0].views, **options)
        self.datasets = list(datasets)
        self.offsets = offsets

    def picture(self, row: int, view: int) -> RGBImage:
        """Return view ``view`` of the picture in row ``row``: uint8 [h, w, 3]."""
        number, own = self.offsets.locate(row)
        return self.datasets[number].picture(own, view)


class MixedFeatures:
    """Looks up the cached features of several sets.

    Args:
        lookups: Cached features by the number of the set.
        offsets: Where the rows of each set are.
    """

    def __init__(self, lookups: Mapping[int, FeatureLookup], offsets: Offsets) -> None:
        self.lookups = dict(lookups)
        self.starts = torch.from_numpy(offsets.starts)

    def __call__(self, rows: Tensor, views: Tensor) -> Tensor:
        """Return the features of rows and views [B]: float32 [B, D]."""
        rows, views = rows.cpu(), views.cpu()
        numbers = torch.searchsorted(self.starts, rows, right=True) - 1
        found: list[Tensor] = []
        order: list[Tensor] = []
        for number, lookup in self.lookups.items():
            (here,) = (numbers == number).nonzero(as_tuple=True)
            if len(here):
                found.append(lookup(rows[here] - self.starts[number], views[here]))
                order.append(here)
        features = torch.cat(found)
        back = torch.cat(order).argsort()
        if len(back) != len(rows):
            raise IndexError("a set of this batch has no cached features")
        return features[back.to(features.device)]
