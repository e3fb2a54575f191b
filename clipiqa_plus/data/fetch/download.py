"""Download one file from a list of mirrors: resumable, locked, verified by hash, atomic."""

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

TIMEOUT = 30.0  # seconds without data before giving up on a mirror
_CHUNK = 1 << 18  # bytes


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 lower-case hex digits."""
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
    """Make sure that `destination` holds the file with this hash, downloading it if needed.

    Data is written to `<destination>.part`, which a later call resumes, and is renamed to
    `destination` only after its hash has been verified: a file with the final name is always
    complete. A lock file beside it lets one process download while the others wait.

    Args:
        urls: Addresses of the same file, tried in this order.
        sha256: SHA-256 of the file in hex. None if not published: then ``md5`` and ``size``
            decide, and without either the file is complete when the server has sent all of it.
        destination: The file to write; its folder is created if absent.
        md5: MD5 of the file in hex, if only that is published.
        size: Bytes of the file, if known.
        remedy: A sentence appended to the error: what else the user can do.

    Returns:
        `destination`.

    Raises:
        FileNotFoundError: If no mirror served the file; lists each failure and explains how to
            download it by hand.
        PermissionError: If the folder of `destination` cannot be created or written.
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
        f"Download it by hand from one of these addresses{checked}"
        f"and save it as\n  {destination.resolve()}\n{remedy}"
    )
    raise FileNotFoundError(message.rstrip()) from (failures[-1][1] if failures else None)


@contextmanager
def _exclusive(destination: Path, remedy: str) -> Iterator[None]:
    """Hold the inter-process lock of `destination`."""
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
    """Return why a file differs from the published one; None if no difference is known."""
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
    """Download `part` from one mirror until it has no flaw; resume broken connections."""
    inherited = part.exists()  # data of an earlier run, perhaps from another mirror
    while True:
        before = _size(part)
        try:
            _transfer(url, part)
        except (ConnectionError, TimeoutError, HTTPException):
            if _size(part) <= before:  # no progress: do not retry
                raise
            continue
        reason = flaw(part)
        if reason is None:
            return
        part.unlink()
        if not inherited:
            raise ValueError(f"it sent a different file: {reason}")
        inherited = False  # the inherited data may be wrong: retry once from the start


def _transfer(url: str, part: Path) -> None:
    """Append the mirror's data to `part`; start over if it ignores the Range header."""
    offset = _size(part)
    headers = {"User-Agent": "clipiqa-plus"} | ({"Range": f"bytes={offset}-"} if offset else {})
    try:
        response = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if offset and error.code == 416:  # no data beyond `offset`: the hash decides
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
    if total is not None and offset < total:  # http.client ends a truncated body without an error
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
