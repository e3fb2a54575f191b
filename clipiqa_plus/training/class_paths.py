"""The classes that a recipe may name.

People share recipes and the config.yaml of their runs, and running one instantiates every class
that a ``class_path`` names. A recipe may therefore name optimizers, loggers, callbacks, views and
data modules, but no other classes and no functions.
"""

from __future__ import annotations

import enum
import importlib
import inspect
from collections.abc import Iterator, Mapping
from datetime import timedelta
from os import PathLike
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger
from torch.optim import Optimizer

from clipiqa_plus.data.base import IQADataModule
from clipiqa_plus.module import sgd

ROLES = "optimizers, loggers, callbacks, views and data modules"
_BASES = (Optimizer, Logger, Callback, IQADataModule)
_PLAIN = (str, int, float, bool, type(None), PathLike, enum.Enum, timedelta)


def check_class_paths(config: Any, remedy: str = "") -> None:
    """Refuse a config that names a class or function that is not allowed.

    Args:
        config: A parsed config, before anything in it is instantiated.
        remedy: Remedy to append to the error message.

    Raises:
        ValueError: If an option names such a class or function; the message names both.
    """
    for option, value in _values("", config):
        if isinstance(value, _ClassPath):
            refused = None if _has_role(value) else str(value)
        elif isinstance(value, _PLAIN) or value is sgd:
            refused = None
        else:
            refused = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value)}"
        if refused:
            raise ValueError(
                f"{option}: {refused} is refused: a recipe may name classes of {ROLES}, no other "
                f"classes and no functions{remedy}"
            )


class _ClassPath(str):
    """The import path of a class, to tell it from other strings."""


def _values(option: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every class path and every leaf value of a config, each with its option."""
    if hasattr(value, "as_dict"):  # jsonargparse's Namespace
        value = vars(value)
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "class_path":
                yield option, _ClassPath(inner)
            else:
                yield from _values(f"{option}.{key}".removeprefix("."), inner)
    elif isinstance(value, list | tuple | set):
        for index, inner in enumerate(value):
            yield from _values(f"{option}[{index}]", inner)
    else:
        yield option, value


def _has_role(path: str) -> bool:
    module, _, name = path.rpartition(".")
    try:
        named = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return False
    if not inspect.isclass(named):
        return False
    is_view = callable(getattr(named, "key", None)) and "__call__" in vars(named)
    return issubclass(named, _BASES) or is_view
