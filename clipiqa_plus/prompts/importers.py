"""Import learned prompts of pyiqa and of the official code, and export prompts for pyiqa.

Four formats, recognised by content:

- a bare tensor ``[n_ctx, W]`` or ``[2, n_ctx, W]``: pyiqa's ``clipiqa+``;
- ``{"params": {"prompt_learner.ctx": [2, n_ctx, W], ...token_prefix, ...token_suffix}}``: pyiqa's
  retrained ``clipiqa+_rn50_512`` and ``clipiqa+_vitL14_512``;
- the same with ``[14, n_ctx, W]``: pyiqa's ``qualiclip+``, a context for each of 14 prompts;
- ``{"state_dict": {"...prompt_learner.ctx": [n_ctx, W], ...}}``: the official code's checkpoint.

None of them records the antonym pair, the position of the words or the positional embedding. The
programs that read them fix these: "Good photo." against "Bad photo.", words in the middle, and
``pos_embedding`` ``table`` for the ``params`` format and ``none`` for the others, for any backbone.
``qualiclip+`` has the pairs :data:`QUALICLIP_PAIRS`, no further full stop, and temperature 2.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipiqa_plus.clip.architectures import ARCHITECTURES
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.image_tower import PosEmbedding
from clipiqa_plus.prompts.checkpoints import read_torch
from clipiqa_plus.prompts.scales import AntonymPair
from clipiqa_plus.prompts.sources import ContextPrompts

_LEARNER = "prompt_learner."
_PARTS = {"ctx": "ctx", "prefix": "token_prefix", "suffix": "token_suffix"}
_BARE, _PARAMS, _OFFICIAL = "pyiqa's tensor", "pyiqa's params", "the official checkpoint"
_QUALICLIP = "pyiqa's qualiclip+"
_POSITIONS: dict[str, PosEmbedding] = {
    **{_BARE: "none", _PARAMS: "table"},
    **{_OFFICIAL: "none", _QUALICLIP: "none"},
}

QUALICLIP_PAIRS: tuple[AntonymPair, ...] = (
    ("Good photo.", "Bad photo."),
    ("Sharp image.", "Blurry image."),
    ("Sharp edges.", "Blurry edges."),
    ("High-resolution image.", "Low-resolution image."),
    ("Noise-free image.", "Noisy image."),
    ("High-quality image.", "Low-quality image."),
    ("Good picture.", "Bad picture."),
)
"""The antonym pairs of QualiCLIP and QualiCLIP+ (pyiqa/archs/qualiclip_arch.py)."""

QUALICLIP_TEMPERATURE = 2.0
"""Temperature of pyiqa's qualiclip and qualiclip+."""


def import_prompts(path: str | PathLike[str], clip: FrozenCLIP) -> ContextPrompts:
    """Read prompts that pyiqa or the official code learned.

    Args:
        path: A file of one of the formats above.
        clip: The backbone they were learned on. For a bare tensor only its width can be checked.
            If the file also holds the embeddings of the words, they must match this backbone.

    Returns:
        The prompts, float32.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the format is unknown, or the file is damaged or for another backbone.
    """
    path = Path(path)
    form, tensors = _recognise(path, read_torch(path))
    ctx = tensors["ctx"].float()
    if clip.pos_embedding != _POSITIONS[form]:
        raise ValueError(
            f"{path}: prompts in the format of {form} need pos_embedding {_POSITIONS[form]}, "
            f"but the backbone {clip.name} has pos_embedding {clip.pos_embedding}; set it to the "
            "former"
        )
    own = 14 if form == _QUALICLIP else 2
    if ctx.ndim not in (2, 3) or (ctx.ndim == 3 and len(ctx) != own) or 0 in ctx.shape:
        raise ValueError(
            f"{path}: context tokens of shape {list(ctx.shape)}; expected [n_ctx, W], "
            "[2, n_ctx, W], or [14, n_ctx, W] in params"
        )
    if ctx.shape[-1] != clip.width:
        raise ValueError(
            f"{path}: context tokens of width {ctx.shape[-1]}, but {clip.name} takes {clip.width}; "
            "use the backbone they were learned on"
        )
    if not ctx.isfinite().all():
        raise ValueError(f"{path}: context tokens are NaN or infinite; download it again")
    layout: dict[str, Any] = {"n_ctx": ctx.shape[-2], "class_specific": ctx.ndim == 3}
    if form == _QUALICLIP:
        if clip.name in ARCHITECTURES:
            raise ValueError(
                f"{path}: prompts of QualiCLIP+ were learned on QualiCLIP's image tower, not on "
                f"OpenAI's {clip.name}; give its weights file (QualiCLIP.pth) as the backbone"
            )
        layout |= {"pairs": QUALICLIP_PAIRS, "extra_stop": False}
    prompts = ContextPrompts(clip, **layout)
    _check_words(path, tensors, prompts, clip)
    with torch.no_grad():
        prompts.ctx.copy_(ctx.view_as(prompts.ctx))
        prompts.steps.fill_(1)  # learned; no format records the number of steps
    prompts.init = f"imported from {form}"
    if form == _QUALICLIP:
        prompts.temperature = QUALICLIP_TEMPERATURE
    return prompts


def imported_position(path: str | PathLike[str]) -> PosEmbedding:
    """Return the positional embedding that the prompts in a file were learned with.

    Args:
        path: A file of one of the formats above.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the format is unknown or the file is damaged.
    """
    path = Path(path)
    return _POSITIONS[_recognise(path, read_torch(path))[0]]


def export_pyiqa(path: str | PathLike[str], prompts: ContextPrompts, clip: FrozenCLIP) -> Path:
    """Write learned prompts in the format that pyiqa reads for their backbone.

    Without positional embedding that is the bare tensor; with ``table`` it is the ``params``
    format, which has a context for each of the two prompts: a shared context is written twice.

    Args:
        path: File to write; replaced only when complete.
        prompts: Prompts learned on the pair "Good photo." and "Bad photo." with the words in the
            middle; pyiqa supports no others.
        clip: The backbone they were learned on.

    Returns:
        The path.

    Raises:
        ValueError: If pyiqa cannot represent the prompts.
        RuntimeError: If they were never trained.
    """
    if not prompts.learned:
        raise RuntimeError(f"{path}: the context tokens are untrained; nothing is written")
    if prompts.position != "middle" or prompts.pairs != [("Good photo.", "Bad photo.")]:
        raise ValueError(
            f"{path}: pyiqa supports only the pair 'Good photo.', 'Bad photo.' with the words in "
            f"position middle; these prompts have {prompts.pairs} in position {prompts.position}"
        )
    if prompts.temperature != 1 or not prompts.extra_stop:
        raise ValueError(
            f"{path}: pyiqa scores clipiqa+ at temperature 1, with the extra full stop"
        )
    if clip.pos_embedding == "grid":
        raise ValueError(
            f"{path}: these prompts were learned with pos_embedding grid, which pyiqa does not "
            "support: it would score with table. Train with pos_embedding table or none"
        )
    ctx = prompts.ctx.detach().float().cpu()
    content: Any = ctx.flatten(0, 1).clone() if prompts.class_specific else ctx.clone()
    if clip.pos_embedding == "table":
        prefix, suffix = _words(prompts, clip)
        both = content if prompts.class_specific else content.expand(2, -1, -1).clone()
        tensors = {"ctx": both, "prefix": prefix, "suffix": suffix}
        content = {"params": {_LEARNER + _PARTS[k]: value for k, value in tensors.items()}}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    torch.save(content, unfinished)
    os.replace(unfinished, path)
    return path


def _recognise(path: Path, content: Any) -> tuple[str, dict[str, Tensor]]:
    """Return the format, and the tensors ``ctx`` and, if present, ``prefix`` and ``suffix``."""
    if isinstance(content, Tensor):
        return _BARE, {"ctx": content}
    for form, key in ((_PARAMS, "params"), (_OFFICIAL, "state_dict")):
        state = content.get(key) if isinstance(content, Mapping) else None
        if not isinstance(state, Mapping):
            continue
        names = [name for name in state if name.endswith(_LEARNER + "ctx")]
        if len(names) > 1:
            raise ValueError(f"{path}: several prompts, {' and '.join(names)}; keep one of them")
        if names:
            stem = names[0].removesuffix("ctx")
            found = {k: state[stem + v] for k, v in _PARTS.items() if stem + v in state}
            is_qualiclip = form == _PARAMS and found["ctx"].ndim == 3 and len(found["ctx"]) == 14
            return (_QUALICLIP if is_qualiclip else form), found
    raise ValueError(
        f"{path}: no prompts in it: expected a tensor, or 'params' or 'state_dict' with a key that "
        f"ends in {_LEARNER}ctx"
    )


def _words(prompts: ContextPrompts, clip: FrozenCLIP) -> tuple[Tensor, Tensor]:
    """Embeddings of the start tokens, [2P, 1, W], and of all after the context, [2P, L, W]."""
    rows, slots = prompts.ids.flatten(0, 1), prompts.is_slot.flatten(0, 1)
    ids = torch.zeros(len(rows), clip.context_length - prompts.n_ctx, dtype=torch.long)
    for row, slot, out in zip(rows, slots, ids, strict=True):
        words = row[~slot]
        out[: len(words)] = words
    embeddings = clip.token_embedding(ids).detach().float().cpu()
    return embeddings[:, :1].clone(), embeddings[:, 1:].clone()


def _check_words(
    path: Path, tensors: dict[str, Tensor], prompts: ContextPrompts, clip: FrozenCLIP
) -> None:
    for name, own in zip(("prefix", "suffix"), _words(prompts, clip), strict=True):
        given = tensors.get(name)
        # Half precision has 11 bits: a rounded copy of the same embedding differs by at most 1e-3.
        if given is not None and not (
            given.shape == own.shape and torch.allclose(given.float(), own, rtol=1e-3, atol=1e-6)
        ):
            raise ValueError(
                f"{path}: its token_{name} {list(given.shape)} is not {clip.name}'s embedding of "
                f"{_quoted(prompts)}; use the backbone the prompts were learned on"
            )


def _quoted(prompts: ContextPrompts) -> str:
    first, second = prompts.pairs[0]
    others = len(prompts.pairs) - 1
    return f"{first!r} and {second!r}" + (f" and {others} other pairs" if others else "")
