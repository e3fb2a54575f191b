"""Reads what Weights & Biases writes offline."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def wandb_records(path: Path) -> Iterator[Any]:
    """Records of an offline run: LevelDB's log format behind a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, whole = path.read_bytes(), 7, b""
    while at < len(content):
        left = 32768 - at % 32768
        if left < 7:  # no header fits the rest of a block
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7].ljust(7, b"\0"))
        if at + 7 + length > len(content):
            return  # still being written
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(whole)
            whole = b""


def wandb_artifacts(path: Path, patience: float = 30) -> list[Any]:
    """The artifacts that an offline run has logged, once the process that writes is done."""
    kinds: list[tuple[str, Any]] = []
    until = time.monotonic() + patience
    while "exit" not in dict(kinds):
        assert time.monotonic() < until, f"{path} is not complete"
        time.sleep(0.1)
        kinds = [(r.WhichOneof("record_type"), r) for r in wandb_records(path)]
    return [record.artifact for kind, record in kinds if kind == "artifact"]
