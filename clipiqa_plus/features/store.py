"""FeatureStore: features on disk, in write-once files that can be verified.

A store is one folder for one encoding configuration. Its features are in shards, safetensors files
named by the SHA-256 of their content. A shard is complete or absent, even if a process was killed,
and there is no index that could disagree with the files. Shards are never changed; any number of
processes may read and write at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from filelock import FileLock
from lightning.pytorch.utilities import rank_zero_warn
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from clipiqa_plus.clip.conventions import OPENAI
from clipiqa_plus.features.identity import pixel_probe

StorageDtype = Literal["fp32", "fp16"]
_DTYPES = {"fp32": torch.float32, "fp16": torch.float16}

FORMAT = 2
"""Increase it when the layout of a store changes, or when the same backbone, file, resize and view
give different features."""

FACTS_FILE = "store.json"
KEY_BYTES = 32
_ABOUT = "features"  # the entry of a shard's metadata


def cache_dir(given: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of all feature stores.

    Args:
        given: The folder; by default ``$CLIPIQA_CACHE/features``, else
            ``~/.cache/clipiqa_plus/features``.
    """
    if given is None:
        given = Path(os.environ.get("CLIPIQA_CACHE") or "~/.cache/clipiqa_plus") / "features"
    return Path(given).expanduser()


class FeatureStore:
    """The features of one encoding configuration.

    Nothing is written before :meth:`write`, so a complete cache may be read-only.

    Args:
        directory: Folder of all stores.
        encoding: What determines the features of a picture: the backbone's ``describe()``.
        dim: Length D of a feature.
        resize: Resize before the view is taken.
        dtype: Number format on disk.

    Raises:
        ValueError: If the folder describes another store.
    """

    def __init__(
        self,
        directory: Path,
        encoding: dict[str, Any],
        dim: int,
        resize: int | Sequence[int] | None = None,
        dtype: StorageDtype = "fp32",
    ) -> None:
        if dtype not in _DTYPES:
            raise ValueError(f"dtype {dtype!r} of the cache; choose from {', '.join(_DTYPES)}")
        self.name = str(encoding.get("backbone", ""))
        self.facts = {
            "format": FORMAT,
            **_identity(encoding),
            "dim": dim,
            "resize": resize if isinstance(resize, int) or resize is None else list(resize),
            "dtype": dtype,
            "pixels": pixel_probe(),
        }
        self.key = facts_key(self.facts)
        self.folder = directory / self.key
        self.dim = dim
        self.dtype = _DTYPES[dtype]
        self.lock = FileLock(directory / f"{self.key}.lock")
        self._where: dict[bytes, tuple[Path, int]] = {}
        self._seen: set[Path] = set()
        self._sound: set[Path] = set()
        self.damaged: set[Path] = set()
        """Shards whose content does not match their name; their features count as missing."""
        if (self.folder / FACTS_FILE).is_file():
            found = read_facts(self.folder).get("facts")
            if found != self.facts:
                raise ValueError(
                    f"{self.folder / FACTS_FILE} describes another store than its folder's name; "
                    "remove the folder, or name another cache"
                )

    def missing(self, keys: Iterable[bytes]) -> set[bytes]:
        """Return the keys that have no feature here, after reading the folder again.

        Every shard that holds one of the keys is checked against its SHA-256. A damaged shard
        triggers a warning, and its features count as missing.
        """
        self.refresh()
        wanted = set(keys)
        shards = {self._where[key][0] for key in wanted & self._where.keys()}
        for shard in sorted(shards - self._sound):
            if (reason := damage(shard)) is None:
                self._sound.add(shard)
            else:
                self._drop(shard, reason)
        return wanted - self._where.keys()

    def refresh(self) -> None:
        """Read the keys of shards that were added since the last refresh."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if path in self._seen:
                continue
            self._seen.add(path)
            try:
                keys = self._keys(path)
            except FileNotFoundError:
                # Removed since the listing; it may reappear, since its name is that of its content.
                self._seen.discard(path)
                continue
            except (OSError, SafetensorError, ValueError) as error:
                self._drop(path, str(error))
                continue
            for row, key in enumerate(keys):
                self._where.setdefault(key, (path, row))

    def _keys(self, path: Path) -> list[bytes]:
        with safe_open(path, "pt") as shard:
            owner = json.loads((shard.metadata() or {}).get(_ABOUT, "{}")).get("store")
            if owner != self.key:
                raise ValueError(f"it belongs to store {owner}")
            keys = shard.get_tensor("keys")
            features = shard.get_slice("features")
            if keys.shape != (len(keys), KEY_BYTES) or keys.dtype != torch.uint8:
                raise ValueError(f"keys of shape {tuple(keys.shape)} and type {keys.dtype}")
            if features.get_shape() != [len(keys), self.dim]:
                raise ValueError(f"features of shape {features.get_shape()}")
        return [row.tobytes() for row in keys.numpy()]

    def _drop(self, path: Path, reason: str) -> None:
        rank_zero_warn(
            f"{path} is damaged ({reason}); its features are encoded again from their pictures"
        )
        self.damaged.add(path)
        self._where = {key: at for key, at in self._where.items() if at[0] != path}

    def read(self, keys: Sequence[bytes]) -> Tensor:
        """Return features by their keys, copied from the memory-mapped shards.

        Returns:
            [len(keys), D] in the number format of the store, on the CPU.

        Raises:
            KeyError: If a key is missing; see :meth:`missing`.
        """
        locations = [self._where[key] for key in keys]
        result = torch.empty(len(keys), self.dim, dtype=self.dtype)
        of_shard: dict[Path, list[int]] = {}
        for index, (path, _) in enumerate(locations):
            of_shard.setdefault(path, []).append(index)
        for path, members in of_shard.items():
            with safe_open(path, "pt") as shard:
                rows = [locations[index][1] for index in members]
                result[members] = shard.get_tensor("features")[rows]
        self._mark_used(of_shard)
        return result

    def _mark_used(self, shards: Iterable[Path]) -> None:
        """Record the time of use for :func:`~clipiqa_plus.features.prune`."""
        with contextlib.suppress(OSError):  # a read-only cache
            for path in shards:
                os.utime(path)

    def write(self, keys: Sequence[bytes], features: Tensor, **metadata: str) -> Path:
        """Add a shard atomically.

        Args:
            keys: Keys of the features, 32 bytes each.
            features: [len(keys), D].
            metadata: Further metadata, for information only.

        Returns:
            The shard's path.

        Raises:
            OSError: If it cannot be written.
        """
        table = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES)
        content = save(
            {
                "keys": torch.from_numpy(table.copy()),
                "features": features.to("cpu", self.dtype).contiguous(),
            },
            # A single entry: safetensors writes several in an order that varies between processes.
            {_ABOUT: json.dumps({"store": self.key, **metadata})},
        )
        if not (self.folder / FACTS_FILE).is_file():
            facts = {"facts": self.facts, "backbone": self.name, "created": time.time()}
            _write(self.folder / FACTS_FILE, json.dumps(facts, indent=2).encode())
        path = self.folder / f"{hashlib.sha256(content).hexdigest()}.safetensors"
        _write(path, content)
        return path

    def tidy(self) -> None:
        """Remove damaged shards and unfinished files; only while holding the lock."""
        for path in (*self.damaged, *self.folder.glob(".*.part")):
            path.unlink(missing_ok=True)

    def forget_damage(self) -> None:
        """Check damaged shards again: they may have been rewritten under the same name."""
        self._seen -= self.damaged
        self.damaged.clear()


def _identity(encoding: dict[str, Any]) -> dict[str, Any]:
    """Return the facts that identify a store, in the form of earlier versions."""
    # Without the name: the same weights may be loaded by name or from a file.
    facts = {key: value for key, value in encoding.items() if key != "backbone"}
    conventions = OPENAI.describe()
    if {key: facts.get(key) for key in conventions} == conventions:
        facts = {key: value for key, value in facts.items() if key not in conventions}
    earlier = {"none": False, "grid": True}
    if (position := facts.get("pos_embedding")) in earlier:
        facts["pos_embedding"] = earlier[position]
    if facts.get("precision", "fp32") != "fp32":
        facts["rounding"] = 2  # BatchNorm apart in fp16, attention pool and embeddings in fp32
    return facts


def facts_key(facts: dict[str, Any]) -> str:
    """Return the name of a store's folder: 16 hex digits of its facts' SHA-256."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def read_facts(folder: Path) -> dict[str, Any]:
    """Return the description of a store: ``facts``, ``backbone`` and ``created`` (s).

    Raises:
        ValueError: If its file is not readable as that.
    """
    path = folder / FACTS_FILE
    try:
        found = json.loads(path.read_text())
        if not isinstance(found["facts"], dict):
            raise TypeError("facts are no mapping")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); remove the folder") from error
    return dict(found)


def damage(shard: Path) -> str | None:
    """Return what is wrong with a shard's content; None if it matches its name."""
    try:
        with shard.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return str(error)
    return None if digest == shard.stem else f"its SHA-256 is {digest[:16]}..., not its name"


def _write(path: Path, content: bytes) -> None:
    """Write a file atomically, even across a power failure."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise type(error)(
            f"feature cache {path.parent} cannot be written ({error}); free some space, or choose "
            "another folder"
        ) from error
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name, too
        finally:
            os.close(folder)
