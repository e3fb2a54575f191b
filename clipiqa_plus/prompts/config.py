"""The prompts as options of a recipe, and the prompt source that they describe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.prompts.files import load_prompts, read_prompts
from clipiqa_plus.prompts.scales import Scale, resolve_pairs, resolve_scales
from clipiqa_plus.prompts.sources import (
    ContextPrompts,
    Position,
    PromptSource,
    ZeroShotPrompts,
)


@dataclass
class PromptConfig:
    """The antonym pairs or scales, and whether context tokens are learned for them."""

    mode: Literal["learned", "zero_shot"] = "learned"
    """Learn context tokens (CLIP-IQA+), or use fixed words (CLIP-IQA)."""
    pairs: list[str | list[str]] = field(default_factory=lambda: ["quality"])
    """Names of built-in antonym pairs, or pairs in words, the high-score prompt first."""
    scales: list[str | list[str]] | None = None
    """In place of pairs: scales of K prompts, the best grade first, or the built-in ``acr``. The
    score is the expected grade."""
    grades: list[float] | None = None
    """Grades of the prompts of a scale, in [0, 1] and falling; by default evenly spaced, 1 to 0."""
    n_ctx: int = 16
    """Number of context tokens."""
    position: Position = "middle"
    """Position of the words among the context tokens."""
    class_specific: bool = False
    """Learn separate context tokens for each prompt instead of shared ones."""
    init: str = "random"
    """``random``, or words whose embeddings initialise the context tokens."""
    seed: int = 0
    """Seed of random context tokens."""
    file: str | None = None
    """Prompt file to start from; it determines the pairs and the layout."""


def words_of(config: PromptConfig) -> list[Scale]:
    """Return the antonym pairs or scales of a configuration in words.

    Raises:
        ValueError: If one is unknown or malformed, or grades are given without scales.
    """
    if config.scales is not None:
        return resolve_scales(config.scales)
    if config.grades is not None:
        raise ValueError("prompts.grades are those of a scale: give prompts.scales too")
    return list(resolve_pairs(config.pairs))


def prompt_source(config: PromptConfig, clip: FrozenCLIP) -> PromptSource:
    """Return the prompt source that a configuration describes.

    Args:
        config: The configuration.
        clip: The backbone.

    Raises:
        ValueError: If the options contradict each other or do not fit the backbone.
        FileNotFoundError: If there is no such prompt file.
    """
    if config.mode == "zero_shot":
        if config.file:
            raise ValueError("prompts.file has learned prompts, but prompts.mode is zero_shot")
        return ZeroShotPrompts(words_of(config), clip.tokenizer, config.grades)
    if config.file:
        if config.scales is not None or config.grades is not None:
            raise ValueError("prompts.file determines the words: leave out scales and grades")
        return load_prompts(config.file, clip)
    learned = ContextPrompts(
        clip,
        words_of(config),
        n_ctx=config.n_ctx,
        position=config.position,
        class_specific=config.class_specific,
        init=config.init,
        seed=config.seed,
    )
    learned.set_grades(config.grades)
    return learned


def summary(prompts: PromptSource) -> list[str]:
    """Return a line for each pair or scale; of learned prompts with the number of tokens."""
    if not isinstance(prompts, ContextPrompts):
        return [f"prompts fixed: {' against '.join(map(repr, pair))}" for pair in prompts.pairs]
    layout = f"{prompts.n_ctx} context tokens, words in the {prompts.position}"
    lines = []
    for pair, eot in zip(prompts.pairs, prompts.eot.tolist(), strict=True):
        words = [f"{word!r} ({end + 1} tokens)" for word, end in zip(pair, eot, strict=True)]
        lines.append(f"prompts {layout}: {' against '.join(words)}")
    return lines


def regressor(n_pairs: int, path: str | None) -> nn.Linear:
    """Return a linear map from P probabilities to one score.

    Args:
        n_pairs: Number P of antonym pairs.
        path: Prompt file whose regressor is used; None starts from the mean of the pairs.

    Raises:
        ValueError: If the file has none.
    """
    linear = nn.Linear(n_pairs, 1)
    nn.init.constant_(linear.weight, 1 / n_pairs)
    nn.init.zeros_(linear.bias)
    if path:
        tensors, _ = read_prompts(path)
        state = {k.removeprefix("regressor."): v for k, v in tensors.items() if "." in k}
        if not state:
            raise ValueError(f"prompt file {path} has no regressor; use the reduction it has")
        linear.load_state_dict(state)
    return linear
