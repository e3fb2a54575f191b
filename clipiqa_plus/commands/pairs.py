"""``--pair FIRST SECOND``, ``--scale BEST ... WORST``: own words, the same in every command."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from clipiqa_plus.prompts.words import Words

Pairs = Annotated[
    list[tuple[str, str]] | None,
    Parameter(name="--pair", consume_multiple=False, metavar="HIGH LOW"),
]
"""Antonym pairs, one for each ``--pair``; the first prompt may begin with a name and ``=``."""


@Parameter(name="*")
@dataclass(frozen=True)
class ScaleOptions:
    """A scale of own words in place of antonym pairs."""

    scale: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None
    """Your own scale instead of pairs: three prompts or more, the best first, or the name acr
    (excellent, good, fair, poor, bad). The score is the expected grade."""
    grades: Annotated[list[float] | None, Parameter(consume_multiple=True)] = None
    """With --scale: a grade in [0, 1] for each prompt, falling (default: evenly spaced, 1 to 0)."""

    @property
    def words(self) -> dict[str, Any]:
        """The scale and its grades as arguments of the functions that score.

        Raises:
            ValueError: If the prompts or grades do not form a scale.
        """
        if self.scale is None:
            if self.grades is not None:
                raise ValueError("--grades belong to the prompts of --scale: give --scale too")
            return {}
        from clipiqa_plus.prompts.scales import check_grades
        from clipiqa_plus.prompts.words import name_scales

        one: list[str | list[str]] = [self.scale[0] if len(self.scale) == 1 else self.scale]
        (prompts,) = name_scales(one).values()
        check_grades(self.grades, len(prompts))
        return {"scales": one, "grades": self.grades}


NO_SCALE = ScaleOptions()


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
        raise ValueError(f"--pair: two antonym pairs are named {twice!r}; rename one")
    words = dict(zip(names, plain, strict=True))
    name_pairs(words)
    return words
