"""Pictures to score, from files, folders, globs, tar shards and lists."""

from __future__ import annotations

import difflib
import glob
import os
import sys
from collections.abc import Iterator, Sequence

from clipiqa_plus.inference.bulk.pictures import Picture
from clipiqa_plus.inference.bulk.shards import PICTURE_NAME, find_member, is_shard, members

STDIN = "-"


def check_sources(sources: Sequence[str]) -> None:
    """Check that all sources exist and hold pictures, before any slow work.

    Args:
        sources: See :func:`find_pictures`.

    Raises:
        FileNotFoundError: If a source is not a file, a folder or a glob that matches files.
        ValueError: If there are no pictures, or standard input is named twice.
    """
    if list(sources).count(STDIN) > 1:
        raise ValueError("the list on standard input, '-', can only be read once")
    for source in sources:
        if source != STDIN and next(_expand(source), None) is None:
            folder, name = os.path.split(source)
            there = os.listdir(folder or ".") if os.path.isdir(folder or ".") else []
            alike = difflib.get_close_matches(name, there, n=1)
            guess = f". Did you mean {os.path.join(folder, alike[0])}?" if alike else ""
            raise FileNotFoundError(
                f"{source}: no such file or folder, and no file matches it{guess}"
            )
    if STDIN not in sources and next(find_pictures(sources), None) is None:
        raise ValueError(f"{', '.join(sources)}: no pictures there")


def find_pictures(sources: Sequence[str]) -> Iterator[Picture]:
    """List pictures in a fixed order; memory holds the names of one folder at a time.

    Args:
        sources: Any of: files; folders, searched recursively, in order of names, for files with the
            extension of a picture or tar shard, without hidden folders and links to folders; globs
            (``**`` matches nested folders); ``-`` for a list of files on standard input, one per
            line. Tar shards (``.tar``, ``.tar.gz``, ``.tgz``) are expanded to their pictures.
            Duplicates are listed once.

    Yields:
        Pictures, named by their paths, or ``shard.tar/member`` if in a shard.
    """
    for path in find_files(sources):
        if is_shard(path):
            yield from members(path)
        else:
            yield Picture(path, path)


def find_files(sources: Sequence[str]) -> Iterator[str]:
    """List files like :func:`find_pictures`, without expanding shards."""
    files: set[str] = set()  # real paths; for files in folders, only the folder is stored
    folders: list[str] = []
    for path in (path for source in sources for path in _expand(source)):
        true = os.path.realpath(path)
        if os.path.isdir(path):
            for name in _walk(path):
                listed = os.path.join(true, name)
                if listed not in files and not any(_lists(f, listed) for f in folders):
                    yield _plain(os.path.join(path, name))
            folders.append(true)
        elif true not in files and not any(_lists(folder, true) for folder in folders):
            files.add(true)
            yield _plain(path)


def picture_named(name: str) -> Picture | None:
    """Return the picture with a name given by :func:`find_pictures`; None if it does not exist."""
    return Picture(name, name) if os.path.isfile(name) else find_member(name)


def _expand(source: str) -> Iterator[str]:
    if source == STDIN:
        lines = (os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer)
        yield from (line for line in lines if line)
    elif os.path.exists(source):  # includes names such as "a[1].png" that look like a glob
        yield source
    elif glob.has_magic(source):
        yield from (p for p in sorted(glob.glob(source, recursive=True)) if os.path.isfile(p))


def _walk(folder: str, below: str = "") -> Iterator[str]:
    """List the names of the pictures and shards below a folder."""
    with os.scandir(os.path.join(folder, below)) as entries:
        found = sorted((e.name, e.is_dir(follow_symlinks=False)) for e in entries)
    for name, is_folder in found:
        path = os.path.join(below, name)
        if is_folder and not name.startswith("."):
            yield from _walk(folder, path)
        elif not is_folder and _is_taken(name):
            yield path


def _lists(folder: str, file: str) -> bool:
    """Return True if :func:`_walk` lists the file; both are real paths."""
    if not file.startswith(os.path.join(folder, "")):
        return False
    *folders, name = os.path.relpath(file, folder).split(os.sep)
    return _is_taken(name) and not any(part.startswith(".") for part in folders)


def _is_taken(name: str) -> bool:
    return PICTURE_NAME.fullmatch(name) is not None or is_shard(name)


def _plain(path: str) -> str:
    """Return an equivalent path that spreadsheets do not interpret as a formula."""
    return os.path.join(".", path) if path[0] in "=+-@" else path
