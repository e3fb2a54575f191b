"""FeatureCache: provides a data module with image features, and encodes missing ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray
from torch import Tensor

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.data.base import IQADataModule, Rows
from clipiqa_plus.data.batches import FeatureLookup
from clipiqa_plus.data.mixed import MixedData
from clipiqa_plus.features.extraction import extract
from clipiqa_plus.features.identity import Picture, pictures
from clipiqa_plus.features.plan import Selection
from clipiqa_plus.features.processes import Processes
from clipiqa_plus.features.store import FeatureStore, StorageDtype, cache_dir
from clipiqa_plus.features.table import FeatureTable

_PARTS = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}


@dataclass(frozen=True)
class SpotCheck:
    """Comparison of cached features with newly encoded ones.

    Attributes:
        compared: Number of features that were compared.
        missing: Number of features that are not in the cache, e.g. because a picture changed.
        difference: Largest absolute difference of an entry. Unit features in fp32 differ by less
            than 1e-4 between machines and batch sizes.
    """

    compared: int
    missing: int
    difference: float

    @property
    def same(self) -> bool:
        """Whether the cached features agree with newly encoded ones.

        Entries are about 0.03. They differ by up to 1e-4 between machines and by up to 2e-4 when
        stored as fp16, but by far more for another picture or changed code.
        """
        return self.difference < 5e-4


class FeatureCache(Callback):
    """Encodes each view of each picture once, for reuse in training and tests.

    As a callback it runs before the data loaders of a stage are created. CLIPIQAPlus adds one to a
    trainer that has none. Parts with endless views are encoded live. In a run of several processes
    each encodes its share.

    Args:
        dir: Folder of the features (default: ``$CLIPIQA_CACHE/features``, else
            ``~/.cache/clipiqa_plus/features``). Several nodes need a shared folder.
        dtype: Number format on disk and on the device: fp16 halves the size and changes a feature's
            entries by at most 2e-4. Batches are always fp32.
        enabled: False encodes every batch live.
        batch_size: Maximum number of views encoded together; fewer if they exceed a megapixel.
        num_workers: Worker processes that decode pictures (default: as in the data module).
    """

    def __init__(
        self,
        dir: str | None = None,
        dtype: StorageDtype = "fp32",
        enabled: bool = True,
        batch_size: int = 16,
        num_workers: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size of the cache is {batch_size}; give at least 1")
        self.dir = cache_dir(dir)
        self.dtype: StorageDtype = dtype
        self.enabled = enabled
        self.batch_size = batch_size
        self.num_workers = num_workers

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Provide the data module with the features that the stage needs.

        This is the only hook that runs before the loaders are created: the schedule requests the
        training loader while the optimizer is set up, and tests request theirs before they start.
        """
        data = getattr(trainer, "datamodule", None)
        if not isinstance(data, IQADataModule):
            rank_zero_info("features: nothing is cached, since the data is no IQADataModule")
            return
        data.features.clear()  # of another stage, or of another backbone
        if not self.enabled or getattr(trainer, "fast_dev_run", False):
            reason = "a fast_dev_run" if self.enabled else "the cache is off"
            rank_zero_info(f"features: {reason}, so pictures are encoded live")
            return
        backbone = getattr(pl_module, "backbone", None)
        if not isinstance(backbone, FrozenCLIP):
            raise TypeError(
                f"{type(pl_module).__name__} has no FrozenCLIP as its backbone; leave FeatureCache "
                "out of its callbacks"
            )
        parts = [part for part in _PARTS[stage] if len(data.rows(part))]
        device = trainer.strategy.root_device
        if isinstance(data, MixedData):
            data.features.update(self._mixed(backbone, data, parts, device))
        else:
            data.features.update(self.tables(backbone, data, parts, device))

    def tables(
        self,
        backbone: FrozenCLIP,
        data: IQADataModule,
        parts: Sequence[str],
        device: torch.device | str | None = None,
    ) -> dict[str, FeatureTable]:
        """Return the features of some parts, encoding missing ones.

        With torch.distributed, every process must call this.

        Args:
            backbone: Encodes pictures; it is moved to the device.
            data: The data module, after its setup.
            parts: Which of train, val and test.
            device: Device for encoding and for the tables (default: that of the backbone).

        Returns:
            Tables by part, to be stored in ``data.features``; none for a part with endless views.

        Raises:
            ValueError: If a picture cannot be encoded; the message names it.
            OSError: If the cache cannot be written.
        """
        device = torch.device(device or backbone.device)
        live = [part for part in parts if data.dataset(part).views.count is None]
        parts = [part for part in parts if part not in live]
        for part in live:
            rank_zero_info(
                f"features: the views of {part} are endless, so it is encoded live; give them a "
                "count to encode each once"
            )
        if not parts:
            return {}
        store = self._store(backbone, data)
        with Processes() as processes:
            found = processes.first(lambda: self._pictures(data, parts))
            selections = [
                Selection.of(data.dataset(part), members)
                for part, members in zip(parts, found, strict=True)
            ]
            self._announce(store, parts, selections)
            workers = data.num_workers if self.num_workers is None else self.num_workers
            extract(store, backbone.to(device), selections, processes, self.batch_size, workers)
        return {
            part: _table(store, selection, data.rows(part)).to(device)
            for part, selection in zip(parts, selections, strict=True)
        }

    def cached(
        self, backbone: FrozenCLIP, data: IQADataModule, part: str
    ) -> tuple[list[str], Tensor, NDArray[np.bool_]]:
        """Return what is known of the pictures of a part without encoding any.

        Args:
            backbone: The backbone of the features.
            data: The data module, after its setup.
            part: One of train, val and test.

        Returns:
            Of N pictures: what identifies the content of each; the features of their first views,
            float32 [N, D] on the CPU, 0 where they are not in the cache; and whether they are.

        Raises:
            ValueError: If the views of the part are endless.
        """
        store, rows = self._store(backbone, data), data.rows(part)
        chosen = Selection.of(
            data.dataset(part), pictures(data.dataset(part), rows, self.dir / "digests")
        )
        keys = [views[0] for views in chosen.keys]
        missing = store.missing(keys)
        known = np.array([key not in missing for key in keys], bool)
        features = torch.zeros(len(keys), backbone.dim)
        features[torch.from_numpy(known)] = store.read(
            [k for k in keys if k not in missing]
        ).float()
        return [picture.content for picture in chosen.pictures], features, known

    def _mixed(
        self, backbone: FrozenCLIP, data: MixedData, parts: Sequence[str], device: torch.device
    ) -> dict[str, FeatureLookup]:
        """Features of a mixture, by part; each set's are those of its training alone."""
        found: dict[str, dict[str, FeatureLookup]] = {part: {} for part in parts}
        for name, module in data.sets.items():
            present = [part for part in parts if len(module.rows(part))]
            for part, table in self.tables(backbone, module, present, device).items():
                found[part][name] = table
        lookups: dict[str, FeatureLookup] = {}
        for part, tables in found.items():
            missing = {n for n, m in data.sets.items() if len(m.rows(part))} - set(tables)
            if missing and tables:
                rank_zero_info(
                    f"features: {part} is encoded live, since the views of "
                    f"{', '.join(sorted(missing))} are endless"
                )
            elif tables:
                lookups[part] = data.join_features(tables)
        return lookups

    def spot_check(
        self,
        backbone: FrozenCLIP,
        data: IQADataModule,
        part: str = "test",
        samples: int = 16,
        seed: int = 0,
    ) -> SpotCheck:
        """Encode a sample of pictures again and compare the features with the cache.

        Args:
            backbone: Encodes pictures.
            data: The data module, after its setup.
            part: One of train, val and test.
            samples: Number of pictures, drawn at random.
            seed: Seed of the random sample.

        Raises:
            ValueError: If the views of the part are endless.
        """
        dataset, rows = data.dataset(part), data.rows(part)
        drawn = np.random.default_rng(seed).permutation(rows)[:samples]
        chosen = Selection.of(dataset, pictures(dataset, drawn, memory=None))
        store = self._store(backbone, data)
        missing = store.missing(chosen.flat_keys)
        compared, difference = 0, 0.0
        for picture, views in zip(chosen.pictures, chosen.keys, strict=True):
            present = {view: key for view, key in enumerate(views) if key not in missing}
            for view, key in present.items():
                image = torch.from_numpy(dataset.picture(picture.row, view).copy()).movedim(-1, 0)
                fresh = backbone.encode_image(image[None]).cpu()
                cached = store.read([key]).float()
                difference = max(difference, float((fresh - cached).abs().max()))
                compared += 1
        return SpotCheck(compared, len(missing), difference)

    def _store(self, backbone: FrozenCLIP, data: IQADataModule) -> FeatureStore:
        return FeatureStore(
            self.dir, backbone.describe(), backbone.dim, data.resize, dtype=self.dtype
        )

    def _pictures(self, data: IQADataModule, parts: Sequence[str]) -> list[list[Picture]]:
        """Identify the pictures of each part, reading the stored digests only once."""
        rows = [data.rows(part) for part in parts]
        found = iter(pictures(data.dataset(parts[0]), np.concatenate(rows), self.dir / "digests"))
        return [list(islice(found, len(members))) for members in rows]

    def _announce(
        self, store: FeatureStore, parts: Sequence[str], selections: Sequence[Selection]
    ) -> None:
        wanted = {key for selection in selections for key in selection.flat_keys}
        missing = store.missing(wanted)
        what = ", ".join(
            f"{part} {len(found.pictures):,} pictures x {_plural(found.dataset.views.count)}"
            for part, found in zip(parts, selections, strict=True)
        )
        rank_zero_info(
            f"features: {what}; {len(wanted) - len(missing):,} cached, {len(missing):,} to encode; "
            f"{store.folder}"
        )


def _table(store: FeatureStore, selection: Selection, rows: Rows) -> FeatureTable:
    return FeatureTable(store.read(selection.flat_keys).unflatten(0, (len(rows), -1)), rows)


def _plural(views: int | None) -> str:
    return "1 view" if views == 1 else f"{views} views"
