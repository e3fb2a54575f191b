"""Identity of a feature: the content of a picture and the view of it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from clipiqa_plus.data import progress
from clipiqa_plus.data.base import FileReader, IQADataset, Reader, Rows
from clipiqa_plus.data.images import to_rgb
from clipiqa_plus.data.transforms import Views, resize

_CONTENT = "sha256 "
_RACY = 3 * 10**9  # ns; a file this recent may change again without a new time stamp


@dataclass(frozen=True)
class Picture:
    """One picture of a data set.

    Attributes:
        row: Row number in the annotations.
        content: Text that identifies the content of the picture.
        width: Width in pixels before any resize, from the header; 0 if unknown. Only for batching.
        height: Height, likewise.
    """

    row: int
    content: str
    width: int = 0
    height: int = 0


def pictures(dataset: IQADataset, rows: Rows, memory: Path | None) -> list[Picture]:
    """Identify the pictures of some rows.

    Files are identified by the SHA-256 of their content: a data set may be moved, renamed or copied
    without losing its features, and a changed picture never gets an old feature, whatever its time
    stamp. Other readers identify their pictures themselves.

    Args:
        dataset: Provides the reader.
        rows: Row numbers.
        memory: Folder with the stored digests of unchanged files; None reads every file.

    Raises:
        FileNotFoundError: If a file is missing.
    """
    reader = dataset.reader
    if type(reader) is not FileReader:
        return [Picture(row, content_of(reader, row)) for row in rows.tolist()]
    names = [str(reader.names[row]) for row in rows]
    digests = _digests(reader.root, names, memory)
    return [
        Picture(row, _CONTENT + digest, width, height)
        for row, (digest, width, height) in zip(rows.tolist(), digests, strict=True)
    ]


def content_of(reader: Reader, row: int) -> str:
    """Return the text that identifies the current content of one picture."""
    if type(reader) is not FileReader:
        return reader.identity(row)
    return _CONTENT + _sha256(reader.root / reader.names[row])


def feature_key(picture: Picture, views: Views, view: int) -> bytes:
    """Return the key of one feature in its store: 32 bytes."""
    text = json.dumps([picture.content, views.key(picture.row, view)])
    return hashlib.sha256(text.encode()).digest()


def name_of(dataset: IQADataset, row: int) -> str:
    """Return the name of a picture for error messages."""
    reader = dataset.reader
    if isinstance(reader, FileReader):
        return str(reader.root / reader.names[row])
    return f"row {row} ({reader.identity(row)})"


@cache
def pixel_probe() -> str:
    """Return a digest of the pixels of a small JPEG after decoding and resizing.

    It changes only if an upgrade of Pillow or its JPEG decoder changes pixels. Using their version
    numbers instead would discard features at every upgrade.
    """
    y, x, c = np.mgrid[:40, :56, :3]
    pattern = np.where((x // 7 + y // 9) % 2, 3 * x + 2 * y + 40 * c, 255 - 2 * x - y - 30 * c)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pattern, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=60)
    with Image.open(buffer) as image:
        decoded = to_rgb(image)
    return hashlib.sha256(decoded.tobytes() + resize(decoded, 24).tobytes()).hexdigest()


Signature = list[int]  # size, times of change of content and of status (ns), inode
Digest = tuple[str, int, int]  # SHA-256, width, height


def _digests(root: Path, names: Sequence[str], memory: Path | None) -> list[Digest]:
    """Digest files; stored digests are used for files of unchanged size, times and inode."""
    root = root.resolve()
    path = None
    if memory is not None:
        path = memory / f"{hashlib.sha256(str(root).encode()).hexdigest()[:16]}.json"
    known: dict[str, tuple[Signature, Digest]] = _recall(path)
    started = time.time_ns()
    signatures = {name: _signature(root / name) for name in names}
    unknown = [n for n, s in signatures.items() if n not in known or known[n][0] != s]
    if unknown:
        with ThreadPoolExecutor() as pool:
            found = pool.map(_digest, [root / name for name in unknown])
            shown = progress(found, "reading pictures", len(unknown))
            for name, digest in zip(unknown, shown, strict=True):
                known[name] = (signatures[name], digest)
    result = [known[name][1] for name in names]
    if unknown and path is not None:
        settled = {n: k for n, k in known.items() if max(k[0][1:3]) < started - _RACY}
        _remember(path, root, settled)
    return [(digest, width, height) for digest, width, height in result]


def _signature(path: Path) -> Signature:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: no such image; check the root and the name in the label file"
        ) from None
    # Unlike the modification time, which cp -p restores, the change time cannot be set back.
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _digest(path: Path) -> Digest:
    try:
        with Image.open(path) as image:  # reads the header only
            width, height = image.size
    except Exception:  # not a picture: decoding raises an error that names it
        width = height = 0
    return _sha256(path), width, height


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _recall(path: Path | None) -> dict[str, tuple[Signature, Digest]]:
    try:
        return dict(json.loads(path.read_text())["files"]) if path else {}
    except (OSError, ValueError, KeyError):
        return {}  # digests only save time: the files are read instead


def _remember(path: Path, root: Path, known: dict[str, tuple[Signature, Digest]]) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    with contextlib.suppress(OSError):  # a read-only cache
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(json.dumps({"root": str(root), "files": known}))
        os.replace(unfinished, path)
