"""Short names of prompt sources and data sets, for tables, legends and folders of results."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from clipiqa_plus.data.annotations import COUNT, RATINGS
from clipiqa_plus.evaluation.comparison import WITHIN_CONTENT
from clipiqa_plus.prompts.files import HUB, PROMPT_FILE, find_prompts

ZERO_SHOT = "zero_shot"
LEARNED = "learned_per_split"
"""Name of the source that is learned within each random split."""
_COLUMNS = {
    *("id", "image", "target", "mos", "mos_raw", "content", "distortion", "level"),
    *("mos_std", RATINGS, WITHIN_CONTENT, LEARNED),
}
_TAKEN = _COLUMNS | {f"{COUNT}{grade}" for grade in range(1, 21)}
"""Columns of a table of scores; no source may have these names."""
_GENERIC = {Path(PROMPT_FILE).stem, "config"}
"""File names that every run folder has; the folder's name is used instead."""


def name_sources(specs: Sequence[str]) -> dict[str, str]:
    """Name prompt sources: ``zero_shot``, the name of a run's folder, or ``NAME=PATH``.

    Args:
        specs: Each ``zero_shot``, a prompt file, checkpoint, run folder or ``hf://user/repo``,
            optionally preceded by a name and ``=``.

    Returns:
        The sources by name, without their prefix. Equal names are prefixed with parent folders,
        joined by ``-``.

    Raises:
        ValueError: If two sources are the same or have the same name, or a name is not allowed.
        FileNotFoundError: If there is no such prompt file.
    """
    given: dict[int, str] = {}
    sources = []
    for index, spec in enumerate(specs):
        name, sign, source = spec.partition("=")
        if sign and not Path(spec).exists() and "/" not in name:
            if not source or name in _TAKEN or name != _clean(name):
                raise ValueError(
                    f"--prompts {spec!r}: {name!r} cannot name a source; write NAME=PATH, the name "
                    f"of printable characters and none of {', '.join(sorted(_COLUMNS))}"
                )
            given[index], spec = name, source
        sources.append(spec)
    places = [_place(source) for source in sources]
    if len(set(places)) < len(places):
        twice = next(s for s, p in zip(sources, places, strict=True) if places.count(p) > 1)
        raise ValueError(f"--prompts name one source twice: {twice}")
    names = _distinct(places, _TAKEN | set(given.values()))
    names = [given.get(index, name) for index, name in enumerate(names)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"--prompts: two sources are named {twice!r}; rename one with NAME=PATH")
    return dict(zip(names, sources, strict=True))


def name_data(recipes: Iterable[str | Path]) -> dict[str, Path]:
    """Name data sets after their recipes, or after the folder of a ``config.yaml``.

    Args:
        recipes: Paths of recipes; the same one twice counts once.

    Returns:
        The recipes by name, in order. Equal names are prefixed with parent folders, joined by
        ``-``.
    """
    paths = list({Path(recipe).absolute(): Path(recipe) for recipe in recipes}.items())
    places = [path.with_suffix("").parts for path, _ in paths]
    return dict(zip(_distinct(places), (recipe for _, recipe in paths), strict=True))


def _place(source: str) -> tuple[str, ...]:
    """The parts of a source's path, the most specific last."""
    if source == ZERO_SHOT:
        return (ZERO_SHOT,)
    if source.startswith(HUB):
        return PurePosixPath(source.removeprefix(HUB)).parts
    path = find_prompts(source).absolute()
    run = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    stem = Path(PROMPT_FILE).stem
    if path.suffix == ".ckpt" or path.stem.startswith(f"{stem}_"):
        return (*run.parts[:-1], f"{run.name}-{path.stem.removeprefix(f'{stem}_')}")
    return path.with_suffix("").parts


def _distinct(places: Sequence[tuple[str, ...]], taken: Iterable[str] = ()) -> list[str]:
    """The shortest distinct endings of paths."""
    taken = set(taken)
    ends = [place[:-1] if len(place) > 1 and place[-1] in _GENERIC else place for place in places]
    names = [""] * len(ends)
    for depth in range(1, max(map(len, ends), default=0) + 1):
        short = [not n or names.count(n) > 1 or n in taken for n in names]
        for index in np.flatnonzero(short):
            names[index] = _clean("-".join(part.strip("/") for part in ends[index][-depth:]))
    return names


def _clean(text: str) -> str:
    """Printable text on one line that no spreadsheet reads as a formula."""
    printable = re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in text))
    return printable.strip().lstrip("=+-@. ") or "source"
