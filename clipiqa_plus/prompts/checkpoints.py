"""Checkpoints as prompt files: tensors and plain values, read without running any code in them."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FACTS = "clipiqa_plus"
"""Key of a checkpoint under which the module records its backbone and its prompts."""

_CTX, _STEPS, _REGRESSOR = "prompts.ctx", "prompts.steps", "regressor."
_NEEDED = ("backbone", "weights_sha256", "pairs", "n_ctx", "position", "class_specific", "init")


def check_layout(facts: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of another prompt layout.

    Args:
        facts: What the checkpoint records.
        mine: The facts of the module that it is loaded into.

    Raises:
        ValueError: Naming the first difference.
    """
    for name in ("pairs", "grades", "n_ctx", "position", "class_specific", "reduction"):
        if facts.get(name) != mine.get(name):
            raise ValueError(
                f"this checkpoint has {name} {facts.get(name)}, the module has "
                f"{mine.get(name)}; set it to the former"
            )


def read_torch(path: str | PathLike[str]) -> Any:
    """Read a file of ``torch.save`` that holds tensors and plain values only.

    Args:
        path: The file.

    Returns:
        Its content, tensors on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or contains Python objects, which could run code; none of
            them is loaded.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: {_refused(path, error)}") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged or cut short; fetch it again ({error})") from error


def _refused(path: str | PathLike[str], error: Exception) -> str:
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # not a zip archive; none of its code has run
        names = re.findall(r"GLOBAL (\S+)", str(error))
    if not names:
        return "damaged, or not a file of torch.save"
    return (
        f"refused, because it holds Python objects ({', '.join(sorted(names))}), and loading those "
        "can run any code. Checkpoints and prompt files hold tensors and plain values only; do not "
        "use this file unless you know who wrote it and why"
    )


def is_checkpoint(content: Any) -> bool:
    """Whether the content of a file is a checkpoint of this package."""
    return isinstance(content, Mapping) and isinstance(content.get(FACTS), Mapping)


def checkpoint_prompts(
    content: Mapping[str, Any], path: str | PathLike[str]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the prompts in a checkpoint in the form of a prompt file.

    Args:
        content: Return value of :func:`read_torch`.
        path: Its path, for errors.

    Returns:
        The tensors ``ctx`` and, if learned, ``regressor.*``, and their metadata.

    Raises:
        ValueError: If the context tokens are missing or untrained, or metadata are missing.
    """
    facts, state = dict(content[FACTS]), content.get("state_dict") or {}
    missing = [name for name in _NEEDED if name not in facts]
    missing += [name for name in (_CTX, _STEPS) if not isinstance(state.get(name), Tensor)]
    if missing:
        raise ValueError(f"{path}: a checkpoint without {', '.join(missing)}: no prompts to use")
    steps = int(state[_STEPS])
    if steps < 1:
        raise ValueError(f"{path}: the context tokens of this checkpoint are untrained")
    tensors = {"ctx": state[_CTX].float()}
    tensors |= {k: v.float() for k, v in state.items() if k.startswith(_REGRESSOR)}
    return tensors, facts | {"steps": steps, "epoch": content.get("epoch")}
