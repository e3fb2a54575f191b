"""Where a data set can be fetched from: facts, without the fetching."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """One file on a web server: an archive to unpack, or a file to keep as it is.

    Attributes:
        url: Its address.
        size: Bytes, where published.
        sha256: SHA-256 of the file in hex, where published.
        md5: MD5 of the file in hex, where only that is published.
        folder: Folder of the data set into which it is unpacked or put; ``""`` is the data set's
            own.
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
    """One commit of a public git repository; its hash vouches for every file.

    Attributes:
        url: Address to clone from.
        commit: SHA-1 of the commit, 40 hex digits.
        paths: Folders and files to take; empty takes all.
        size: Bytes of the files on disk.
    """

    url: str
    commit: str
    paths: tuple[str, ...] = ()
    size: int | None = None


Source = Archive | GitRepository
