"""A context in which fp32 means fp32: features must not depend on who encodes a picture, or when.

On a GPU torch computes fp32 convolutions in TF32 by default, and matrix products too where a user
asks for that, with 10 bits of fraction in place of 23. An autocast around a training step would
lower the precision of a picture that is encoded live, but not of a cached one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_precision(device: str) -> Iterator[None]:
    """Turn TF32 and autocast off, for the process and the thread, and restore both.

    Args:
        device: Type of the device that computes.
    """
    flags = _flags()
    before = [getattr(owner, name) for owner, name, _ in flags]
    try:
        for owner, name, off in flags:
            setattr(owner, name, off)
        with torch.autocast(device, enabled=False):
            yield
    finally:
        for (owner, name, _), value in zip(flags, before, strict=True):
            setattr(owner, name, value)


def _flags() -> list[tuple[Any, str, Any]]:
    """Return owner, name and value for fp32 of each flag; torch 2.9 renamed them."""
    backends: Any = torch.backends
    if hasattr(backends, "fp32_precision"):
        owners = (
            backends.cudnn.conv,
            backends.cuda.matmul,
            backends.mkldnn.conv,
            backends.mkldnn.matmul,
        )
        return [(owner, "fp32_precision", "ieee") for owner in owners]
    return [(backends.cudnn, "allow_tf32", False), (backends.cuda.matmul, "allow_tf32", False)]
