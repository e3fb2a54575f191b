"""Files that survive a kill: appended line by line, or replaced atomically."""

from __future__ import annotations

import csv
import errno
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

_REMEDY = "free some disk space, then run the same command to resume"


class LineFile:
    """A file to which whole lines are appended; it is created with the first line.

    Args:
        path: The file; an incomplete last line, left by a kill, is removed.
        header: First line of a new file.
    """

    def __init__(self, path: Path, header: bytes) -> None:
        self.path = path
        self.header = header
        self._file: io.FileIO | None = None
        if path.exists():
            _cut_unfinished_line(path)

    def append(self, line: bytes) -> None:
        """Write a line immediately.

        Raises:
            OSError: If writing fails, for example on a full disk.
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
    """Yield a temporary path; on success, the file there replaces the given one atomically.

    Raises:
        OSError: If writing fails, for example on a full disk.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise unwritable(path, error, _REMEDY) from error


def replace_file(path: Path, lines: Iterable[bytes]) -> None:
    """Write a file atomically.

    Raises:
        OSError: If writing fails, for example on a full disk.
    """
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        file.writelines(lines)


def merged(file: IO[bytes], header: bytes, found: dict[int, list[bytes]]) -> Iterator[bytes]:
    """Yield the lines of a file with new ones inserted, each before the row of its number."""
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
    """Return a path as a single line of valid UTF-8: unchanged, or else with escapes.

    Args:
        path: A path as returned by the operating system.
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
