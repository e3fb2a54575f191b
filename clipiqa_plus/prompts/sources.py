"""Prompt sources: each turns antonym pairs, or scales of K prompts, into text features [P, K, D].

Zero-shot CLIP-IQA and learned CLIP-IQA+ differ in this one object and in nothing after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from clipiqa_plus.clip.tokenizers import CLIP_TOKENIZER, Tokenizer
from clipiqa_plus.prompts.scales import Scale, check_grades, resolve_words

Position = Literal["middle", "front", "end"]


class TextEncoder(Protocol):
    """The part of a frozen CLIP that a prompt source uses."""

    name: str
    logit_scale: float

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer."""

    @property
    def width(self) -> int:
        """Length W of a token embedding."""

    def token_embedding(self, ids: Tensor) -> Tensor:
        """int64 [...] -> float32 [..., W]."""

    def encode_text(self, embeddings: Tensor, eot: Tensor, shared: int = 0) -> Tensor:
        """float32 [(M,) N, L, W], int64 [N], length of the common prefix -> [(M,) N, D]."""


class PromptSource(nn.Module):
    """Base of the prompt sources.

    Args:
        pairs: Antonym pairs or scales in words, the best grade first.
        prompts: Lists of token ids, K for each of the P pairs or scales.
        tokenizer: The tokenizer that made them, of the backbone that will encode them.

    Attributes:
        pairs: The P pairs or scales in words.
        ids: int64 [P, K, L], token ids, padded.
        eot: int64 [P, K], position of the text feature: that of the end-of-text token in CLIP.
        vocabulary: Name of the tokenizer.
        shared: Number of leading tokens that all prompts have in common and that are computed
            only once; 0 if that is not worthwhile.
        temperature: Divides the logits: 1 but for prompts learned or published with another.
        grades: Grades of the K prompts, falling; None spaces them evenly from 1 to 0.
    """

    ids: Tensor
    eot: Tensor
    shared: int = 0
    temperature: float = 1.0
    grades: tuple[float, ...] | None = None

    def __init__(
        self,
        pairs: Sequence[str | Sequence[str]],
        prompts: list[list[list[int]]],
        tokenizer: Tokenizer,
    ) -> None:
        super().__init__()
        self.pairs: list[Scale] = [tuple(words) for words in pairs]
        self.vocabulary = tokenizer.name
        ids, eot = tokenizer.pack(prompts)
        # Not in the state dict: the tokens follow from the words, which are in the metadata.
        self.register_buffer("ids", ids, persistent=False)
        self.register_buffer("eot", eot, persistent=False)

    @property
    def learned(self) -> bool:
        """Whether the source holds trained parameters."""
        return False

    @property
    def count(self) -> int:
        """Number K of prompts of each scale; 2 for antonym pairs."""
        return len(self.pairs[0])

    def set_grades(self, grades: Sequence[float] | None) -> None:
        """Give the K prompts of each scale their grades.

        Args:
            grades: See :func:`~clipiqa_plus.prompts.scales.check_grades`.

        Raises:
            ValueError: See there.
        """
        self.grades = check_grades(grades, self.count)

    @property
    def levels(self) -> Tensor | None:
        """Grades of the prompts, worst first, float32 [K]; None if evenly spaced from 0 to 1."""
        return None if self.grades is None else torch.tensor(self.grades[::-1])

    def in_words(self, clip: TextEncoder) -> ZeroShotPrompts:
        """Return the fixed words without context tokens, on the device of the prompts."""
        return ZeroShotPrompts(self.pairs, clip.tokenizer, self.grades).to(self.ids.device)

    def logit_scale(self, clip: TextEncoder) -> float:
        """Return the factor from cosine to logit: the backbone's, divided by the temperature."""
        return clip.logit_scale / self.temperature

    def embeddings(self, clip: TextEncoder) -> Tensor:
        """Return the token embeddings of all prompts: float32 [P, K, L, W]."""
        return self.word_embeddings(clip)

    def word_embeddings(self, clip: TextEncoder) -> Tensor:
        """Return the embeddings of the words and special tokens: float32 [P, K, L, W].

        Raises:
            ValueError: If the backbone has another tokenizer than the one that made the ids.
        """
        if clip.tokenizer.name != self.vocabulary:
            raise ValueError(
                f"these prompts are in token ids of {self.vocabulary}, but {clip.name} has the "
                f"tokenizer {clip.tokenizer.name}: make them with its tokenizer"
            )
        return clip.token_embedding(self.ids)

    def forward(self, clip: TextEncoder) -> Tensor:
        """Encode the prompts.

        Args:
            clip: The frozen CLIP, on the same device.

        Returns:
            Unit text features, float32 [P, K, D]; index 0 is the prompt of the best grade.
        """
        embeddings = self.embeddings(clip)
        features = clip.encode_text(embeddings.flatten(0, 1), self.eot.flatten(), self.shared)
        return features.unflatten(0, (len(self.pairs), self.count))


class ZeroShotPrompts(PromptSource):
    """Fixed prompts: CLIP-IQA (paper, equations 2 and 3).

    Args:
        pairs: Antonym pairs or scales in words, the best grade first.
        tokenizer: That of the backbone; openai-clip's by default.
        grades: Grades of the prompts of a scale, see
            :func:`~clipiqa_plus.prompts.scales.check_grades`.
    """

    def __init__(
        self,
        pairs: Sequence[str | Sequence[str]] = ("quality",),
        tokenizer: Tokenizer = CLIP_TOKENIZER,
        grades: Sequence[float] | None = None,
    ) -> None:
        words = resolve_words(pairs)
        prompts = [[[*chain(*_split(prompt, tokenizer))] for prompt in pair] for pair in words]
        super().__init__(words, prompts, tokenizer)
        self.set_grades(grades)


class StoredPrompts(ZeroShotPrompts):
    """Fixed prompts whose text features come from a file, in place of the text tower.

    Args:
        pairs: Antonym pairs or scales in words, the best grade first.
        features: Their unit text features, float32 [P, K, D].

    Raises:
        ValueError: If there is not one feature for each prompt, or they are not of unit length.
    """

    features: Tensor

    def __init__(self, pairs: Sequence[str | Sequence[str]], features: Tensor) -> None:
        super().__init__(pairs)
        if features.ndim != 3 or features.shape[:2] != (len(self.pairs), self.count):
            raise ValueError(
                f"text features of shape {list(features.shape)}; expected "
                f"[{len(self.pairs)}, {self.count}, D]"
            )
        # Half precision rounds a length to about 1e-3.
        if not ((features.float().norm(dim=-1) - 1).abs() < 5e-3).all():
            raise ValueError("text features are not of unit length; the file is damaged")
        self.register_buffer("features", features.float().clone(), persistent=False)

    def forward(self, clip: TextEncoder) -> Tensor:
        """Return the stored text features, float32 [P, K, D]."""
        return self.features


class ContextPrompts(PromptSource):
    """Learned context tokens around fixed words: CLIP-IQA+.

    The layout for "Good photo." in the middle of 16 context tokens is
    ``[start] c1..c8 good photo .. c9..c16 [end]``, 21 tokens. It reproduces a quirk of the
    official code, which appends a full stop to the words although they already end in one. The
    tokenizer has a single token for ".." (852; "." is 269), and published prompts were trained
    with that token.

    Args:
        clip: Provides the width W and, for ``init`` by words, their embeddings.
        pairs: Antonym pairs or scales in words, the best grade first.
        n_ctx: Number of context tokens.
        position: Position of the words: after half of the context tokens (``middle``, the
            official recipe), before all (``front``) or after all (``end``).
        class_specific: Learn separate context tokens for each of the K P prompts.
        init: ``random``, N(0, 0.02) as in the official code, or words with ``n_ctx`` tokens, or
            with one token, which is then repeated ("X" is pyiqa's choice).
        seed: Seed of the random context tokens.
        extra_stop: Append a full stop to the words, as the official code does.

    Attributes:
        ctx: The context tokens, float32 [n_ctx, W], or [P, K, n_ctx, W] if class-specific; with a
            leading axis of M members if the prompts are an ensemble, see :meth:`set_members`.
        steps: Number of optimizer steps taken on the context tokens.
    """

    slots: Tensor
    is_slot: Tensor
    steps: Tensor

    def __init__(
        self,
        clip: TextEncoder,
        pairs: Sequence[str | Sequence[str]] = ("quality",),
        n_ctx: int = 16,
        position: Position = "middle",
        class_specific: bool = False,
        init: str = "random",
        seed: int = 0,
        extra_stop: bool = True,
    ) -> None:
        if n_ctx < 1:
            raise ValueError(f"n_ctx is {n_ctx}; learn at least one context token")
        words = resolve_words(pairs)
        if position not in ("middle", "front", "end"):
            raise ValueError(f"position {position!r}; choose middle, front or end")
        tokenizer = clip.tokenizer
        how = (n_ctx, position, extra_stop, tokenizer)
        rows = [[_with_context(p, *how) for p in pair] for pair in words]
        super().__init__(words, rows, tokenizer)
        ids, eot = self.ids, self.eot
        self.ids = ids.clamp(min=0)
        if not class_specific and not tokenizer.padded:
            same = (ids == ids[0, 0]).all(dim=0).all(dim=0)  # [L]
            self.shared = min(int(same.cumprod(dim=0).sum()), int(eot.min()))
        self.n_ctx = n_ctx
        self.position: Position = position
        self.class_specific = class_specific
        self.extra_stop = extra_stop
        self.init = init
        shape = (len(words), len(words[0]), n_ctx) if class_specific else (n_ctx,)
        self.ctx = nn.Parameter(_initial_context(clip, init, shape, seed))
        self.register_buffer("slots", -1 - ids.clamp(max=-1), persistent=False)
        self.register_buffer("is_slot", ids < 0, persistent=False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    @property
    def learned(self) -> bool:
        """Whether the context tokens were ever trained or loaded."""
        return bool(self.steps > 0)

    def embeddings(self, clip: TextEncoder) -> Tensor:
        """Return the token embeddings, context tokens included: float32 [P, K, L, W]."""
        return self._set_in(clip, self.ctx)

    @property
    def members(self) -> int | None:
        """Number M of contexts of an ensemble; None for a single context."""
        return len(self.ctx) if self.ctx.ndim in (3, 5) else None

    def set_members(self, ctx: Tensor) -> None:
        """Turn the prompts into an ensemble, whose score is the mean over its members.

        Args:
            ctx: M contexts, see :meth:`encode_contexts`.

        Raises:
            ValueError: If they do not have this layout.
        """
        single = self.ctx.shape if self.members is None else self.ctx.shape[1:]
        if ctx.shape[1:] != single or not len(ctx):
            raise ValueError(f"contexts of shape {list(ctx.shape)}; expected [M, {list(single)}]")
        self.ctx = nn.Parameter(ctx.detach().to(self.ctx).clone())

    def forward(self, clip: TextEncoder) -> Tensor:
        """Encode the prompts: float32 [P, K, D], or [M, P, K, D] of an ensemble."""
        if self.members is not None:
            return self.encode_contexts(clip, self.ctx)
        return super().forward(clip)

    def encode_contexts(self, clip: TextEncoder, ctx: Tensor) -> Tensor:
        """Encode the prompts with M given contexts at once, instead of the module's own.

        One pass over M contexts is faster than M passes, each of which leaves most of a processor
        idle.

        Args:
            clip: The frozen CLIP, on the same device.
            ctx: M contexts, float32 [M, n_ctx, W], or [M, P, K, n_ctx, W] if class-specific.

        Returns:
            Unit text features, float32 [M, P, K, D].
        """
        embeddings = self._set_in(clip, ctx).flatten(1, 2)  # [M, K P, L, W]
        features = clip.encode_text(embeddings, self.eot.flatten(), self.shared)
        return features.unflatten(1, (len(self.pairs), self.count))

    def _set_in(self, clip: TextEncoder, ctx: Tensor) -> Tensor:
        """Insert context tokens [..., n_ctx, W] into the prompts: float32 [..., P, K, L, W]."""
        words = self.word_embeddings(clip)
        if self.class_specific:
            slots = self.slots[..., None].expand(*ctx.shape[:-2], -1, ctx.shape[-1])
            ctx = ctx.gather(-2, slots)
        else:
            ctx = ctx[..., self.slots, :]
        return torch.where(self.is_slot[..., None], ctx, words)

    def describe(self) -> dict[str, object]:
        """Return the metadata that define the prompts, apart from the values of the tokens."""
        return {
            **({} if self.members is None else {"members": self.members}),
            "pairs": [list(pair) for pair in self.pairs],
            "n_ctx": self.n_ctx,
            "position": self.position,
            "class_specific": self.class_specific,
            "init": self.init,
            **({} if self.extra_stop else {"extra_stop": False}),
            **({} if self.temperature == 1 else {"temperature": self.temperature}),
            **({} if self.grades is None else {"grades": list(self.grades)}),
        }


def _split(prompt: str, tokenizer: Tokenizer) -> list[list[int]]:
    """Ids of the start tokens, of the words, and of the end tokens of a prompt."""
    parts = list(tokenizer.split(prompt))
    if sum(map(len, parts)) > tokenizer.most:
        raise ValueError(f"prompt {prompt[:40]!r}... is longer than {tokenizer.most} tokens")
    return parts


def _with_context(
    prompt: str, n_ctx: int, position: Position, extra_stop: bool, tokenizer: Tokenizer
) -> list[int]:
    """Token ids of a prompt; ``-1 - i`` is the placeholder of context token ``i``.

    The words are the tokens of the prompt alone. The full stop that the official code appends
    belongs to them if it merges into their last token, as in ".."; otherwise it follows the context
    tokens at the end of the prompt. Tokenizers that drop punctuation add nothing.
    """
    n_words = len(_split(prompt, tokenizer)[1])
    start, inner, end = _split(prompt + "." if extra_stop else prompt, tokenizer)
    words, tail = inner[:n_words], inner[n_words:]
    ctx = [-1 - i for i in range(n_ctx)]
    before = {"front": 0, "middle": n_ctx // 2, "end": n_ctx}[position]
    return [*start, *ctx[:before], *words, *ctx[before:], *tail, *end]


def _initial_context(clip: TextEncoder, init: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """Return initial context tokens: float32 [*shape, W], where shape ends in n_ctx."""
    if init == "random":
        generator = torch.Generator().manual_seed(seed)
        return torch.empty(*shape, clip.width).normal_(std=0.02, generator=generator)
    n_ctx = shape[-1]
    tokens = _split(init, clip.tokenizer)[1]
    if len(tokens) == 1:
        tokens = tokens * n_ctx
    if len(tokens) != n_ctx:
        raise ValueError(
            f"init {init!r} has {len(tokens)} tokens, but n_ctx is {n_ctx}; give words with "
            f"{n_ctx} tokens, or with one, which is repeated"
        )
    words = clip.token_embedding(torch.tensor(tokens)).detach().float().cpu()
    return words.expand(*shape, -1).clone()
