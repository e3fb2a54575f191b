"""Which pictures to score: files, folders, globs, tar shards and lists, one after the other."""

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
            folder, name = os.path.split(source)
            there = os.listdir(folder or ".") if os.path.isdir(folder or ".") else []
            alike = difflib.get_close_matches(name, there, n=1)
            guess = f". Did you mean {os.path.join(folder, alike[0])}?" if alike else ""
            raise FileNotFoundError(f"{source}: no such file, folder or glob with files{guess}")


def find_pictures(sources: Sequence[str]) -> Iterator[Picture]:
    """List pictures in a fixed order, those of folders without holding more than one's names.

    Args:
        sources: Files; folders, searched recursively for pictures and tar shards, by their names
            and in the order of names, without hidden folders and links to folders; globs (``**``
            crosses folders); or ``-`` for a list of files on standard input, one a line. Of a
            shard (``.tar``, ``.tar.gz``, ``.tgz``), wherever it is found, each picture is taken.
            What several sources name is listed once.

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
    files: set[str] = set()  # by their true paths; of folders only the folder is remembered
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
    """Find a picture again by the name that :func:`find_pictures` gave it; None if it is gone."""
    return Picture(name, name) if os.path.isfile(name) else find_member(name)


def _expand(source: str) -> Iterator[str]:
    if source == STDIN:
        lines = (os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer)
        yield from (line for line in lines if line)
    elif os.path.exists(source):  # also names such as "a[1].png", which look like a glob
        yield source
    elif glob.has_magic(source):
        yield from (p for p in sorted(glob.glob(source, recursive=True)) if os.path.isfile(p))


def _walk(folder: str, below: str = "") -> Iterator[str]:
    """List the names of files below a folder."""
    with os.scandir(os.path.join(folder, below)) as entries:
        found = sorted((e.name, e.is_dir(follow_symlinks=False)) for e in entries)
    for name, is_folder in found:
        path = os.path.join(below, name)
        if is_folder and not name.startswith("."):
            yield from _walk(folder, path)
        elif not is_folder and _is_taken(name):
            yield path


def _lists(folder: str, file: str) -> bool:
    """Whether a file is among those that :func:`_walk` lists; true paths."""
    if not file.startswith(os.path.join(folder, "")):
        return False
    *folders, name = os.path.relpath(file, folder).split(os.sep)
    return _is_taken(name) and not any(part.startswith(".") for part in folders)


def _is_taken(name: str) -> bool:
    return PICTURE_NAME.fullmatch(name) is not None or is_shard(name)


def _plain(path: str) -> str:
    """Return a path that no spreadsheet takes for a formula."""
    return os.path.join(".", path) if path[0] in "=+-@" else path
