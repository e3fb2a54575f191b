"""From the name of a model of open_clip to a frozen backbone."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch

from clipiqa_plus.clip.backbone import FrozenCLIP, TextPrecision
from clipiqa_plus.clip.conventions import BackboneSpec, Conventions, foreign_keys
from clipiqa_plus.clip.image_tower import PosEmbedding, Precision
from clipiqa_plus.clip.open_clip.backbone import FrozenOpenCLIP
from clipiqa_plus.clip.open_clip.source import PREFIX, Source, find_source, import_open_clip
from clipiqa_plus.clip.open_clip.tokenizer import tokenizer_of
from clipiqa_plus.clip.weights import build_clip, read_state_dict
from clipiqa_plus.data.fetch.download import sha256_of


def load_open_clip(
    spec: BackboneSpec,
    pos_embedding: PosEmbedding | bool | None = None,
    precision: Precision = "fp32",
    text_precision: TextPrecision = "fp32",
    compile_text: bool = False,
) -> FrozenCLIP:
    """Load a model of open_clip.

    A model of openai-clip's layout runs as OpenAI's do, with all options. Any other runs in
    open_clip's own code, in fp32, with its positional embedding resized to the picture.

    Args:
        spec: See :func:`~clipiqa_plus.clip.open_clip.source.find_source`.
        pos_embedding: See :class:`~clipiqa_plus.clip.backbone.FrozenCLIP`.
        precision: See :class:`~clipiqa_plus.clip.backbone.FrozenCLIP`.
        text_precision: See :class:`~clipiqa_plus.clip.backbone.FrozenCLIP`.
        compile_text: See :class:`~clipiqa_plus.clip.backbone.FrozenCLIP`.

    Raises:
        ValueError: If the model is unknown or not supported, or the weights do not fit it.
        FileNotFoundError: If weights or tokenizer are missing and cannot be downloaded.
        ImportError: If open_clip is missing.
    """
    source = find_source(spec)
    _refuse_unsupported(source)
    facts = spec.settle(source.recorded, source.path)
    digest = sha256_of(source.path)
    if not foreign_keys(source.config):
        try:
            clip = build_clip(read_state_dict(source.path), facts.activation, release=True)
        except ValueError as error:
            raise ValueError(f"{source.path} is not {source.name}: it {error}") from error
        how = (pos_embedding, precision, text_precision, compile_text, facts.mean, facts.std)
        return FrozenCLIP(clip, source.name, digest, *how)
    if precision != "fp32" or text_precision != "fp32" or compile_text:
        raise ValueError(
            f"{source.name} runs in open_clip's own code: precision and text_precision are fp32, "
            "and compile_text is false"
        )
    found = _frozen(source, digest, facts)
    if pos_embedding not in (None, False, found.pos_embedding):
        raise ValueError(
            f"{source.name} has pos_embedding {found.pos_embedding}, not {pos_embedding}; leave it "
            "out"
        )
    return found


def _frozen(source: Source, digest: str, facts: Conventions) -> FrozenOpenCLIP:
    tokenizer = tokenizer_of(source)
    model = _build(source)
    architecture = source.name.removeprefix(PREFIX).partition("/")[0]
    return FrozenOpenCLIP(model, source.name, digest, architecture, tokenizer, facts)


def _refuse_unsupported(source: Source) -> None:
    config, text = source.config, source.config["text_cfg"]
    reasons = {
        "is a captioning model": "multimodal_cfg" in config,
        "has a text tower of the library transformers": "hf_model_name" in text,
        "has a class token in its text tower": bool(text.get("embed_cls")),
        "has a text tower of another kind": "text_arch" in text or "audio_cfg" in config,
    }
    if found := [reason for reason, holds in reasons.items() if holds]:
        raise ValueError(
            f"{source.name} {found[0]}, which is not supported: choose a model with one of "
            "open_clip's own text towers, such as ViT-B-16-SigLIP2"
        )


def _build(source: Source) -> Any:
    """Build open_clip's model with the weights of a file: float32, eval."""
    library = import_open_clip()
    config = deepcopy(source.config)
    custom = config.pop("custom_text", False)
    with torch.random.fork_rng(devices=[]):  # it is built with random weights first
        kind = library.CustomTextCLIP if custom else library.CLIP
        try:
            model = kind(**config)
        except (TypeError, RuntimeError) as error:
            raise ValueError(
                f"{source.name}: open_clip {library.__version__} cannot build it ({error})"
            ) from error
    state = read_state_dict(source.path)
    if custom:
        state = library.model.convert_to_custom_text_state_dict(state)
    if model.logit_bias is not None:  # absent in weights trained without; it cancels in a pair
        state.setdefault("logit_bias", torch.zeros_like(model.logit_bias))
    for key in ("logit_scale", "logit_bias"):
        if key in state and getattr(model, key) is not None:
            state[key] = state[key].reshape(getattr(model, key).shape)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:400]
        raise ValueError(f"{source.path} is not {source.name}: {reason}") from error
    return model.float()
