"""Which pictures to score: files, folders, globs and lists, one after the other."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Iterator, Sequence

PICTURE_NAME = re.compile(
    r"[^.].*\.(avif|bmp|gif|jfif|jp2|jpe?g|p[bgnp]m|png|tga|tiff?|webp)", re.IGNORECASE | re.DOTALL
)
"""Of the files in a folder, those taken for pictures; a file that is named is always taken."""

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


def find_pictures(sources: Sequence[str]) -> Iterator[str]:
    """List pictures in a fixed order without holding more than one folder's names.

    Args:
        sources: Files; folders, searched recursively for :data:`PICTURE_NAME`, in the order of
            names, without hidden folders; globs (``**`` crosses folders); or ``-`` for a list of
            files on standard input, one a line.

    Yields:
        Paths of files.
    """
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
        elif not is_folder and PICTURE_NAME.fullmatch(name):
            yield path
