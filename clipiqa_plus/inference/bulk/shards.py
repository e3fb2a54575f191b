"""Pictures in tar shards (WebDataset), listed member by member."""

from __future__ import annotations

import os
import re
import tarfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Self

from clipiqa_plus.inference.bulk.pictures import Picture

PICTURE_NAME = re.compile(
    r"[^.].*\.(avif|bmp|gif|jfif|jp2|jpe?g|p[bgnp]m|png|tga|tiff?|webp)", re.IGNORECASE | re.DOTALL
)
"""Of the files in a folder or shard, those taken for pictures; one that is named always is."""

SHARD_NAME = re.compile(r"[^.].*\.(tar|tar\.gz|tgz)", re.IGNORECASE | re.DOTALL)
"""Files that are taken for shards."""

_DAMAGE = (tarfile.TarError, OSError, EOFError, zlib.error)


def is_shard(path: str) -> bool:
    """Return whether a file, by its name, is a shard."""
    return SHARD_NAME.fullmatch(os.path.basename(path)) is not None


def members(path: str, stream: BinaryIO | None = None) -> Iterator[Picture]:
    """List the pictures in a shard in their order, in constant memory.

    Of a plain tar only the headers are read, and each picture where and when it is decoded. A
    compressed tar has no such places: its pictures come with their bytes, and so do all that are
    read from a stream.

    Args:
        path: The shard; its pictures are named ``path/member``.
        stream: Read it from here instead.

    Yields:
        Its pictures; last, if it is damaged or ends too early, a flaw of the name ``path``.
    """
    plain = path.lower().endswith(".tar")
    mode = ("r|" if stream else "r:") + ("" if plain else "gz")
    try:
        with tarfile.open(path, mode, stream, tarinfo=_Member) as archive:  # type: ignore[call-overload]
            while (member := archive.next()) is not None:
                archive.members.clear()  # it would remember them all
                name = f"{path}/{member.name}"
                if not _is_picture(member.name) or member.isdir():
                    continue
                if not member.isreg():
                    yield Picture(name, flaw="a link or device in the shard, not a file")
                elif plain and stream is None and not member.issparse():
                    yield Picture(name, path, member.offset_data, member.size)
                else:
                    yield Picture(name, data=archive.extractfile(member).read())
    except FileNotFoundError:
        yield Picture(path, flaw="no such file")
    except _DAMAGE as error:
        yield Picture(path, flaw=f"damaged shard, listed up to there ({error})")


def find_member(name: str) -> Picture | None:
    """Find a picture in a shard by the name that :func:`members` gave it.

    Args:
        name: ``shard.tar/member``.

    Returns:
        The picture; None if there is none.
    """
    for match in re.finditer(r"/", name):
        shard = name[: match.start()]
        if is_shard(shard) and os.path.isfile(shard):
            return next((picture for picture in members(shard) if picture.name == name), None)
    return None


class _Member(tarfile.TarInfo):
    """A member whose header must be whole: tarfile takes a damaged one for the end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except tarfile.HeaderError as error:
            if isinstance(error, tarfile.EOFHeaderError):  # type: ignore[attr-defined]
                raise
            raise tarfile.ReadError(f"{error} at byte {archive.offset}") from error


def _is_picture(member: str) -> bool:
    *folders, name = member.split("/")
    hidden = any(folder.startswith(".") and folder != "." for folder in folders)
    return not hidden and PICTURE_NAME.fullmatch(name) is not None
