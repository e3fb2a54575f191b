"""Inspect learned prompts: the words nearest to each context token, and the change from zero-shot.

Nearest words are a hint, not a translation: context tokens need not lie near any word (Zhou et al.,
Learning to Prompt for Vision-Language Models, IJCV 2022, table 4).
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.prompts.sources import ContextPrompts


class Near(NamedTuple):
    """A word of the vocabulary near a context token."""

    word: str
    """A word piece that does not end a word is marked by a final "-"."""
    distance: float
    """Euclidean distance between the token embeddings."""


def nearest_words(
    prompts: ContextPrompts, clip: FrozenCLIP, count: int = 3
) -> dict[str, list[Near]]:
    """Find the words of the vocabulary whose embeddings are nearest to each context token.

    Args:
        prompts: Learned context tokens.
        clip: The backbone they were learned on.
        count: Number of words per context token.

    Returns:
        Words, nearest first, by the name of the context token: ``c1`` or, if class-specific,
        ``pair 1 high c1``; for the best of five grades ``scale 1 grade 5 c1``. Empty for an
        ensemble, whose members differ.
    """
    if prompts.members is not None:
        return {}
    words = clip.tokenizer.vocabulary()
    device = prompts.ctx.device
    with torch.inference_mode():
        table = clip.token_embedding(torch.arange(len(words), device=device)).float()
        rows = prompts.ctx.detach().float().flatten(0, -2)
        distances, ids = torch.cdist(rows, table, compute_mode="donot_use_mm_for_euclid_dist").topk(
            count, largest=False
        )
    found = zip(_names(prompts), ids.tolist(), distances.tolist(), strict=True)
    return {
        name: [Near(words[i], d) for i, d in zip(near, far, strict=True)]
        for name, near, far in found
    }


def text_cosines(prompts: ContextPrompts, clip: FrozenCLIP) -> list[tuple[str, float]]:
    """Cosines between learned and zero-shot text features.

    Args:
        prompts: Learned context tokens.
        clip: The backbone they were learned on.

    Returns:
        Each prompt in words with the cosine between its learned and its zero-shot text feature, in
        [-1, 1] (for an ensemble, the mean over its members); best prompt of a pair or scale first.
    """
    with torch.inference_mode():
        learned = prompts(clip)
        fixed = prompts.in_words(clip)(clip)
        cosines = (
            (learned * fixed)
            .sum(dim=-1)
            .reshape(-1, prompts.count * len(prompts.pairs))
            .mean(dim=0)
        )
    words = (word for pair in prompts.pairs for word in pair)
    return list(zip(words, cosines.tolist(), strict=True))


def _names(prompts: ContextPrompts) -> list[str]:
    tokens = [f"c{i + 1}" for i in range(prompts.n_ctx)]
    if not prompts.class_specific:
        return tokens
    kind, sides = "pair", ["high", "low"]
    if prompts.count > 2:
        kind, sides = "scale", [f"grade {grade}" for grade in range(prompts.count, 0, -1)]
    each = [f"{kind} {p + 1} {side}" for p in range(len(prompts.pairs)) for side in sides]
    return [f"{side} {token}" for side in each for token in tokens]
