"""A user's own words: antonym pairs, and a name for the score of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clipiqa_plus.prompts.sources import PAIRS, AntonymPair, resolve_pairs

Words = Sequence[str | Sequence[str]] | Mapping[str, Sequence[str]]
"""Antonym pairs: names of built-in pairs and pairs of two prompts, the high-score prompt first; or
such pairs of prompts by the names of their scores."""

RESERVED = frozenset(
    ["image", "reason", "resized_from", "preset", "backbone", "weights", "score", "spread"]
)
"""Columns of a file of scores; no pair may have these names."""

_FORMULA = "=+-@"  # a spreadsheet would run text that begins with one of these


def name_pairs(words: Words) -> dict[str, AntonymPair]:
    """Resolve antonym pairs and name them.

    Args:
        words: The pairs. Without a name, a built-in pair has its own and any other its two prompts,
            joined by a slash.

    Returns:
        The pairs by name, in order.

    Raises:
        ValueError: If there is none, a built-in name is unknown, a pair does not have two different
            prompts, a pair or a name is given twice, or a name is not allowed.
    """
    if isinstance(words, str):
        words = [words]
    given = list(words.values()) if isinstance(words, Mapping) else list(words)
    pairs = resolve_pairs(given)
    names = list(words) if isinstance(words, Mapping) else [pair_name(pair) for pair in pairs]
    for name, pair in zip(names, pairs, strict=True):
        if len({prompt.strip() for prompt in pair}) < 2:
            raise ValueError(f"antonym pair {list(pair)}: both prompts are the same: 0.5 always")
        if pairs.count(pair) > 1:
            raise ValueError(f"antonym pair {list(pair)} is given twice")
        if names.count(name) > 1:
            raise ValueError(f"two antonym pairs are named {name!r}; give one another name")
        is_text = bool(name) and name == name.strip() and name.isprintable()
        if not is_text or name[0] in _FORMULA or name in RESERVED:
            raise ValueError(
                f"{name!r} cannot name an antonym pair: a name is printable, does not begin with "
                f"one of {' '.join(_FORMULA)}, and is none of {', '.join(sorted(RESERVED))}"
            )
    return dict(zip(names, pairs, strict=True))


def pair_name(pair: AntonymPair) -> str:
    """Return the name of a built-in pair, or the two prompts of any other, joined by a slash."""
    known = {words: name for name, words in PAIRS.items()}
    return known.get(pair) or " ".join(" / ".join(pair).split()).lstrip(_FORMULA + " ")
