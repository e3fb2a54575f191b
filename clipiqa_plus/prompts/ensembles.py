"""Ensembles: several prompt files combined into one, whose score is the mean over its members."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import torch

from clipiqa_plus import __version__
from clipiqa_plus.prompts.files import FORMAT, read_prompts, write_prompts

_SAME = (
    *("weights_sha256", "activation", "mean", "std", "architecture", "pos_embedding"),
    *("pairs", "n_ctx", "position", "class_specific", "extra_stop", "temperature", "grades"),
    *("reduction", "mos_range"),
)
"""Metadata that must be equal in all members of an ensemble."""
_KEPT = ("dataset", "dataset_terms", "split", "split_sha256", "samples", "licence")
"""Metadata that an ensemble keeps if its members agree."""


def combine_prompts(
    files: Sequence[str | PathLike[str]], out: str | PathLike[str], licence: str | None = None
) -> Path:
    """Write the contexts of several prompt files into one.

    Args:
        files: Prompt files of one layout and one backbone; a file may be an ensemble itself.
        out: File to write.
        licence: Licence of the ensemble; None keeps the licence that all files state.

    Returns:
        The file.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If there are fewer than two, they differ in more than their context tokens, or
            one has a regressor.
    """
    if len(files) < 2:
        raise ValueError(f"an ensemble takes at least 2 prompt files, not {len(files)}")
    read = [read_prompts(file) for file in files]
    first = read[0][1]
    for file, (tensors, facts) in zip(files, read, strict=True):
        if len(tensors) > 1:
            raise ValueError(f"{file}: has a regressor; an ensemble takes the mean over its pairs")
        for key in _SAME:
            if facts.get(key) != first.get(key):
                raise ValueError(
                    f"{file}: {key} {facts.get(key)}, but {files[0]} has {first.get(key)}; members "
                    "of an ensemble differ in their context tokens only"
                )
    contexts = [t["ctx"] if f.get("members") else t["ctx"][None] for t, f in read]
    ctx = torch.cat(contexts)
    agreed = [key for key in _KEPT if all(facts.get(key) == first.get(key) for _, facts in read)]
    described = {
        **{k: first[k] for k in ("backbone", "precision", *_SAME, *agreed) if k in first},
        "format": FORMAT,
        "steps": max(int(facts["steps"]) for _, facts in read),
        "members": len(ctx),
        "version": __version__,
        **({} if licence is None else {"licence": licence}),
    }
    return write_prompts(out, {"ctx": ctx}, described)
