"""Context manager for full fp32 precision: features must not depend on the caller's settings.

On a GPU torch computes fp32 convolutions in TF32 by default, and matrix products if the user
enables that; TF32 has 10 fraction bits instead of 23. Autocast around a training step would lower
the precision of pictures that are encoded live, but not of cached ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_precision(device: str) -> Iterator[None]:
    """Disable TF32 (for the process) and autocast (for the thread); restore both on exit.

    Args:
        device: Type of the device in use, such as ``cuda``.
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
    """Return owner, name and full-precision value of each flag; torch 2.9 renamed them."""
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
