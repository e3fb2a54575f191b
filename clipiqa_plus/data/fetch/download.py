"""Fetch one file from an ordered list of mirrors: resumed, locked, checked by its hash, atomic."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from filelock import FileLock
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

TIMEOUT = 30.0  # seconds without a byte before a mirror is given up
_CHUNK = 1 << 18  # bytes


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 lower-case hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(
    urls: Sequence[str],
    sha256: str | None,
    destination: Path,
    *,
    md5: str | None = None,
    size: int | None = None,
    remedy: str = "",
) -> Path:
    """Make sure that `destination` holds the file with this hash, fetching it where needed.

    Bytes gather in `<destination>.part`, which a later call resumes, and move to `destination`
    only once their hash is right: what carries the final name is always whole. A lock file
    beside it lets one process download while the others wait for its result.

    Args:
        urls: Addresses of the same file, tried in this order.
        sha256: The SHA-256 of the file in hex; None where none is published: then ``md5`` and
            ``size`` decide, and a file without either is whole when the server has sent all of it.
        destination: Where the file goes; its folder is made where it is absent.
        md5: The MD5 of the file in hex, where only that is published.
        size: Bytes of the file, where known.
        remedy: A sentence added to the error: what else the user can do.

    Returns:
        `destination`.

    Raises:
        FileNotFoundError: No mirror served the file; the message gives each failure and how
            to fetch it by hand.
        PermissionError: The folder of `destination` cannot be made or written.
    """
    part = destination.with_name(destination.name + ".part")
    flaw = partial(_flaw, sha256=sha256, md5=md5, size=size)
    failures: list[tuple[str, Exception]] = []
    with _exclusive(destination, remedy):
        if destination.is_file() and flaw(destination) is None:
            return destination
        for url in urls:
            try:
                _fetch(url, part, flaw)
            except (OSError, HTTPException, ValueError) as error:
                failures.append((url, error))
            else:
                os.replace(part, destination)
                return destination
    tried = "\n".join(f"  {url}\n    {type(e).__name__}: {e}" for url, e in failures)
    length = "" if size is None else f" ({size:,} bytes)"
    published = f"SHA-256 is\n  {sha256}" if sha256 else f"MD5 is\n  {md5}" if md5 else ""
    checked = f", check that its {published}\n" if published else " "
    message = (
        f"{destination.name}{length} could not be downloaded:\n{tried}\n"
        f"Fetch it by hand from one of these addresses{checked}"
        f"and save it as\n  {destination.resolve()}\n{remedy}"
    )
    raise FileNotFoundError(message.rstrip()) from (failures[-1][1] if failures else None)


@contextmanager
def _exclusive(destination: Path, remedy: str) -> Iterator[None]:
    """Hold the lock of `destination` between processes."""
    lock = FileLock(f"{destination}.lock")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        message = f"the folder {destination.parent} cannot be written ({error}). {remedy}"
        raise PermissionError(message.rstrip()) from error
    try:
        yield
    finally:
        lock.release()


def _flaw(path: Path, sha256: str | None, md5: str | None, size: int | None) -> str | None:
    """Return why a file is not the published one; None if nothing speaks against it."""
    if sha256 is not None:
        actual = sha256_of(path)
        return None if actual == sha256 else f"its SHA-256 is {actual}"
    if md5 is not None:
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "md5").hexdigest()
        return None if actual == md5 else f"its MD5 is {actual}"
    if size is not None and _size(path) != size:
        return f"it has {_size(path):,} bytes"
    return None


def _fetch(url: str, part: Path, flaw: Callable[[Path], str | None]) -> None:
    """Fill `part` from one mirror until it has no flaw; a broken connection is resumed."""
    inherited = part.exists()  # bytes of an earlier run, perhaps from another mirror
    while True:
        before = _size(part)
        try:
            _transfer(url, part)
        except (ConnectionError, TimeoutError, HTTPException):
            if _size(part) <= before:  # not one byte further: no use in asking again
                raise
            continue
        reason = flaw(part)
        if reason is None:
            return
        part.unlink()
        if not inherited:
            raise ValueError(f"it sent another file: {reason}")
        inherited = False  # the inherited bytes may be the wrong ones: once more, from the start


def _transfer(url: str, part: Path) -> None:
    """Append to `part` what the mirror sends; start over if it ignores the Range header."""
    offset = _size(part)
    headers = {"User-Agent": "clipiqa-plus"} | ({"Range": f"bytes={offset}-"} if offset else {})
    try:
        response = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if offset and error.code == 416:  # nothing lies beyond `offset`: the hash decides
            return
        raise
    with response, _progress() as progress:
        if response.headers.get_content_type() == "text/html":
            raise ValueError("it sent a web page instead of the file")
        if response.status != 206:
            offset = 0
        length = response.headers.get("Content-Length")
        total = None if length is None else offset + int(length)
        task = progress.add_task(part.stem, total=total, completed=offset)
        with part.open("ab" if offset else "wb") as file:
            while chunk := response.read1(_CHUNK):
                file.write(chunk)
                offset += len(chunk)
                progress.update(task, completed=offset)
    if total is not None and offset < total:  # http.client ends a cut body without an error
        raise ConnectionError(f"the connection broke after {offset:,} of {total:,} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
