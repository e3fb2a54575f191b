"""Files of lines that survive a kill: they grow by whole lines, or appear whole."""

from __future__ import annotations

import csv
import errno
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

_REMEDY = "make room; the same command then goes on where it was"


class LineFile:
    """A file that grows by whole lines; it begins to exist with its first.

    Args:
        path: The file; a last line without an end, which a kill left, is cut off.
        header: First line of a new file.
    """

    def __init__(self, path: Path, header: bytes) -> None:
        self.path = path
        self.header = header
        self._file: io.FileIO | None = None
        if path.exists():
            _cut_unfinished_line(path)

    def append(self, line: bytes) -> None:
        """Write a line, at once.

        Raises:
            OSError: If it cannot be written, as on a full disk.
        """
        if self._file is None:
            self._file = self.path.open("ab", buffering=0)
            if self._file.tell() == 0:
                line = self.header + line
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise unwritable(self.path, error, _REMEDY) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a file to write in place of another, which it becomes if the block comes to its end.

    Raises:
        OSError: If it cannot be written, as on a full disk.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise unwritable(path, error, _REMEDY) from error


def replace_file(path: Path, lines: Iterable[bytes]) -> None:
    """Write a file that appears whole or not at all.

    Raises:
        OSError: If it cannot be written, as on a full disk.
    """
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        file.writelines(lines)


def merged(file: IO[bytes], header: bytes, found: dict[int, list[bytes]]) -> Iterator[bytes]:
    """Lines of a file, and the found ones, each before the row of its number."""
    if header:
        yield file.readline() or header
    for number, line in enumerate(file):
        yield from found.pop(number, ())
        yield line
    for number in sorted(found):
        yield from found[number]


def unwritable(path: Path, error: OSError, remedy: str) -> OSError:
    """Return an error that names the file and the remedy."""
    reason = error.strerror or error
    return type(error)(f"{path}: cannot be written ({reason}); {remedy}")


def printable(path: str) -> str:
    """Return a path as it can stand in one line of UTF-8, itself if it is such.

    Args:
        path: A path as the operating system has it.
    """
    name = os.fsencode(path).decode("utf-8", "backslashreplace")
    return name.replace("\r", "\\r").replace("\n", "\\n")


def csv_line(values: Sequence[Any]) -> bytes:
    """Return a row of CSV."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue().encode()


def _cut_unfinished_line(path: Path) -> None:
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        file.truncate(end)
