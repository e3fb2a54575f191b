"""``--pair FIRST SECOND``: own words on the command line, the same in every command."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from clipiqa_plus.prompts.words import Words

Pairs = Annotated[list[tuple[str, str]] | None, Parameter(name="--pair", consume_multiple=False)]
"""Antonym pairs, one for each ``--pair``; the first prompt may begin with a name and ``=``."""


def words_of(pairs: Sequence[tuple[str, str]] | None) -> Words | None:
    """Return the pairs of ``--pair``, by name if one is named; None if there are none.

    ``--pair "crisp=Sharp photo." "Blurry photo."`` names its pair ``crisp``: letters, digits, ``_``
    and ``-`` before the first ``=``.

    Raises:
        ValueError: See :func:`~clipiqa_plus.prompts.words.name_pairs`; or an option stands where
            the second prompt should.
    """
    if not pairs:
        return None
    from clipiqa_plus.prompts.words import name_pairs

    given: list[tuple[str, tuple[str, str]]] = []
    for first, second in pairs:
        if second.startswith("--"):
            raise ValueError(f"--pair {first!r} {second}: give two prompts, high score first")
        named = re.match(r"([\w-]+)=", first)
        pair = (first[named.end() :] if named else first, second)
        given.append((named[1] if named else "", pair))
    plain = [pair for _, pair in given]
    if not any(name for name, _ in given):
        name_pairs(plain)
        return plain
    own = list(name_pairs(plain))
    names = [name or unnamed for (name, _), unnamed in zip(given, own, strict=True)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"--pair: two antonym pairs are named {twice!r}; give one another name")
    words = dict(zip(names, plain, strict=True))
    name_pairs(words)
    return words
