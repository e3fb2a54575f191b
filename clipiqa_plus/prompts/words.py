"""A user's own words: antonym pairs or scales, and a name for the score of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clipiqa_plus.prompts.scales import (
    PAIRS,
    SCALES,
    AntonymPair,
    Scale,
    resolve_pairs,
    resolve_scales,
)

Words = Sequence[str | Sequence[str]] | Mapping[str, Sequence[str]]
"""Antonym pairs: names of built-in pairs and pairs of two prompts, the high-score prompt first; or
such pairs of prompts by the names of their scores. Likewise scales of K prompts, the best first."""

RESERVED = frozenset(
    [
        "image",
        "reason",
        "resized_from",
        "preset",
        "backbone",
        "weights",
        "score",
        "spread",
        "deviation",
    ]
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
    given, names = _split(words)
    pairs = resolve_pairs(given)
    for pair in pairs:
        if len({prompt.strip() for prompt in pair}) < 2:
            raise ValueError(f"antonym pair {list(pair)}: both prompts are the same: always 0.5")
    names = names or [pair_name(pair) for pair in pairs]
    _check_names(pairs, names, "antonym pair")
    return dict(zip(names, pairs, strict=True))


def name_scales(words: Words) -> dict[str, Scale]:
    """Resolve scales of K prompts and name them.

    Args:
        words: The scales. Without a name, a built-in scale has its own and any other its prompts,
            joined by slashes.

    Returns:
        The scales by name, in order.

    Raises:
        ValueError: If there is none, a built-in name is unknown, a scale is malformed (see
            :func:`~clipiqa_plus.prompts.scales.resolve_scales`), a scale or a name is given twice,
            or a name is not allowed.
    """
    given, names = _split(words)
    scales = resolve_scales(given)
    names = names or [pair_name(scale) for scale in scales]
    _check_names(scales, names, "scale")
    return dict(zip(names, scales, strict=True))


def _split(words: Words) -> tuple[list[str | Sequence[str]], list[str]]:
    """The words and, if they are given, their names."""
    if isinstance(words, Mapping):
        return list(words.values()), list(words)
    return [words] if isinstance(words, str) else list(words), []


def _check_names(words: Sequence[Scale], names: Sequence[str], kind: str) -> None:
    article = "an" if kind == "antonym pair" else "a"
    for name, prompts in zip(names, words, strict=True):
        if words.count(prompts) > 1:
            raise ValueError(f"{kind} {list(prompts)} is given twice")
        if names.count(name) > 1:
            raise ValueError(f"two {kind}s are named {name!r}; rename one")
        is_text = bool(name) and name == name.strip() and name.isprintable()
        if not is_text or name[0] in _FORMULA or name in RESERVED:
            raise ValueError(
                f"{name!r} cannot name {article} {kind}: a name is printable, does not begin with "
                f"one of {' '.join(_FORMULA)}, and is none of {', '.join(sorted(RESERVED))}"
            )


def pair_name(pair: Scale) -> str:
    """Return the name of a built-in pair or scale, or any other's prompts joined by slashes."""
    known = {words: name for name, words in (PAIRS | SCALES).items()}
    return known.get(pair) or " ".join(" / ".join(pair).split()).lstrip(_FORMULA + " ")
