"""The tokenizer of a model of open_clip: CLIP's, or one from the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from clipiqa_plus.clip.open_clip.source import Source, import_open_clip
from clipiqa_plus.clip.tokenizers import CLIPTokenizer, Tokenizer

_READOUTS: dict[str, Literal["end", "first", "last"]] = {
    "argmax": "end",
    "eos": "end",
    "first": "first",
    "last": "last",
}
_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "spiece.model")


class HubTokenizer(Tokenizer):
    """A tokenizer of the library transformers, called as open_clip calls it.

    Args:
        wrapped: open_clip's wrapper, which cleans the text first.
        name: Its name on the Hub.
        most: Context length of the model.
        padded: See :class:`~clipiqa_plus.clip.tokenizers.Tokenizer`.
        readout: See :class:`~clipiqa_plus.clip.tokenizers.Tokenizer`.
    """

    def __init__(
        self,
        wrapped: Any,
        name: str,
        most: int,
        padded: bool,
        readout: Literal["end", "first", "last"],
    ) -> None:
        self.wrapped = wrapped
        self.name, self.most, self.padded, self.readout = name, most, padded, readout
        self.pad = int(wrapped.tokenizer.pad_token_id)

    def split(self, prompt: str) -> tuple[list[int], list[int], list[int]]:
        """Return the ids of the start tokens, of the words, and of the end tokens of a prompt."""
        found = self.wrapped.tokenizer(
            self.wrapped.clean_fn(prompt), return_special_tokens_mask=True
        )
        ids, special = list(found["input_ids"]), list(found["special_tokens_mask"])
        first = special.index(0) if 0 in special else len(ids)
        last = len(ids) - special[::-1].index(0) if 0 in special else len(ids)
        return ids[:first], ids[first:last], ids[last:]

    def vocabulary(self) -> list[str]:
        """Words by token id; a piece that continues a word begins with a "-"."""
        tokenizer = self.wrapped.tokenizer
        pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        return [p.removeprefix("▁") if p.startswith("▁") else f"-{p}" for p in pieces]


def tokenizer_of(source: Source) -> Tokenizer:
    """Return the tokenizer of a model.

    One of the Hub is looked for beside the weights first, as in a downloaded repository.

    Raises:
        ValueError: If the text tower is not supported.
        FileNotFoundError: If the tokenizer's files are missing and cannot be downloaded.
        ImportError: If the library transformers is missing.
    """
    text = source.config["text_cfg"]
    pool = text.get("pool_type", "argmax")
    name = text.get("hf_tokenizer_name")
    if pool not in _READOUTS or (name and pool == "argmax") or text.get("tokenizer_mode"):
        raise ValueError(f"{source.name}: its text tower reads its feature in an unknown way")
    readout = _READOUTS[pool]
    most = int(text.get("context_length", 77))
    padded = bool(text.get("no_causal_mask")) or readout == "last"
    if not name:
        if text.get("tokenizer_kwargs") or int(text.get("vocab_size", 49408)) != 49408:
            raise ValueError(f"{source.name}: names no tokenizer that is known here")
        return CLIPTokenizer(most, padded, readout)
    folder = source.path.parent
    place = str(folder) if any((folder / file).is_file() for file in _FILES) else str(name)
    options = dict(text.get("tokenizer_kwargs") or {})
    try:
        wrapped = import_open_clip().tokenizer.HFTokenizer(place, context_length=most, **options)
    except ImportError as error:
        raise ImportError(
            f"{source.name}: its tokenizer needs the library transformers ({error}): "
            "pip install '.[open-clip]'"
        ) from error
    except Exception as error:  # of transformers, of the Hub's client, or of its network
        reason = " ".join(str(error).split())[:300]
        raise FileNotFoundError(
            f"{source.name}: its tokenizer {name} cannot be loaded from {place} ({reason}). Put "
            f"the files of that repository, {_FILES[0]} and {_FILES[1]}, into {Path(folder)}"
        ) from error
    if wrapped.strip_sep_token or wrapped.tokenizer.pad_token_id is None:
        raise ValueError(f"{source.name}: its tokenizer {name} is used in a way unknown here")
    return HubTokenizer(wrapped, str(name), most, padded, readout)
