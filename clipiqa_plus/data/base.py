"""Base data module: annotations -> split -> views -> batches.

A benchmark is a subclass of :class:`IQADataModule` that declares its facts and implements
``read_annotations``; everything after that table is shared.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from clipiqa_plus.data.annotations import rating_tensors, validate, with_ratings
from clipiqa_plus.data.batches import (
    BatchIndex,
    BatchSampler,
    FeatureLookup,
    FileReader,
    IQADataset,
    Reader,
    Rows,
    SameBatches,
    SameWholePart,
    VoteLookup,
    WholePart,
)
from clipiqa_plus.data.fetch.progress import progress
from clipiqa_plus.data.splits import Split, make_split
from clipiqa_plus.data.transforms import PlainView, Views

__all__ = [
    "PARTS",
    "BatchSampler",
    "FileReader",
    "IQADataModule",
    "IQADataset",
    "Reader",
    "Rows",
    "find_unreadable",
    "missing_files",
    "validate",
]

PARTS = ("train", "val", "test")
EVALUATION_BATCH = 64
"""Pictures (or features) per batch of validation and test where training takes the whole part."""


class IQADataModule(LightningDataModule):
    """Base class of all benchmarks: declared facts, one table, loaders.

    A subclass sets the class attributes and implements :meth:`read_annotations`.

    Args:
        root: Folder of the unpacked data set.
        batch_size: Pictures (or features) per batch and process; ``all`` trains on all views of
            the training part as one batch of cached features.
        num_workers: Decoding processes; None uses one per CPU core, at most 8.
        resize: None keeps the size; an int is the shorter side; a pair is (height, width).
        train_views: Views used in training; validation and test use the plain picture.
        split: ``official``, ``random``, ``content``, ``kfold``, or the path of a split file.
            None uses the benchmark's default.
        fractions: Shares of train, val and test for random and content splits.
        repeat: Index of the random repeat, or of the fold, from 0.
        folds: Number of folds of a ``kfold`` split.
        seed: Seed of random splits.
        order_seed: Seed of the order and the views in training.
        targets: Score columns to learn and to compare with; one antonym pair for each.
        skip_unreadable: Decode every picture once before anything else, and exclude those that
            fail from every part; they are listed in :attr:`unreadable`. Otherwise the first
            failure is an error.
    """

    name: str = ""
    """Short name on the command line."""
    title: ClassVar[str] = ""
    """Name in tables."""
    count: ClassVar[int | None] = None
    """Rated pictures in the complete data set."""
    mos_range: tuple[float, float] = (0.0, 100.0)
    """Declared range of raw scores, used for normalisation; a score outside is an error."""
    higher_is_better: bool = True
    """Whether a higher raw score means better quality."""
    mean_of_grades: ClassVar[bool] = True
    """Whether ``mos`` is the mean of the grades, where the labels have counts per grade."""
    source: ClassVar[str] = ""
    """Web page of the data set."""
    terms: ClassVar[str] = ""
    """Terms of use in a few words."""
    default_split: ClassVar[str] = "official"
    """Split used in the literature."""
    within_content: ClassVar[bool] = False
    """Whether scores are comparable only within one content."""

    def __init__(
        self,
        root: str | os.PathLike[str],
        batch_size: int | Literal["all"] = 64,
        num_workers: int | None = None,
        resize: int | list[int] | None = None,
        train_views: Views | None = None,
        split: str | None = None,
        fractions: tuple[float, float, float] = (0.8, 0.0, 0.2),
        repeat: int = 0,
        folds: int = 5,
        seed: int = 0,
        order_seed: int = 0,
        targets: list[str] | None = None,
        skip_unreadable: bool = False,
    ) -> None:
        super().__init__()
        if batch_size != "all" and batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; give at least 1, or all")
        if batch_size == "all" and train_views is not None and train_views.count is None:
            raise ValueError(
                "batch_size all needs a finite number of views; give the views a count "
                "(train_views.init_args.count), or a number as batch_size"
            )
        self.root = Path(root)
        self.batch_size = batch_size
        self.num_workers = min(os.cpu_count() or 1, 8) if num_workers is None else num_workers
        self.resize = resize
        self.train_views: Views = train_views or PlainView()
        self.eval_views: Views = PlainView()
        self.over_views: Literal["mean", "median"] = "mean"
        """From the scores of several evaluation views to that of the picture."""
        self.split_kind = split or self.default_split
        self.fractions = tuple(fractions)
        self.repeat = repeat
        self.folds = folds
        self.seed = seed
        self.order_seed = order_seed
        self.targets = list(targets or ["mos"])
        self.skip_unreadable = skip_unreadable
        self.unreadable: dict[int, str] = {}
        """Rows excluded by ``skip_unreadable``, each with the reason."""
        self.features: dict[str, FeatureLookup] = {}
        """Cached features by part; the pictures of any other part are decoded."""
        self.ratings: dict[str, Tensor] = {}
        """What is known of the ratings beside their mean; filled by ``setup``, see
        :func:`~clipiqa_plus.data.annotations.rating_tensors`."""
        self._annotations: pd.DataFrame | None = None

    @abstractmethod
    def read_annotations(self) -> pd.DataFrame:
        """Read the label files below ``root``.

        Returns:
            One row per picture with ``image`` (path relative to ``root``, unique: the sample id)
            and ``mos`` (raw score); optionally ``split`` (``train``, ``val``, ``test``),
            ``content`` (reference or scene), ``distortion``, ``level``, further score columns, and
            what raters said, see :mod:`clipiqa_plus.data.annotations`.
        """

    def reader(self) -> Reader:
        """Return the reader that decodes the picture of a row."""
        return FileReader(self.root, self.annotations["image"].to_numpy(dtype=object))

    @property
    def annotations(self) -> pd.DataFrame:
        """The validated table; read on first use."""
        if self._annotations is None:
            table = self.read_annotations().reset_index(drop=True)
            validate(table, self.targets, self.mos_range, self.label, self.mean_of_grades)
            self._annotations = with_ratings(table, self.mos_range)
        return self._annotations

    @property
    def label(self) -> str:
        """Name of this data set in error messages."""
        return f"{self.title or self.name or type(self).__name__} in {self.root}"

    def setup(self, stage: str | None = None) -> None:
        """Read the labels, split them and check that the pictures exist; runs only once."""
        if hasattr(self, "split"):
            return
        table = self.annotations
        split = self.draw_split()
        self.check_pictures()
        raw = torch.from_numpy(table[self.targets].to_numpy(dtype=np.float64, copy=True))
        low, high = self.mos_range
        normalised = (raw - low) / (high - low)
        if self.skip_unreadable:
            self.unreadable = find_unreadable(self.reader(), len(table))
            if self.unreadable:
                first = "; ".join(list(self.unreadable.values())[:3])
                rank_zero_warn(
                    f"{self.label}: {len(self.unreadable)} of {len(table)} pictures cannot be "
                    f"decoded and are excluded from every part ({first})"
                )
        self.mos_raw = raw
        self.mos = (normalised if self.higher_is_better else 1 - normalised).float()
        self.ratings = rating_tensors(table, self.targets, self.mos_range, self.higher_is_better)
        if self.within_content:
            contents = pd.factorize(table["content"])[0].astype(np.int64)
            self.ratings["group"] = torch.from_numpy(contents)
        self.split: Split = split

    def draw_split(self) -> Split:
        """Return the split of the table that the options ask for."""
        return make_split(
            self.annotations,
            self.split_kind,
            fractions=self.fractions,
            seed=self.seed,
            repeat=self.repeat,
            folds=self.folds,
        )

    def check_pictures(self) -> None:
        """Check that every picture of the table exists.

        Raises:
            FileNotFoundError: If any are missing; names the first, their number and the remedy.
        """
        missing = missing_files(self.root, self.annotations["image"])
        if missing:
            shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            raise FileNotFoundError(
                f"{self.label}: {len(missing)} of {len(self.annotations)} pictures are missing "
                f"({shown}); unpack the archive completely, or correct root"
            )

    def rows(self, part: str) -> Rows:
        """Return the row numbers of ``train``, ``val`` or ``test``."""
        rows = np.asarray(getattr(self.split, part), dtype=np.int64)
        return rows[~np.isin(rows, list(self.unreadable))] if self.unreadable else rows

    def set_names(self, part: str) -> dict[int, str]:
        """Return the names of the sets that a part of a mixture has, by number; none otherwise."""
        return {}

    def vote_lookup(self, part: str) -> VoteLookup | None:
        """Return what finds the votes between the pictures of a batch; None without votes."""
        return None

    def vote_counts(self, part: str) -> Mapping[int, tuple[Rows, NDArray[np.float64]]]:
        """Return the votes of a part by the number of their set; empty without votes.

        Returns:
            For each set with votes the row numbers of P pairs, int64 [P, 2], and their votes for
            the first, the second and neither, [P, 3]. A set that is no mixture has number 0.
        """
        return {}

    def skipped(self, part: str) -> dict[str, str]:
        """Return the pictures that are excluded from a part.

        Returns:
            The reason for each sample id.
        """
        rows = [int(row) for row in getattr(self.split, part) if int(row) in self.unreadable]
        return {self.annotations["image"].iloc[row]: self.unreadable[row] for row in rows}

    def dataset(self, part: str) -> IQADataset:
        """Return the data set of a part, indexed by row numbers of the whole table."""
        return IQADataset(
            reader=self.reader(),
            mos=self.mos,
            mos_raw=self.mos_raw,
            views=self.train_views if part == "train" else self.eval_views,
            size=self.resize,
            features=self.features.get(part),
            extras=self.ratings,
            votes=self.vote_lookup(part) if part == "train" else None,
        )

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Shuffled batches of the training part."""
        return self.loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[dict[str, Any]] | list[Any]:
        """Batches of the validation part in order; an empty list if there is none."""
        return self.loader("val") if len(self.rows("val")) else []

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Batches of the test part in order."""
        return self.loader("test")

    def predict_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Batches of the test part in order."""
        return self.loader("test")

    def _sampler(self, dataset: IQADataset, rows: Rows, shuffle: bool) -> Sampler[BatchIndex]:
        views, size = dataset.views.count, self.batch_size
        if size == "all" and shuffle:
            if dataset.features is None or views is None:
                raise ValueError(
                    "batch_size all needs cached features: keep the feature cache enabled "
                    "(features.enabled true, no fast_dev_run), or give a number as batch_size"
                )
            return (SameWholePart if self._overfits() else WholePart)(rows, views)
        size = EVALUATION_BATCH if size == "all" else size
        sampler = SameBatches if self._overfits() else BatchSampler
        return sampler(
            rows, size, views=views, shuffle=shuffle, seed=self.order_seed, epoch=self._epoch
        )

    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer is not None else 0

    def _overfits(self) -> bool:
        return bool(getattr(self.trainer, "overfit_batches", 0))

    def loader(self, part: str, shuffle: bool = False) -> DataLoader[dict[str, Any]]:
        """Return the batches of a part, in order with view 0 unless shuffled.

        Raises:
            ValueError: If the split has no such part, or ``batch_size`` is ``all`` without cached
                features.
        """
        if not len(self.rows(part)):
            raise ValueError(f"{self.label}: the {self.split_kind} split has no {part} part")
        dataset = self.dataset(part)
        # Cached features are one index selection; workers would only add copies.
        workers = 0 if dataset.features is not None else self.num_workers
        return DataLoader(
            dataset,
            batch_size=None,
            sampler=self._sampler(dataset, self.rows(part), shuffle),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available() and dataset.features is None,
        )


def find_unreadable(reader: Reader, count: int) -> dict[int, str]:
    """Decode all pictures and return the rows of those that fail, each with the reason.

    Missing pictures are skipped; :meth:`IQADataModule.check_pictures` handles them.
    """

    def problem(row: int) -> str | None:
        try:
            reader(row)
        except ValueError as error:
            return str(error)
        except (FileNotFoundError, TypeError):
            return None
        return None

    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL while decoding
        problems = pool.map(problem, range(count))
        shown = progress(problems, "decoding every picture", count)
        return {row: text for row, text in enumerate(shown) if text is not None}


def missing_files(root: Path, names: pd.Series) -> list[str]:
    """Return the names that are not files below ``root``; lists each folder once."""
    listings: dict[str, set[str]] = {}
    missing = []
    for name in names.tolist():
        folder, _, file = name.rpartition("/")
        if folder not in listings:
            path = root / folder
            listings[folder] = (
                {entry.name for entry in os.scandir(path)} if path.is_dir() else set()
            )
        if file not in listings[folder]:
            missing.append(name)
    return missing
