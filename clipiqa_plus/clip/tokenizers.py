"""From words to token ids, in the layout that a backbone's text tower takes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from clipiqa_plus.clip.architectures import import_clip


class Tokenizer(ABC):
    """The tokenizer of a backbone.

    Attributes:
        name: Identifies the vocabulary; prompts belong to the tokenizer that made their ids.
        most: Most tokens of a prompt, start and end tokens included.
        padded: Whether every prompt is padded to ``most`` tokens, as a text tower needs whose
            attention is not causal: there the padding is seen by the words.
        pad: Id of the padding.
        readout: Position of the text feature: the ``end`` token, or the ``first`` or ``last`` one.
    """

    name: str
    most: int
    padded: bool = False
    pad: int = 0
    readout: Literal["end", "first", "last"] = "end"

    @abstractmethod
    def split(self, prompt: str) -> tuple[list[int], list[int], list[int]]:
        """Return the ids of the start tokens, of the words, and of the end tokens of a prompt."""

    @abstractmethod
    def vocabulary(self) -> list[str]:
        """Return the words by id; a word piece that does not end a word is marked by a "-"."""

    def pack(self, prompts: Sequence[Sequence[Sequence[int]]]) -> tuple[Tensor, Tensor]:
        """Pad the ids of P pairs of prompts to one length.

        Args:
            prompts: Lists of ids, two for each of the P pairs, start and end tokens included.

        Returns:
            Ids, int64 [P, 2, L], and the position of the text feature in each, int64 [P, 2].

        Raises:
            ValueError: If a prompt is too long.
        """
        lengths = [[len(ids) for ids in pair] for pair in prompts]
        longest = max(map(max, lengths))
        if self.padded and longest > self.most:
            raise ValueError(
                f"a prompt has {longest} tokens, but the model takes at most {self.most}; use "
                "fewer context tokens or words"
            )
        length = self.most if self.padded else longest
        rows = [[[*ids, *[self.pad] * (length - len(ids))] for ids in pair] for pair in prompts]
        place = {"first": lambda _: 0, "last": lambda _: length - 1, "end": lambda n: n - 1}
        ends = [[place[self.readout](n) for n in pair] for pair in lengths]
        return torch.tensor(rows), torch.tensor(ends)


class CLIPTokenizer(Tokenizer):
    """openai-clip's byte pair encoding of 49,408 tokens.

    Args:
        most: Context length of the model.
        padded: See :class:`Tokenizer`.
        readout: See :class:`Tokenizer`.
    """

    name = "CLIP"

    def __init__(
        self,
        most: int = 77,
        padded: bool = False,
        readout: Literal["end", "first", "last"] = "end",
    ) -> None:
        self.most, self.padded, self.readout = most, padded, readout

    def split(self, prompt: str) -> tuple[list[int], list[int], list[int]]:
        """Return the ids of the start tokens, of the words, and of the end tokens of a prompt."""
        tokenizer = import_clip().clip._tokenizer
        start, end = tokenizer.encoder["<|startoftext|>"], tokenizer.encoder["<|endoftext|>"]
        return [start], tokenizer.encode(prompt), [end]

    def vocabulary(self) -> list[str]:
        """Words by token id, without the start and end tokens, which come last."""
        tokenizer = import_clip().clip._tokenizer
        tokens = [tokenizer.decoder[i] for i in range(len(tokenizer.decoder) - 2)]
        words = []
        for token in tokens:
            letters = bytes(tokenizer.byte_decoder[c] for c in token.removesuffix("</w>"))
            words.append(letters.decode(errors="replace") + ("" if token.endswith("</w>") else "-"))
        return words


CLIP_TOKENIZER = CLIPTokenizer()
