"""Read the tensors of a TorchScript archive without running any of its code.

OpenAI publishes CLIP as such archives. torch's own loader compiles their code and may run it. Here
only the data are read: `data.pkl`, a pickle of the modules' attributes, and `data/N`, the bytes of
the tensors. Python's unpickler would call whatever a pickle names; this reader implements only the
few operations that a pickle of modules and tensors needs and refuses all others.
"""

import math
import os
import pickle
import pickletools
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

_DTYPES = {
    "torch BoolStorage": torch.bool,
    "torch ByteStorage": torch.uint8,
    "torch CharStorage": torch.int8,
    "torch ShortStorage": torch.int16,
    "torch IntStorage": torch.int32,
    "torch LongStorage": torch.int64,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch FloatStorage": torch.float32,
    "torch DoubleStorage": torch.float64,
}

# CLIP's text blocks store the causal mask as a plain attribute, not as part of the state dict.
_NO_STATE = "attn_mask"


def read_torchscript(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the state dict of a TorchScript archive.

    Args:
        path: The archive.

    Returns:
        Tensors by the names of their modules, on the CPU, in the precision of the file.

    Raises:
        pickle.UnpicklingError: It holds anything other than modules and tensors.
        RuntimeError: It is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            records = {info.filename.partition("/")[2]: info for info in archive.infolist()}
            root = _unpickle(_read(archive, records["data.pkl"]))
            order = records.get("byteorder")
            if order and archive.read(order).decode() != sys.byteorder:
                raise RuntimeError(f"its numbers are not {sys.byteorder}-endian")
            storages: dict[str, Tensor] = {}
            state = {}
            for name, (key, dtype, offset, size, stride) in _tensors_of(root, "", set()):
                if key not in storages:
                    storages[key] = _numbers(_read(archive, records[f"data/{key}"]), dtype)
                if math.prod(size) > len(storages[key]):  # strides of 0 could make it any size
                    raise RuntimeError(f"{name} is larger than its data")
                state[name] = storages[key].as_strided(size, stride, offset)
            return state
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise RuntimeError(str(error)) from error
    except (TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise pickle.UnpicklingError(f"not a pickle of modules and tensors ({error})") from error


class _Global(str):
    """The name of a class or function, as `module name`."""


class _Record(NamedTuple):
    """A tensor: the key of its storage, and its view of that storage."""

    key: str
    dtype: torch.dtype
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(eq=False)
class _Module:
    """A module of any class."""

    attributes: dict[Any, Any] = field(default_factory=dict)


def _unpickle(data: bytes) -> Any:
    """Interpret a pickle of modules, tensors and plain values."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}

    def since_mark() -> list[Any]:
        start = marks.pop()
        values = stack[start:]
        del stack[start:]
        return values

    for code, arg, _ in pickletools.genops(data):
        match code.name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "BINUNICODE" | "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                stack.append(arg)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[code.name])
            case "GLOBAL":
                stack.append(_Global(arg))
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "MARK":
                marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(code.name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "APPENDS":
                values = since_mark()
                stack[-1].extend(values)
            case "SETITEMS":
                values = since_mark()
                stack[-1].update(zip(values[::2], values[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT":
                memo[arg] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[arg])
            case "BINPERSID":  # a storage: type, record, device and length
                _, dtype, key, _, _ = stack.pop()
                stack.append((key, _DTYPES[dtype]))
            case "NEWOBJ" | "REDUCE":
                arguments, called = stack.pop(), stack.pop()
                stack.append(_make(called, arguments))
            case "BUILD":
                attributes = stack.pop()
                if not isinstance(stack[-1], _Module) or not isinstance(attributes, dict):
                    raise pickle.UnpicklingError("an object with a state of its own")
                stack[-1].attributes = attributes
            case other:
                raise pickle.UnpicklingError(f"the operation {other}")
    return stack.pop()


def _make(called: Any, arguments: Any) -> Any:
    """Return a stand-in for the result of a call."""
    if isinstance(called, _Global):
        if called.startswith("__torch__."):
            return _Module()
        if called == "collections OrderedDict" and not arguments:
            return {}
        if called.startswith("torch.jit._pickle "):  # a list or mapping with its type
            return arguments[0]
        if called == "torch._utils _rebuild_tensor_v2":
            (key, dtype), offset, size, stride, *_ = arguments
            return _Record(key, dtype, offset, size, stride)
    raise pickle.UnpicklingError(f"a call of {called}")


def _tensors_of(module: _Module, prefix: str, seen: set[int]) -> Iterator[tuple[str, _Record]]:
    """Yield the tensors of a module and of its submodules, each once."""
    seen.add(id(module))
    for name, value in module.attributes.items():
        if isinstance(value, _Record) and name != _NO_STATE:
            yield f"{prefix}{name}", value
        elif isinstance(value, _Module) and id(value) not in seen:
            yield from _tensors_of(value, f"{prefix}{name}.", seen)


def _read(archive: zipfile.ZipFile, record: zipfile.ZipInfo) -> bytes:
    if record.compress_type != zipfile.ZIP_STORED:  # torch compresses only code
        raise RuntimeError(f"its record {record.filename} is compressed")
    return archive.read(record)


def _numbers(data: bytes, dtype: torch.dtype) -> Tensor:
    """Return a storage as a tensor of one dimension."""
    if not data:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype)
