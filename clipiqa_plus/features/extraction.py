"""Encode the features that a store lacks, in one or several processes, with parallel decoding."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.image_tower import check_images
from clipiqa_plus.data.transforms import resize
from clipiqa_plus.features.identity import content_of, name_of
from clipiqa_plus.features.plan import Batch, Item, Selection, plan
from clipiqa_plus.features.processes import Processes
from clipiqa_plus.features.store import FeatureStore

SHARD_FEATURES = 512
SHARD_SECONDS = 30.0
"""A shard is written after this many features or seconds: the most that a killed run loses."""


def extract(
    store: FeatureStore,
    backbone: FrozenCLIP,
    selections: Sequence[Selection],
    processes: Processes,
    batch_size: int = 16,
    num_workers: int = 0,
) -> None:
    """Encode the features that the store lacks, each process its share, and wait for all.

    Args:
        store: Receives the features.
        backbone: Encodes pictures, on its current device.
        selections: The pictures to encode, the same in every process.
        processes: The processes that share the work.
        batch_size: See :func:`plan`.
        num_workers: Number of decoding workers per process.

    Raises:
        ValueError: If a picture cannot be decoded or encoded, or has changed meanwhile; the message
            names it.
        RuntimeError: If the processes do not see each other's files.
    """
    keys = {key for selection in selections for key in selection.flat_keys}

    def prepare() -> list[Batch]:
        if not store.missing(keys):
            return []
        _take_lock(store)
        missing = store.missing(keys)  # another run may have encoded them meanwhile
        store.tidy()
        return plan(selections, missing, batch_size)

    try:
        batches = processes.first(prepare)
        mine = batches[processes.rank :: processes.size]
        if batches:
            processes.each(
                lambda: _encode(store, backbone, selections, mine, processes, num_workers)
            )
    finally:
        store.lock.release()
    store.forget_damage()
    if lost := store.missing(keys):
        raise RuntimeError(
            f"{len(lost)} features that other processes encoded are not in {store.folder}: put "
            "the cache in a folder that all nodes share"
        )


def _take_lock(store: FeatureStore) -> None:
    try:
        store.folder.parent.mkdir(parents=True, exist_ok=True)
        store.lock.acquire(timeout=0)
    except TimeoutError:
        rank_zero_info(f"features: another run is encoding into {store.folder}; waiting for it")
        store.lock.acquire()
    except OSError as error:
        raise type(error)(
            f"feature cache {store.folder.parent} cannot be written ({error}); choose another "
            "folder"
        ) from error


class _Decoder(TorchDataset[Any]):
    """Decodes whole batches: each picture once, for all its views."""

    def __init__(self, selections: Sequence[Selection], batches: Sequence[Batch]) -> None:
        self.datasets = [selection.dataset for selection in selections]
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[int, Tensor | list[Tensor] | Exception]:
        try:
            images = [image for item in self.batches[index] for image in self._decode(item)]
        except Exception as error:  # re-raised in the main process, without a worker traceback
            return index, error
        equal = len({image.shape for image in images}) == 1
        return index, torch.stack(images) if equal else images

    def _decode(self, item: Item) -> list[Tensor]:
        dataset, row = self.datasets[item.selection], item.picture.row
        image = resize(dataset.reader(row), dataset.size)
        views = [dataset.views(image, row, view) for view in item.views]
        if content_of(dataset.reader, row) != item.picture.content:
            raise ValueError(
                f"{name_of(dataset, row)} has changed since the extraction began; start it again"
            )
        return [torch.from_numpy(np.ascontiguousarray(view)).movedim(-1, 0) for view in views]


def _encode(
    store: FeatureStore,
    backbone: FrozenCLIP,
    selections: Sequence[Selection],
    batches: Sequence[Batch],
    processes: Processes,
    num_workers: int,
) -> None:
    """Encode batches and write them in shards."""
    device = backbone.device
    on_gpu = device.type == "cuda"
    loader = DataLoader(
        _Decoder(selections, batches),
        batch_size=None,
        num_workers=min(num_workers, len(batches)),
        pin_memory=on_gpu,
        generator=torch.Generator(),  # leaves the global random state unchanged
    )
    writer = _Writer(store, selections, device)
    total = sum(len(item.views) for batch in batches for item in batch)
    with _exact(), _progress(processes, total) as progress, writer:
        for index, images in loader:
            if isinstance(images, Exception):
                raise images
            _check(images, batches[index], selections, backbone.least_size)
            if isinstance(images, Tensor):
                images = images.to(device, non_blocking=True)
            writer.add(batches[index], backbone.encode_image(images))
            progress.advance(progress.task_ids[0], len(images))


class _Writer:
    """Gathers the features of whole batches and writes them in shards."""

    def __init__(
        self, store: FeatureStore, selections: Sequence[Selection], device: torch.device
    ) -> None:
        self.store = store
        self.selections = selections
        on_gpu = device.type == "cuda"
        self.device = torch.cuda.get_device_name(device) if on_gpu else str(device)
        self.items: list[Item] = []
        self.features: list[Tensor] = []
        self.since = time.monotonic()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()  # after an error or interrupt too: finished features are kept

    def add(self, batch: Batch, features: Tensor) -> None:
        self.items += batch
        self.features.append(features)
        late = time.monotonic() - self.since > SHARD_SECONDS
        if late or sum(map(len, self.features)) >= SHARD_FEATURES:
            self.flush()

    def flush(self) -> None:
        """Write the collected features."""
        items, features, self.items, self.features = self.items, self.features, [], []
        if items:
            table = torch.cat(features).cpu()
            self._check_finite(items, table)
            keys = [key for item in items for key in item.keys]
            self.store.write(keys, table, torch=torch.__version__, device=self.device)
        self.since = time.monotonic()

    def _check_finite(self, items: Sequence[Item], features: Tensor) -> None:
        finite = features.isfinite().all(dim=1)
        if finite.all():
            return
        owners = [item for item in items for _ in item.views]
        item = owners[int((~finite).nonzero()[0, 0])]
        name = name_of(self.selections[item.selection].dataset, item.picture.row)
        raise ValueError(
            f"{name}: its features are not finite; use precision fp32, and check the weights"
        )


def _check(
    images: Tensor | list[Tensor], batch: Batch, selections: Sequence[Selection], least_size: int
) -> None:
    """Refuse pictures that the backbone cannot encode; the error names the picture."""
    owners = [item for item in batch for _ in item.views]
    for item, image in zip(owners, images, strict=True):
        try:
            check_images(image[None], least_size)
        except ValueError as error:
            name = name_of(selections[item.selection].dataset, item.picture.row)
            raise ValueError(f"{name}: {error}") from error


@contextmanager
def _exact() -> Iterator[None]:
    """Make a GPU choose algorithms by shape only and compute fp32 without TF32."""
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    ):
        yield


class _Rate(ProgressColumn):
    """Images per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.completed / max(task.elapsed or 0, 1e-3):,.1f} images/s")


@contextmanager
def _progress(processes: Processes, total: int) -> Iterator[Progress]:
    share = f" (process 1 of {processes.size})" if processes.size > 1 else ""
    progress = Progress(
        TextColumn(f"encoding{share}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=processes.rank != 0,
    )
    with progress:
        progress.add_task("encoding", total=total)
        yield progress
