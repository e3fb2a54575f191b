"""Pictures in tar shards (WebDataset)."""

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
"""Names of pictures in folders and shards. Files named explicitly are always taken as pictures."""

SHARD_NAME = re.compile(r"[^.].*\.(tar|tar\.gz|tgz)", re.IGNORECASE | re.DOTALL)
"""Names of shards."""

_DAMAGE = (tarfile.TarError, OSError, EOFError, zlib.error)


def is_shard(path: str) -> bool:
    """Return True if the name of a file is that of a shard."""
    return SHARD_NAME.fullmatch(os.path.basename(path)) is not None


def members(path: str, stream: BinaryIO | None = None) -> Iterator[Picture]:
    """List the pictures in a shard in order, in constant memory.

    Of an uncompressed tar, only the headers are read here; pictures are read when they are decoded.
    Pictures of compressed tars and of streams come with their bytes.

    Args:
        path: The shard; its pictures are named ``path/member``.
        stream: Read the shard from this stream instead.

    Yields:
        Its pictures. If it is damaged or truncated, the last one is a flaw named ``path``.
    """
    plain = path.lower().endswith(".tar")
    mode = ("r|" if stream else "r:") + ("" if plain else "gz")
    try:
        with tarfile.open(path, mode, stream, tarinfo=_Member) as archive:  # type: ignore[call-overload]
            while (member := archive.next()) is not None:
                archive.members.clear()  # tarfile would keep all members
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
        yield Picture(path, flaw=f"damaged shard, read up to the damage ({error})")


def find_member(name: str) -> Picture | None:
    """Return the picture with a name given by :func:`members`; None if it does not exist.

    Args:
        name: ``shard.tar/member``.
    """
    for match in re.finditer(r"/", name):
        shard = name[: match.start()]
        if is_shard(shard) and os.path.isfile(shard):
            return next((picture for picture in members(shard) if picture.name == name), None)
    return None


class _Member(tarfile.TarInfo):
    """A member with a checked header: tarfile treats a damaged one as the end of the archive."""

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
