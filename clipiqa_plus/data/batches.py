"""Batches: pictures by row and view, or their cached features, with opinion scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler, SequentialSampler

from clipiqa_plus.data.images import RGBImage, read_rgb
from clipiqa_plus.data.transforms import Views, resize

Rows = NDArray[np.int64]
BatchIndex = tuple[Rows, Rows]
"""Content of one batch: row numbers and, for each, a view number."""

FeatureLookup = Callable[[Tensor, Tensor], Tensor]
"""(rows [B], views [B]) -> image features [B, D]."""

VoteLookup = Callable[[Tensor, Tensor], dict[str, Tensor]]
"""(rows [B], views [B]) -> the votes between these pictures, see
:class:`~clipiqa_plus.data.votes.PairVotes`."""


ENDLESS = 2**31
"""Number of views to draw from where their number is unlimited."""


class Reader(Protocol):
    """Reads pictures by row."""

    def __call__(self, row: int) -> RGBImage:
        """Return the picture of a row: uint8 [H, W, 3], RGB."""

    def identity(self, row: int) -> str:
        """Return a string that changes whenever the picture of a row may have changed."""


@dataclass(frozen=True)
class FileReader:
    """Reads the picture of a row from its file."""

    root: Path
    names: NDArray[np.object_]

    def __call__(self, row: int) -> RGBImage:
        """Return the picture of a row: uint8 [H, W, 3], RGB."""
        return read_rgb(self.root / self.names[row])

    def identity(self, row: int) -> str:
        """Return name, size and modification time of the file."""
        status = (self.root / self.names[row]).stat()
        return f"{self.names[row]} {status.st_size} {status.st_mtime_ns}"


class IQADataset(Dataset[dict[str, Any]]):
    """Batches of pictures (or of their cached features) with opinion scores.

    It is indexed by whole batches, ``(rows, views)``, so that a batch of cached features is one
    index selection and a batch of pictures is decoded by one worker.

    Args:
        reader: Reads the picture of a row and identifies it.
        mos: float32 [N, T], normalised to [0, 1], higher is better.
        mos_raw: float64 [N, T], as distributed.
        views: The views of a picture.
        size: Size before the view is taken, see :func:`~clipiqa_plus.data.transforms.resize`.
        features: Looks up cached features instead of decoding pictures.
        extras: Further labels by name, tensors [N, ...] such as ``mos_std``, ``n_ratings`` and
            ``counts``, see :func:`~clipiqa_plus.data.annotations.rating_tensors`.
        votes: Looks up the votes between the pictures of a batch.
    """

    def __init__(
        self,
        reader: Reader,
        mos: Tensor,
        mos_raw: Tensor,
        views: Views,
        size: int | Sequence[int] | None = None,
        features: FeatureLookup | None = None,
        extras: Mapping[str, Tensor] | None = None,
        votes: VoteLookup | None = None,
    ) -> None:
        self.reader = reader
        self.mos = mos
        self.mos_raw = mos_raw
        self.views = views
        self.size = size
        self.features = features
        self.extras = dict(extras or {})
        self.votes = votes

    def picture(self, row: int, view: int) -> RGBImage:
        """Return view ``view`` of the picture in row ``row``: uint8 [h, w, 3]."""
        return self.views(resize(self.reader(row), self.size), row, view)

    def __getitem__(self, index: BatchIndex) -> dict[str, Any]:
        """Return a batch.

        Its keys: ``mos`` float32 [B, T], ``mos_raw`` float64 [B, T], ``id`` int64 [B] (row
        numbers), ``view`` int64 [B], and either ``features`` float32 [B, D] or ``image``: uint8
        [B, 3, H, W], or a list of B uint8 tensors [3, H, W] if sizes differ; and the rows of all
        ``extras``, and of ``votes`` those between the pictures. With cached features all tensors
        but the votes are on the device of the features.
        """
        rows, views = (torch.as_tensor(part) for part in index)
        batch: dict[str, Any] = {} if self.votes is None else {**self.votes(rows, views)}
        if self.features is None:
            pictures = [
                torch.from_numpy(np.ascontiguousarray(self.picture(int(r), int(v)))).movedim(-1, 0)
                for r, v in zip(rows, views, strict=True)
            ]
            equal = len({picture.shape for picture in pictures}) == 1
            batch["image"] = torch.stack(pictures) if equal else pictures
        else:
            batch["features"] = self.features(rows, views)
            device = batch["features"].device
            self.mos, self.mos_raw = self.mos.to(device), self.mos_raw.to(device)  # moved once
            self.extras = {name: values.to(device) for name, values in self.extras.items()}
            rows, views = (part.to(device, non_blocking=True) for part in (rows, views))
        return batch | {
            "id": rows,
            "view": views,
            "mos": self.mos[rows],
            "mos_raw": self.mos_raw[rows],
            **{name: values[rows] for name, values in self.extras.items()},
        }


class BatchSampler(Sampler[BatchIndex]):
    """Batches of (rows, views), drawn anew each epoch from (seed, epoch) alone.

    Resumed, cached and multi-process runs therefore see the same batches as an uninterrupted,
    uncached, single-process one. As a plain sampler of a ``DataLoader(batch_size=None)`` it is
    sharded over processes by Lightning itself.

    Args:
        rows: Row numbers to draw from.
        batch_size: Rows per batch (the last batch may be smaller).
        views: Number of views to draw from; None draws from an unlimited number.
        shuffle: Randomise order and views; otherwise rows stay in order with view 0.
        seed: Random seed.
        epoch: Returns the current epoch when an iteration starts.
    """

    def __init__(
        self,
        rows: Rows,
        batch_size: int,
        views: int | None = 1,
        shuffle: bool = False,
        seed: int = 0,
        epoch: Callable[[], int] = lambda: 0,
    ) -> None:
        self.rows = np.asarray(rows, dtype=np.int64)
        self.batch_size = batch_size
        self.views = views
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def draw(self) -> BatchIndex:
        """Return the rows and views of the current epoch in order."""
        rows, views = self.rows, np.zeros(len(self.rows), dtype=np.int64)
        if self.shuffle:
            rng = np.random.default_rng([self.seed, self.epoch()])
            rows = rng.permutation(rows)
            views = rng.integers(0, self.views or ENDLESS, len(rows))
        return rows, views

    def __iter__(self) -> Iterator[BatchIndex]:
        rows, views = self.draw()
        for start in range(0, len(rows), self.batch_size):
            stop = start + self.batch_size
            yield rows[start:stop], views[start:stop]


class SameBatches(BatchSampler, SequentialSampler):  # type: ignore[misc]
    """Repeats the batches of the first epoch in every epoch, for ``overfit_batches``.

    With that option Lightning replaces any sampler that is not a ``SequentialSampler``.
    """

    def __init__(self, rows: Rows, batch_size: int, **options: Any) -> None:
        super().__init__(rows, batch_size, **(options | {"epoch": lambda: 0}))


class WholePart(BatchSampler):
    """All views of all rows as one batch, the same in every epoch.

    When Lightning shards it over processes, each process gets the whole batch.

    Args:
        rows: Row numbers.
        views: Number of views per row.
    """

    def __init__(self, rows: Rows, views: int) -> None:
        super().__init__(rows, len(rows), views)
        self.batch = self.rows.repeat(views), np.tile(np.arange(views), len(rows))

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[BatchIndex]:
        yield self.batch


class SameWholePart(WholePart, SequentialSampler):  # type: ignore[misc]
    """The whole part for ``overfit_batches``, see :class:`SameBatches`."""
