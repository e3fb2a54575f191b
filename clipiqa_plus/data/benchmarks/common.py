"""What all published benchmarks share: their facts, and how their files are found."""

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
    """A label file whose licence lets everyone fetch it.

    Attributes:
        name: Where it goes, below the root.
        url: Its address, of one fixed version.
        sha256: Hash of its content.
        size: Bytes.
    """

    name: str
    url: str
    sha256: str
    size: int


class Benchmark(IQADataModule):
    """A published benchmark.

    The sample id of a picture is its name in the label file, whatever folder or case it has on
    disk: so a split drawn on one machine is the split on every other.

    Args:
        root: Folder of the unpacked data set, or the folder that holds it under the archive's
            name.
        max_missing: How many pictures may be missing; those are left out of every part and
            listed in :attr:`left_out`. More are an error. None takes the benchmark's number.
        **options: The arguments of :class:`~clipiqa_plus.data.base.IQADataModule`.
    """

    labels: ClassVar[tuple[str, ...]] = ()
    """Names of the main label file, below the data set's folder; the first that exists."""
    folders: ClassVar[tuple[str, ...]] = ("",)
    """Folders with the pictures, sought in this order; ``*`` is every folder beside the labels."""
    nested: ClassVar[tuple[str, ...]] = ()
    """Folders below ``root`` in which archives and repackagings nest the data set."""
    official_sizes: ClassVar[tuple[int, int, int] | None] = None
    """Sizes of the official train, val and test parts."""
    missing_allowed: ClassVar[int] = 0
    """Pictures that are absent from the archive itself."""
    editions: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Label files in circulation that do not fit, each with the reason."""
    obtain: ClassVar[str] = ""
    """How to get the data set, one sentence."""
    downloads: ClassVar[tuple[LabelDownload, ...]] = ()
    """Label files that :meth:`prepare_data` fetches when they are absent."""
    fetch_from: ClassVar[tuple[Source, ...]] = ()
    """Public addresses of the whole data set, for ``clipiqa data get``; none where a form or a
    licence stands before it."""
    protocol: ClassVar[str] = ""
    """The literature's protocol, a few words."""
    usual_resize: ClassVar[int | tuple[int, int] | None] = None
    """Size at which CLIP-IQA(+) numbers are reported; None is the native one."""
    extras: ClassVar[str] = ""
    """Pattern of pictures in the folders that are rightly unrated, such as references."""
    within_content: ClassVar[bool] = False
    """Whether scores compare only within one content."""
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
        """Possible names of the main label file; :attr:`labels` unless an argument chooses."""
        return self.labels

    @property
    def expected_rows(self) -> tuple[int, ...]:
        """Numbers of rated pictures that a complete label file may have; empty for any."""
        return () if self.count is None else (self.count,)

    @cached_property
    def home(self) -> Path:
        """The folder that holds the label file: ``root`` or one of the nestings below it.

        Raises:
            FileNotFoundError: If no label file is there, with what was found and how to get it.
        """
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.title}: no folder {self.root}. {self.obtain}")
        files = Files(self.root)
        for nest in ("", *self.nested):
            prefix = nest + "/" if nest else ""
            if any(files.find(prefix + label) for label in self.main_labels):
                return self.root / (files.folder(nest) or "")
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
            *names: Its possible names below :attr:`home`; none takes :attr:`main_labels`.

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
        """What errors call this data set: its name and its label file."""
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
        """Folders below :attr:`home` in which pictures are sought."""
        beside = tuple(self.files.folders()) if "*" in self.folders else ()
        named = [folder for folder in self.folders if folder != "*"]
        return tuple(dict.fromkeys([*named, *beside]))

    @cached_property
    def paths(self) -> NDArray[np.object_]:
        """File of each row below :attr:`home`, object [N]; None where it is missing."""
        return self.files.resolve(self.annotations["image"].tolist(), self.picture_folders)

    def prepare_data(self) -> None:
        """Fetch absent label files where their licence allows it."""
        files = Files(self.root)
        nests = [nest for nest in self.nested if files.folder(nest)]
        places = ["", *(nest + "/" for nest in nests)]
        if any(files.find(place + label) for place in places for label in self.main_labels):
            return
        for file in self.downloads:
            destination = self.root / (files.folder(nests[0]) or "" if nests else "") / file.name
            download([file.url], file.sha256, destination, size=file.size, remedy=self.obtain)

    def check_pictures(self) -> None:
        """Find every picture; leave out as many as may be missing.

        Raises:
            FileNotFoundError: If more are missing, naming the first, the folders and the remedy.
        """
        table = self.annotations
        missing = np.flatnonzero(self.paths == None)  # noqa: E711  element by element
        self.left_out = table["image"].iloc[missing].tolist()
        if not self.left_out:
            return
        what = f"{len(missing):,} of {len(table):,} pictures are missing ({_shown(self.left_out)})"
        if len(missing) > self.max_missing:
            sought = ", ".join(
                f"{folder or '.'} ({len(self.files.files(folder)):,} files)"
                if self.files.folder(folder) is not None
                else f"{folder} (no such folder)"
                for folder in self.picture_folders
            )
            raise FileNotFoundError(
                f"{self.title}: {what}; sought below {self.home} in {sought}; folders there: "
                f"{_shown(self.files.folders())}. Unpack the archive completely. {self.obtain}"
            )
        rank_zero_warn(f"{self.title}: {what} and left out of every part")

    def rows(self, part: str) -> Rows:
        """Return the row numbers of a part, without those whose picture is missing."""
        rows = super().rows(part)
        return rows[self.paths[rows] != None]  # noqa: E711  element by element

    def skipped(self, part: str) -> dict[str, str]:
        """Return the pictures that belong to a part and are left out of it: missing or unreadable.

        Returns:
            The reason by sample id.
        """
        names = self.annotations["image"].iloc[np.asarray(getattr(self.split, part), int)]
        missing = set(self.left_out)
        absent = {name: f"no such file below {self.home}" for name in names if name in missing}
        return absent | super().skipped(part)

    def reader(self) -> Reader:
        """Return what gives the picture of a row."""
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
                    f"{self.label}: train, val and test of {sizes}; the official ones have "
                    f"{self.official_sizes}. {self.obtain}"
                )

    def _known(self, present: list[str]) -> str:
        folded = {name.casefold() for name in present}
        hints = [f"{name} {why}" for name, why in self.editions if name.casefold() in folded]
        return "".join(f"{hint}. " for hint in hints)


def _shown(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "") or "nothing"
