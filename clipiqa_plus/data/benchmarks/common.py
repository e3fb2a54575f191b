"""Base class of the published benchmarks: their facts, and the search for their files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

from clipiqa_plus.data.base import PARTS, FileReader, IQADataModule, Reader, Rows
from clipiqa_plus.data.fetch import Source
from clipiqa_plus.data.fetch.download import download
from clipiqa_plus.data.files import Files


@dataclass(frozen=True)
class LabelDownload:
    """A label file whose licence lets anyone download it.

    Attributes:
        name: Target path, relative to the root.
        url: Address of one fixed version.
        sha256: SHA-256 of the file in hex.
        size: Bytes.
    """

    name: str
    url: str
    sha256: str
    size: int


class Benchmark(IQADataModule):
    """A published benchmark.

    The sample id of a picture is its name in the label file, regardless of its folder or case on
    disk, so a split is the same on every machine.

    Args:
        root: Folder of the unpacked data set, or its parent folder if the data set keeps the
            archive's name.
        max_missing: Number of pictures that may be missing. They are excluded from every part and
            listed in :attr:`left_out`; more are an error. None uses the benchmark's own number.
        **options: The arguments of :class:`~clipiqa_plus.data.base.IQADataModule`.
    """

    labels: ClassVar[tuple[str, ...]] = ()
    """Possible names of the main label file, relative to the data set's folder; the first match
    is used."""
    folders: ClassVar[tuple[str, ...]] = ("",)
    """Picture folders, searched in this order; ``*`` is every folder beside the labels."""
    nested: ClassVar[tuple[str, ...]] = ()
    """Folders below ``root`` in which archives and repackagings nest the data set."""
    official_sizes: ClassVar[tuple[int, int, int] | None] = None
    """Sizes of the official train, val and test parts."""
    missing_allowed: ClassVar[int] = 0
    """Number of pictures that are missing from the archive itself."""
    editions: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Unsuitable label files in circulation, each with the reason."""
    obtain: ClassVar[str] = ""
    """How to get the data set, in one sentence."""
    downloads: ClassVar[tuple[LabelDownload, ...]] = ()
    """Label files that :meth:`prepare_data` downloads if absent."""
    fetch_from: ClassVar[tuple[Source, ...]] = ()
    """Public addresses of the complete data set, for ``clipiqa data get``; empty if access needs a
    form or a licence."""
    protocol: ClassVar[str] = ""
    """The protocol used in the literature, in a few words."""
    usual_resize: ClassVar[int | tuple[int, int] | None] = None
    """Size for which CLIP-IQA(+) numbers are reported; None is the native size."""
    extras: ClassVar[str] = ""
    """Pattern of pictures in the folders that have no rating by design, such as references."""
    overlaps: ClassVar[tuple[str, ...]] = ()
    """Benchmarks that share pictures with this one's training part."""

    def __init__(
        self, root: str | os.PathLike[str], max_missing: int | None = None, **options: Any
    ) -> None:
        super().__init__(root, **options)
        self.max_missing = self.missing_allowed if max_missing is None else max_missing
        self.left_out: list[str] = []
        """Sample ids whose pictures are missing; filled by ``setup``."""

    @property
    def main_labels(self) -> tuple[str, ...]:
        """Possible names of the main label file; :attr:`labels` unless an argument selects one."""
        return self.labels

    @property
    def expected_rows(self) -> tuple[int, ...]:
        """Possible numbers of rated pictures in a complete label file; empty for any."""
        return () if self.count is None else (self.count,)

    @cached_property
    def home(self) -> Path:
        """The folder that holds the label file: ``root`` or one of the :attr:`nested` folders.

        Raises:
            FileNotFoundError: If there is no label file; lists the files present and how to get it.
        """
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.title}: no folder {self.root}. {self.obtain}")
        files = Files(self.root)
        for folder in ("", *self.nested):
            prefix = folder + "/" if folder else ""
            if any(files.find(prefix + label) for label in self.main_labels):
                return self.root / (files.folder(folder) or "")
        present = files.folders() + files.files("")
        raise FileNotFoundError(
            f"{self.title}: no {' or '.join(self.main_labels)} in {self.root}, which holds "
            f"{_shown(present)}. {self._known(present)}{self.obtain}"
        )

    @cached_property
    def files(self) -> Files:
        """The files below :attr:`home`, each folder listed once."""
        return Files(self.home)

    def label_file(self, *names: str) -> Path:
        """Return the path of a label file.

        Args:
            *names: Its possible names below :attr:`home`; by default :attr:`main_labels`.

        Raises:
            FileNotFoundError: If none exists.
        """
        for name in names or self.main_labels:
            found = self.files.find(name)
            if found:
                return self.home / found
        raise FileNotFoundError(
            f"{self.title}: no {' or '.join(names or self.main_labels)} in {self.home}. "
            f"{self.obtain}"
        )

    @property
    def label(self) -> str:
        """Name of this data set in error messages: its title and its label file."""
        return f"{self.title} ({self.label_file()})" if "home" in self.__dict__ else super().label

    @property
    def annotations(self) -> pd.DataFrame:
        """The validated table, complete as published; read on first use."""
        fresh = self._annotations is None
        table = super().annotations
        if fresh:
            try:
                self._check_complete(table)
            except ValueError:
                self._annotations = None
                raise
        return table

    @property
    def picture_folders(self) -> tuple[str, ...]:
        """Folders below :attr:`home` that are searched for pictures."""
        beside = tuple(self.files.folders()) if "*" in self.folders else ()
        named = [folder for folder in self.folders if folder != "*"]
        return tuple(dict.fromkeys([*named, *beside]))

    @cached_property
    def paths(self) -> NDArray[np.object_]:
        """Path of each row's file relative to :attr:`home`, object [N]; None if missing."""
        return self.files.resolve(self.annotations["image"].tolist(), self.picture_folders)

    def prepare_data(self) -> None:
        """Download missing label files whose licence allows it."""
        files = Files(self.root)
        nested = [folder for folder in self.nested if files.folder(folder)]
        prefixes = ["", *(folder + "/" for folder in nested)]
        if any(files.find(prefix + label) for prefix in prefixes for label in self.main_labels):
            return
        for file in self.downloads:
            destination = self.root / (files.folder(nested[0]) or "" if nested else "") / file.name
            download([file.url], file.sha256, destination, size=file.size, remedy=self.obtain)

    def check_pictures(self) -> None:
        """Locate every picture, and exclude up to ``max_missing`` that do not exist.

        Raises:
            FileNotFoundError: If more are missing; names the first, the folders and the remedy.
        """
        table = self.annotations
        missing = np.flatnonzero(self.paths == None)  # noqa: E711  element by element
        self.left_out = table["image"].iloc[missing].tolist()
        if not self.left_out:
            return
        what = f"{len(missing):,} of {len(table):,} pictures are missing ({_shown(self.left_out)})"
        if len(missing) > self.max_missing:
            searched = ", ".join(
                f"{folder or '.'} ({len(self.files.files(folder)):,} files)"
                if self.files.folder(folder) is not None
                else f"{folder} (no such folder)"
                for folder in self.picture_folders
            )
            raise FileNotFoundError(
                f"{self.title}: {what}; searched below {self.home} in {searched}; folders there: "
                f"{_shown(self.files.folders())}. Unpack the archive completely. {self.obtain}"
            )
        rank_zero_warn(f"{self.title}: {what} and excluded from every part")

    def rows(self, part: str) -> Rows:
        """Return the row numbers of a part, without those whose picture is missing."""
        rows = super().rows(part)
        return rows[self.paths[rows] != None]  # noqa: E711  element by element

    def skipped(self, part: str) -> dict[str, str]:
        """Return the pictures that are excluded from a part because they are missing or unreadable.

        Returns:
            The reason for each sample id.
        """
        names = self.annotations["image"].iloc[np.asarray(getattr(self.split, part), int)]
        missing = set(self.left_out)
        absent = {name: f"no such file below {self.home}" for name in names if name in missing}
        return absent | super().skipped(part)

    def reader(self) -> Reader:
        """Return the reader that decodes the picture of a row."""
        return FileReader(self.home, self.paths)

    def _check_complete(self, table: pd.DataFrame) -> None:
        allowed = self.expected_rows
        if allowed and len(table) not in allowed:
            raise ValueError(
                f"{self.label}: {len(table):,} rated pictures; the complete label file has "
                f"{' or '.join(f'{n:,}' for n in allowed)}. {self.obtain}"
            )
        whole = len(table) == self.count and "split" in table and "train" in set(table["split"])
        if self.official_sizes and whole:
            sizes = tuple(int((table["split"] == part).sum()) for part in PARTS)
            if sizes != self.official_sizes:
                raise ValueError(
                    f"{self.label}: train, val and test have sizes {sizes}; the official sizes are "
                    f"{self.official_sizes}. {self.obtain}"
                )

    def _known(self, present: list[str]) -> str:
        folded = {name.casefold() for name in present}
        hints = [f"{name} {why}" for name, why in self.editions if name.casefold() in folded]
        return "".join(f"{hint}. " for hint in hints)


def _shown(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "") or "nothing"
