"""Save and load learned prompts: safetensors files of tens of KB with complete metadata."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from clipiqa_plus import __version__
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.conventions import Conventions
from clipiqa_plus.clip.image_tower import position_name
from clipiqa_plus.prompts.checkpoints import checkpoint_prompts, is_checkpoint, read_torch
from clipiqa_plus.prompts.importers import import_prompts
from clipiqa_plus.prompts.sources import ContextPrompts

FORMAT = "clipiqa_plus prompts 1"

PROMPT_FILE = "prompts.safetensors"
"""Name of the prompt file in the folder of a run and in a repository of the Hugging Face Hub."""

BEST_PROMPT_FILE = "prompts_best.safetensors"
"""Name of the prompt file of a run's best validation epoch, beside that of its last epoch."""

LAST_CHECKPOINT = Path("checkpoints", "last.ckpt")
"""Path, in the folder of a run, of the checkpoint after its last epoch."""

HUB = "hf://"
"""Prefix of prompts on the Hugging Face Hub: ``hf://user/repo``, ``hf://user/repo@revision``."""


def save_prompts(
    path: str | PathLike[str],
    prompts: ContextPrompts,
    clip: FrozenCLIP,
    regressor: dict[str, Tensor] | None = None,
    licence: str | None = None,
    **facts: Any,
) -> Path:
    """Write learned prompts with all metadata that are needed to use them.

    Args:
        path: File to write; replaced only when complete.
        prompts: Learned context tokens.
        clip: The backbone they were learned on.
        regressor: Weights over several pairs, if learned.
        licence: Licence of the prompts, such as ``CC-BY-4.0``; None if not stated.
        facts: Further metadata (recipe, data set, split, metrics, ...), JSON values.

    Returns:
        The path.

    Raises:
        RuntimeError: If the context tokens were never trained.
    """
    if not prompts.learned:
        raise RuntimeError(f"{path}: the context tokens are untrained; nothing is written")
    tensors = {"ctx": prompts.ctx.detach().float().cpu().contiguous()}
    for name, value in (regressor or {}).items():
        tensors[f"regressor.{name}"] = value.detach().float().cpu().contiguous()
    described = {
        "format": FORMAT,
        **clip.describe(),
        **prompts.describe(),
        "steps": int(prompts.steps),
        "licence": licence,
        "version": __version__,
        **facts,
    }
    return write_prompts(path, tensors, described)


def write_prompts(
    path: str | PathLike[str], tensors: dict[str, Tensor], facts: dict[str, Any]
) -> Path:
    """Write tensors and metadata in the format that :func:`read_prompts` reads.

    Args:
        path: File to write; replaced only when complete.
        tensors: ``ctx`` and, if learned, ``regressor.*``.
        facts: Metadata, JSON values.

    Returns:
        The path.
    """
    metadata = {k: v if isinstance(v, str) else json.dumps(v) for k, v in facts.items()}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    unfinished.write_bytes(save(tensors, metadata))  # save_file's can be read by its owner alone
    os.replace(unfinished, path)
    return path


def find_prompts(source: str | PathLike[str]) -> Path:
    """Return the path of the prompt file that a source refers to.

    Args:
        source: A prompt file or a checkpoint; a folder that contains ``prompts.safetensors``, such
            as a run's; or ``hf://user/repo`` or ``hf://user/repo@revision`` on the Hugging Face
            Hub, downloaded into its cache.

    Raises:
        FileNotFoundError: If there is none, or it cannot be downloaded.
        ImportError: If the Hub is used and huggingface_hub is not installed.
    """
    if isinstance(source, str) and source.startswith(HUB):
        repo, _, revision = source.removeprefix(HUB).partition("@")
        return _fetch(repo, revision or None)
    path = Path(source)
    if path.is_dir():
        last = path / LAST_CHECKPOINT
        path = path / PROMPT_FILE
        if last.is_file() and not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such prompt file: the training was cut short. Resume it "
                f"(train.py --ckpt_path last), or use the prompts in {last}"
            )
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such prompt file")
    return path


def _fetch(repo: str, revision: str | None) -> Path:
    hub = import_hub()
    try:
        return Path(hub.hf_hub_download(repo, PROMPT_FILE, revision=revision))
    except (OSError, ValueError, hub.errors.HTTPError) as error:
        reason = " ".join(str(error).split())
        at = f" at {revision}" if revision else ""
        raise FileNotFoundError(
            f"{HUB}{repo}: {PROMPT_FILE}{at} could not be downloaded ({reason}). Offline, "
            "give the path of the file"
        ) from error


def import_hub() -> ModuleType:
    """Import huggingface_hub.

    Raises:
        ImportError: If it is missing.
    """
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise ImportError(
            "the Hugging Face Hub needs huggingface_hub: pip install '.[hub]'"
        ) from error
    return huggingface_hub


def read_prompts(path: str | PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a prompt file, or the prompts in a training checkpoint.

    Args:
        path: Any source of :func:`find_prompts`, written by :func:`save_prompts` or by training.

    Returns:
        Its tensors (``ctx`` and, if learned, ``regressor.*``) and its metadata.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is neither a prompt file of this format nor a checkpoint.
    """
    path = find_prompts(path)
    if written_by_torch(path):
        content = read_torch(path)
        if not is_checkpoint(content):
            raise ValueError(
                f"{path}: not a prompt file or checkpoint of this package; convert prompts of "
                "pyiqa and of the official code with 'clipiqa prompts import'"
            )
        tensors, facts = checkpoint_prompts(content, path)
        return _checked(path, tensors, _with_names(facts))
    try:
        with safe_open(path, framework="pt") as file:
            raw = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    if raw.get("format") != FORMAT or "ctx" not in tensors:
        raise ValueError(
            f"{path}: not a prompt file of this package (format {raw.get('format')!r}, expected "
            f"{FORMAT!r})"
        )
    try:
        facts = decode_facts(raw)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; the file is damaged") from error
    return _checked(path, tensors, facts)


def load_prompts(path: str | PathLike[str], clip: FrozenCLIP) -> ContextPrompts:
    """Rebuild learned prompts on the backbone that they were learned on.

    Args:
        path: Any source of :func:`find_prompts`, written by :func:`save_prompts`, by training (a
            checkpoint), or by pyiqa or the official code (see
            :mod:`clipiqa_plus.prompts.importers`); the format is recognised by content.
        clip: The backbone; its weights must be those in the file's metadata.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a prompt file, or belongs to another backbone.
    """
    path = find_prompts(path)
    if is_foreign(path):
        return import_prompts(path, clip)
    tensors, facts = read_prompts(path)
    check_backbone(facts, clip, f"prompt file {path}")
    if tensors["ctx"].shape[-1] != clip.width:
        raise ValueError(
            f"prompt file {path}: context tokens of width {tensors['ctx'].shape[-1]}, but "
            f"{clip.name} takes {clip.width}"
        )
    layout = {key: facts[key] for key in ("pairs", "n_ctx", "position", "class_specific")}
    layout["extra_stop"] = facts.get("extra_stop", True)
    try:
        prompts = ContextPrompts(clip, **layout)
        prompts.set_grades(facts.get("grades"))
    except ValueError as error:
        raise ValueError(f"prompt file {path}: {error}") from error
    ctx = tensors["ctx"]
    if facts.get("members") is not None and ctx.shape[1:] == prompts.ctx.shape:
        prompts.set_members(ctx)
    if ctx.shape != prompts.ctx.shape:
        raise ValueError(
            f"prompt file {path}: context tokens of shape {list(tensors['ctx'].shape)}, but its "
            f"metadata describe {list(prompts.ctx.shape)}; the file is damaged"
        )
    with torch.no_grad():
        prompts.ctx.copy_(ctx)
        prompts.steps.fill_(facts["steps"])
    prompts.init = facts.get("init", "")
    prompts.temperature = facts.get("temperature", 1.0)
    return prompts


def written_by_torch(path: str | PathLike[str]) -> bool:
    """Whether ``torch.save`` wrote a file, as it did the prompts of pyiqa and the official code.

    Args:
        path: The file.
    """
    with Path(path).open("rb") as file:
        head = file.read(9)
    # A zip archive, or a bare pickle from older versions. A safetensors file begins with the length
    # of its header, whose lowest byte may equal a pickle's first byte.
    return head[:4] == b"PK\x03\x04" or (head[:1] == b"\x80" and head[8:] != b"{")


def is_foreign(path: str | PathLike[str]) -> bool:
    """Whether a file was written by ``torch.save``, but is not a training checkpoint of ours.

    Args:
        path: The file.

    Raises:
        ValueError: If it is damaged or holds Python objects.
    """
    return written_by_torch(path) and not is_checkpoint(read_torch(path))


def check_backbone(facts: dict[str, Any], clip: FrozenCLIP, holder: str) -> None:
    """Refuse prompts that were learned on another backbone.

    Args:
        facts: Metadata that include those of :meth:`FrozenCLIP.describe`.
        clip: The backbone in use.
        holder: Name of the file or checkpoint for the error message.

    Raises:
        ValueError: If weights, their conventions or positional embedding differ.
    """
    if facts.get("weights_sha256") != clip.fingerprint:
        raise ValueError(
            f"{holder} was learned on {facts.get('backbone')} "
            f"(weights {str(facts.get('weights_sha256'))[:12]}), but the backbone is {clip.name} "
            f"(weights {clip.fingerprint[:12]}); use the backbone it was learned on"
        )
    learned_by = Conventions.recorded(facts).describe()
    for key, value in clip.conventions.describe().items():
        if learned_by[key] != value:
            raise ValueError(
                f"{holder} was learned with {key} {learned_by[key]}, but the backbone {clip.name} "
                f"is computed with {key} {value}; state the former if it is true of these weights, "
                "or learn again"
            )
    architecture = clip.describe().get("architecture")
    if facts.get("architecture") != architecture:
        raise ValueError(
            f"{holder} was learned with the architecture {facts.get('architecture')} of open_clip, "
            f"but the backbone is {clip.name}; use the backbone it was learned on"
        )
    learned_with = position_name(facts.get("pos_embedding"))  # a boolean in earlier files
    if learned_with != clip.pos_embedding:
        raise ValueError(
            f"{holder} was learned with pos_embedding {learned_with}, but the backbone has "
            f"pos_embedding {clip.pos_embedding}; set it to the former"
        )


def _checked(
    path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Refuse tensors and metadata that training cannot have written."""
    if broken := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise ValueError(
            f"{path}: {broken[0]} is NaN or infinite; train again, or download the file again"
        )
    wrong = [key for key, fits in _FACTS.items() if key not in facts or not fits(facts[key])]
    wrong += [key for key, fits in _OPTIONAL.items() if key in facts and not fits(facts[key])]
    if wrong:
        stated = json.dumps(facts[wrong[0]])[:80] if wrong[0] in facts else "missing"
        raise ValueError(f"{path}: its metadata are damaged: {wrong[0]} is {stated}")
    shape = list(tensors["ctx"].shape)
    if len(shape) < 2 or shape[-2] != facts["n_ctx"]:
        raise ValueError(
            f"{path}: context tokens of shape {shape}, but its metadata describe n_ctx "
            f"{facts['n_ctx']}; the file is damaged"
        )
    return tensors, facts


def _are_words(value: Any) -> bool:
    """Whether a value is a list of antonym pairs, or of scales of K prompts each."""
    if not isinstance(value, list) or not all(isinstance(words, list | tuple) for words in value):
        return False
    words = [word for scale in value for word in scale]
    counts = {len(scale) for scale in value}
    return len(counts) == 1 and min(counts) > 1 and all(type(word) is str for word in words)


def _are_grades(value: Any) -> bool:
    return isinstance(value, list) and all(type(grade) in (int, float) for grade in value)


# Required metadata and their checks. Text is not quoted as JSON: "50" is decoded as a number.
_FACTS: dict[str, Callable[[Any], bool]] = {
    "backbone": lambda value: isinstance(value, str | int | float),
    "pairs": _are_words,
    "n_ctx": lambda value: type(value) is int and value > 0,
    "position": lambda value: isinstance(value, str),
    "class_specific": lambda value: isinstance(value, bool),
    "steps": lambda value: type(value) is int and 0 < value < 2**63,
}

_OPTIONAL: dict[str, Callable[[Any], bool]] = {
    "extra_stop": lambda value: isinstance(value, bool),
    "temperature": lambda value: type(value) in (int, float) and 0 < value < math.inf,
    "grades": _are_grades,
}


def decode_facts(raw: dict[str, str]) -> dict[str, Any]:
    """Decode the metadata of a prompt file from text."""
    return _with_names({key: _decode(value) for key, value in raw.items()})


def _with_names(facts: dict[str, Any]) -> dict[str, Any]:
    """Add what earlier files leave out or record as a boolean: all that they were learned with."""
    if "pos_embedding" in facts:
        facts["pos_embedding"] = position_name(facts["pos_embedding"])
    if "weights_sha256" in facts:
        facts |= Conventions.recorded(facts).describe()
    return facts


def _decode(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value
