"""Maintenance of a cache folder: list, verify and prune its stores."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from safetensors import SafetensorError, safe_open

from clipiqa_plus.features.identity import pixel_probe
from clipiqa_plus.features.store import (
    FACTS_FILE,
    FORMAT,
    cache_dir,
    damage,
    facts_key,
    read_facts,
)


@dataclass(frozen=True)
class StoreInfo:
    """Contents of a store.

    Attributes:
        path: Its folder.
        backbone: Name under which the weights were first loaded.
        facts: What its features depend on besides picture and view.
        features: Number of features.
        bytes: Size of its shards.
        created: Creation time, seconds since 1970.
        last_used: Time of the last read, seconds since 1970.
        stale: Why the store can no longer be used; None if it can.
    """

    path: Path
    backbone: str
    facts: dict[str, Any]
    features: int
    bytes: int
    created: float
    last_used: float
    stale: str | None


@dataclass(frozen=True)
class Damage:
    """A damaged file of the cache."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Pruned:
    """A file that was removed, or would be."""

    path: Path
    reason: str
    bytes: int


def info(directory: str | os.PathLike[str] | None = None) -> list[StoreInfo]:
    """List the stores of a cache, the most recently used first.

    Args:
        directory: Folder of the features; None is the default one.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    found = [_describe(folder) for folder in _stores(directory)]
    return sorted(found, key=lambda store: -store.last_used)


def verify(directory: str | os.PathLike[str] | None = None) -> list[Damage]:
    """Check every shard of a cache against its SHA-256, and every store against its name.

    To compare with the pictures, see :meth:`~clipiqa_plus.features.FeatureCache.spot_check`.

    Args:
        directory: Folder of the features; None is the default one.

    Returns:
        The damaged files. Damaged shards are never used; the next run encodes their features again.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    return [
        Damage(path, reason)
        for folder in _stores(directory)
        for path in (folder / FACTS_FILE, *_shards(folder))
        if (reason := _wrong(path)) is not None
    ]


def prune(
    directory: str | os.PathLike[str] | None = None,
    unused_days: float | None = None,
    dry_run: bool = False,
) -> list[Pruned]:
    """Remove damaged, unfinished and stale files and, on request, those unused for long.

    Stores that a run is currently writing to are skipped.

    Args:
        directory: Folder of the features; None is the default one.
        unused_days: Also remove shards that were not read for this many days.
        dry_run: Remove nothing; only return what would be removed.

    Returns:
        The removed files.

    Raises:
        ValueError: If the number of days is negative.
        FileNotFoundError: If there is no such folder.
    """
    if unused_days is not None and unused_days < 0:
        raise ValueError(f"unused_days is {unused_days}; give 0 or more")
    pruned: list[Pruned] = []
    for folder in _stores(directory):
        lock = FileLock(folder.with_name(f"{folder.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except TimeoutError:
            continue
        try:
            found = list(_removable(folder, unused_days))
            pruned += found
            if not dry_run:
                _remove(folder, found)
        finally:
            lock.release()
    return pruned


def _removable(folder: Path, unused_days: float | None) -> Iterator[Pruned]:
    stale = _stale(folder)
    for path in sorted(folder.iterdir()):
        if path.name == FACTS_FILE:
            continue
        status = path.stat()
        days = (time.time() - status.st_mtime) / 86400
        if path.suffix == ".part":
            yield Pruned(path, "unfinished", status.st_size)
        elif path.suffix != ".safetensors":
            continue
        elif stale is not None:
            yield Pruned(path, stale, status.st_size)
        elif unused_days is not None and days >= unused_days:
            yield Pruned(path, f"not used for {days:.0f} days", status.st_size)
        elif (reason := damage(path)) is not None:
            yield Pruned(path, reason, status.st_size)


def _remove(folder: Path, pruned: list[Pruned]) -> None:
    for item in pruned:
        item.path.unlink(missing_ok=True)
    if not any(path.name != FACTS_FILE for path in folder.iterdir()):
        (folder / FACTS_FILE).unlink(missing_ok=True)
        folder.rmdir()


def _stores(directory: str | os.PathLike[str] | None) -> list[Path]:
    root = cache_dir(directory)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such feature cache; nothing was cached there")
    return sorted(path.parent for path in root.glob(f"*/{FACTS_FILE}"))


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _describe(folder: Path) -> StoreInfo:
    try:
        facts = read_facts(folder)
    except ValueError:
        facts = {"facts": {}}
    shards = _shards(folder)
    status = [path.stat() for path in shards]
    return StoreInfo(
        path=folder,
        backbone=str(facts.get("backbone", "")),
        facts=facts["facts"],
        features=sum(_count(path) for path in shards),
        bytes=sum(s.st_size for s in status),
        created=float(facts.get("created", 0)),
        last_used=max((s.st_mtime for s in status), default=0.0),
        stale=_stale(folder),
    )


def _count(shard: Path) -> int:
    try:
        with safe_open(shard, "pt") as tensors:
            return int(tensors.get_slice("keys").get_shape()[0])
    except (OSError, SafetensorError):
        return 0


def _stale(folder: Path) -> str | None:
    if (reason := _wrong(folder / FACTS_FILE)) is not None:
        return reason
    facts = read_facts(folder)["facts"]
    if facts.get("format") != FORMAT:
        return f"written in format {facts.get('format')}; this version uses {FORMAT}"
    if facts.get("pixels") != pixel_probe():
        return "Pillow decodes different pixels than when it was written"
    return None


def _wrong(path: Path) -> str | None:
    if path.name != FACTS_FILE:
        return damage(path)
    try:
        name = facts_key(read_facts(path.parent)["facts"])
    except ValueError as error:
        return str(error)
    return None if name == path.parent.name else "it describes another store"
