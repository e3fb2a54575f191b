"""Case-insensitive lookup of files, from one listing per folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass
class _Listing:
    """Content of one folder."""

    path: str
    files: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)

    def file(self, name: str) -> str | None:
        """Return the actual path of a file, relative to the root."""
        true = name if name in self.files else self._alike(name, self.files)
        return None if true is None else _join(self.path, true)

    def folder(self, name: str) -> str | None:
        """Return the actual path of a folder, relative to the root."""
        true = name if name in self.folders else self._alike(name, self.folders)
        return None if true is None else _join(self.path, true)

    @cached_property
    def _folded(self) -> dict[str, list[str]]:
        folded: dict[str, list[str]] = {}
        for name in self.files | self.folders:
            folded.setdefault(name.casefold(), []).append(name)
        return folded

    def _alike(self, name: str, among: set[str]) -> str | None:
        alike = [other for other in self._folded.get(name.casefold(), []) if other in among]
        if len(alike) > 1:
            raise ValueError(
                f"{name} is not in folder {self.path or '.'}, which contains "
                f"{' and '.join(sorted(alike))}, differing only in case; keep the right one"
            )
        return alike[0] if alike else None


class Files:
    """The files below a folder.

    Label files and archives disagree about case, and a quarter of a million single lookups on a
    network disk take minutes. So each folder is listed once, when a name in it is first requested.

    Args:
        root: The folder; names are relative to it and use ``/``.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self._listings: dict[str, _Listing | None] = {}

    def find(self, name: str) -> str | None:
        """Return the actual path of a file, or None if there is none.

        A name with exactly this case takes precedence.

        Args:
            name: Name below the root, such as ``Images/100.bmp``.

        Raises:
            ValueError: If no file has exactly this case and several differ from it only in case.
        """
        folder, _, base = name.rpartition("/")
        listing = self._list(folder)
        return None if listing is None else listing.file(base)

    def resolve(self, names: Sequence[str], folders: Sequence[str]) -> NDArray[np.object_]:
        """Find many files, each in the first of several folders that has it.

        Args:
            names: N names, relative to each of the folders.
            folders: Folders below the root; ``""`` is the root itself.

        Returns:
            object [N]: actual paths relative to the root; None where there is no such file.

        Raises:
            ValueError: As for :meth:`find`.
        """
        out = np.full(len(names), None, dtype=object)
        known: dict[str, list[_Listing]] = {}
        for row, name in enumerate(names):
            parent, _, base = name.rpartition("/")
            if parent not in known:
                listings = (self._list(_join(folder, parent)) for folder in folders)
                known[parent] = [listing for listing in listings if listing is not None]
            for listing in known[parent]:
                if found := listing.file(base):
                    out[row] = found
                    break
        return out

    def files(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, sorted; none if there is no such folder."""
        listing = self._list(folder)
        return [] if listing is None else sorted(listing.files)

    def folders(self, folder: str = "") -> list[str]:
        """Return the names of the folders in a folder, sorted."""
        listing = self._list(folder)
        return [] if listing is None else sorted(listing.folders)

    def folder(self, name: str) -> str | None:
        """Return the actual path of a folder, or None if there is none."""
        listing = self._list(name)
        return None if listing is None else listing.path

    def _list(self, folder: str) -> _Listing | None:
        if folder not in self._listings:
            self._listings[folder] = self._scan(folder)
        return self._listings[folder]

    def _scan(self, folder: str) -> _Listing | None:
        if folder in ("", "."):
            true: str | None = ""
        else:
            above, _, base = folder.rpartition("/")
            parent = self._list(above)
            true = None if parent is None else parent.folder(base)
        if true is None or not (self.root / true).is_dir():
            return None
        listing = _Listing(true)
        with os.scandir(self.root / true) as entries:
            for entry in entries:
                (listing.folders if entry.is_dir() else listing.files).add(entry.name)
        return listing


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and name else folder or name


def file_identity(path: str | None) -> tuple[str | int, ...] | None:
    """Return a value that changes when a file does; None if there is no such file."""
    if path is None or not os.path.isfile(path):
        return None
    facts = os.stat(path)
    return os.path.realpath(path), facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns
