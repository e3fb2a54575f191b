"""Which pictures to score: files, folders, globs, tar shards and lists, one after the other."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Sequence

from clipiqa_plus.inference.bulk.pictures import Picture
from clipiqa_plus.inference.bulk.shards import PICTURE_NAME, find_member, is_shard, members

STDIN = "-"


def check_sources(sources: Sequence[str]) -> None:
    """Refuse sources that do not exist, before anything slow begins.

    Args:
        sources: See :func:`find_pictures`.

    Raises:
        FileNotFoundError: If a source is neither a file nor a folder nor a glob of some.
        ValueError: If the standard input is named twice.
    """
    if list(sources).count(STDIN) > 1:
        raise ValueError("the list on standard input, '-', can be read once only")
    for source in sources:
        if source != STDIN and next(_expand(source), None) is None:
            raise FileNotFoundError(f"{source}: no such file, folder or glob with files")


def find_pictures(sources: Sequence[str]) -> Iterator[Picture]:
    """List pictures in a fixed order without holding more than one folder's names.

    Args:
        sources: Files; folders, searched recursively for pictures and tar shards, by their names
            and in the order of names, without hidden folders; globs (``**`` crosses folders); or
            ``-`` for a list of files on standard input, one a line. Of a shard (``.tar``,
            ``.tar.gz``, ``.tgz``), wherever it is found, each picture is taken.

    Yields:
        Pictures, named by their paths; those in shards ``shard.tar/member``.
    """
    for path in find_files(sources):
        if is_shard(path):
            yield from members(path)
        else:
            yield Picture(path, path)


def find_files(sources: Sequence[str]) -> Iterator[str]:
    """List files as :func:`find_pictures` does, but each shard as one."""
    for source in sources:
        if source == STDIN:
            for line in sys.stdin.buffer:
                if name := os.fsdecode(line.rstrip(b"\r\n")):
                    yield name
            continue
        for path in _expand(source):
            if os.path.isdir(path):
                yield from _walk(path)
            else:
                yield path


def picture_named(name: str) -> Picture | None:
    """Find a picture again by the name that :func:`find_pictures` gave it; None if it is gone."""
    return Picture(name, name) if os.path.isfile(name) else find_member(name)


def _expand(source: str) -> Iterator[str]:
    if os.path.exists(source):  # also names such as "a[1].png", which look like a glob
        yield source
    elif glob.has_magic(source):
        yield from (p for p in sorted(glob.glob(source, recursive=True)) if os.path.isfile(p))


def _walk(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        found = sorted((e.name, e.is_dir(follow_symlinks=False)) for e in entries)
    for name, is_folder in found:
        path = os.path.join(folder, name)
        if is_folder and not name.startswith("."):
            yield from _walk(path)
        elif not is_folder and (PICTURE_NAME.fullmatch(name) or is_shard(name)):
            yield path
