"""Download sources of data sets: facts only, no downloading."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """One file on a web server: an archive to unpack, or a file to keep as it is.

    Attributes:
        url: Its address.
        size: Bytes, if published.
        sha256: SHA-256 of the file in hex, if published.
        md5: MD5 of the file in hex, if only that is published.
        folder: Target folder within the data set; ``""`` is the root of the data set.
    """

    url: str
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None
    folder: str = ""

    @property
    def name(self) -> str:
        """File name."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class GitRepository:
    """One commit of a public git repository; its hash verifies every file.

    Attributes:
        url: Address to clone from.
        commit: SHA-1 of the commit, 40 hex digits.
        paths: Folders and files to download; empty means all.
        size: Bytes of the files on disk.
    """

    url: str
    commit: str
    paths: tuple[str, ...] = ()
    size: int | None = None


Source = Archive | GitRepository
