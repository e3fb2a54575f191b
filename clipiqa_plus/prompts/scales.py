"""The words of prompts: antonym pairs, and scales of K prompts with a grade for each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

AntonymPair = tuple[str, str]
Scale = tuple[str, ...]
"""K prompts, that of the best grade first; an antonym pair is a scale of two."""

PAIRS: dict[str, AntonymPair] = {
    "quality": ("Good photo.", "Bad photo."),
    "brightness": ("Bright photo.", "Dark photo."),
    "noisiness": ("Clean photo.", "Noisy photo."),
    "colorfulness": ("Colorful photo.", "Dull photo."),
    "sharpness": ("Sharp photo.", "Blurry photo."),
    "contrast": ("High contrast photo.", "Low contrast photo."),
    "aesthetic": ("Aesthetic photo.", "Not aesthetic photo."),
    "happy": ("Happy photo.", "Sad photo."),
    "natural": ("Natural photo.", "Synthetic photo."),
    "new": ("New photo.", "Old photo."),
    "scary": ("Scary photo.", "Peaceful photo."),
    "complex": ("Complex photo.", "Simple photo."),
}
"""The built-in antonym pairs; the first prompt means a score near 1 (paper, sections 3 and 4).

``noisiness`` ranges from noisy (0) to clean (1), as in torchmetrics and in SPAQ's column of that
name. The official configuration has "Noisy photo." first: its score is 1 minus this one."""

SCALES: dict[str, Scale] = {
    "acr": ("Excellent photo.", "Good photo.", "Fair photo.", "Poor photo.", "Bad photo."),
}
"""The built-in scales. ``acr``: the five grades of absolute category rating (ITU-T P.910), which
are also the words of LIQE and Q-Align."""


def resolve_pairs(pairs: Sequence[str | Sequence[str]]) -> list[AntonymPair]:
    """Turn names of built-in pairs and pairs in words into pairs in words.

    Args:
        pairs: Each a name in :data:`PAIRS` or two prompts, the high-score one first.

    Raises:
        ValueError: If there is none, a name is unknown or a pair does not have two prompts.
    """
    if not pairs:
        raise ValueError("no antonym pair given; the paper uses 'quality'")
    return [_pair(pair) for pair in pairs]


def resolve_scales(scales: Sequence[str | Sequence[str]]) -> list[Scale]:
    """Turn names and prompts into scales of K prompts each.

    Args:
        scales: Each a name in :data:`SCALES`, or K prompts, that of the best grade first.

    Raises:
        ValueError: If there is none, a name is unknown, a scale has fewer than two prompts or one
            twice, or their numbers of prompts differ.
    """
    if isinstance(scales, str) or not scales:
        raise ValueError("no scale given; name a built-in one, as [acr], or list its prompts")
    found = [_scale(scale) for scale in scales]
    if len({len(words) for words in found}) > 1:
        sizes = ", ".join(str(len(words)) for words in found)
        raise ValueError(f"scales of {sizes} prompts; give all of them the same number")
    return found


def resolve_words(words: Sequence[str | Sequence[str]]) -> list[Scale]:
    """Turn antonym pairs, or scales, by name or in words, into words.

    Args:
        words: Pairs, see :func:`resolve_pairs`, or scales, see :func:`resolve_scales`.

    Raises:
        ValueError: See these.
    """
    if any(w in SCALES if isinstance(w, str) else len(w) > 2 for w in words):
        return resolve_scales(words)
    return list(resolve_pairs(words))


def check_grades(grades: Sequence[float] | None, count: int) -> tuple[float, ...] | None:
    """Check the grades of the prompts of a scale.

    Args:
        grades: A grade in [0, 1] for each prompt, falling from the first; None spaces them evenly
            from 1 to 0.
        count: Number K of prompts.

    Returns:
        The grades; None if they are evenly spaced from 1 to 0.

    Raises:
        ValueError: If their number differs from K, one is outside [0, 1], or they do not fall.
    """
    if grades is None:
        return None
    if isinstance(grades, str) or len(grades) != count:
        raise ValueError(f"grades {_listed(grades)}: give one for each of the {count} prompts")
    if not all(0 <= grade <= 1 for grade in grades):
        raise ValueError(f"grades {_listed(grades)}: they lie between 0 and 1")
    if not all(better > worse for better, worse in pairwise(grades)):
        raise ValueError(f"grades {_listed(grades)}: they must fall: list the best prompt first")
    even = [1 - k / (count - 1) for k in range(count)]
    if all(abs(a - b) < 1e-9 for a, b in zip(grades, even, strict=True)):
        return None
    return tuple(float(grade) for grade in grades)


def _pair(pair: str | Sequence[str]) -> AntonymPair:
    if isinstance(pair, str):
        if pair not in PAIRS:
            raise ValueError(
                f"unknown antonym pair {pair!r}; built in are {', '.join(PAIRS)}, and any two "
                f'prompts may be given as ["Good photo.", "Bad photo."]'
            )
        return PAIRS[pair]
    if len(pair) != 2 or not all(isinstance(p, str) and p.strip() for p in pair):
        raise ValueError(f"antonym pair {list(pair)} must be two prompts, high score first")
    return (pair[0], pair[1])


def _scale(scale: str | Sequence[str]) -> Scale:
    if isinstance(scale, str):
        if scale not in SCALES:
            raise ValueError(
                f"unknown scale {scale!r}; built in is {', '.join(SCALES)}, and any prompts may be "
                'given, best first, as ["Good photo.", "Fair photo.", "Bad photo."]'
            )
        return SCALES[scale]
    if len(scale) < 2 or not all(isinstance(p, str) and p.strip() for p in scale):
        raise ValueError(f"scale {list(scale)} must be two prompts or more, the best grade first")
    if len({prompt.strip() for prompt in scale}) < len(scale):
        raise ValueError(f"scale {list(scale)}: two of its prompts are the same")
    return tuple(scale)


def _listed(grades: Sequence[float]) -> str:
    return grades if isinstance(grades, str) else ", ".join(f"{grade:g}" for grade in grades)
