"""Two folders of the same pictures: which belong together, and the scores of both sides."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from clipiqa_plus.inference import Scorer
from clipiqa_plus.inference.bulk import SizeLimit, score_files
from clipiqa_plus.inference.bulk.inputs import find_files
from clipiqa_plus.inference.bulk.pictures import NO_LIMIT


class Folders(NamedTuple):
    """The pictures of two folders."""

    pictures: pd.DataFrame
    """Those of both: ``picture`` (path below the folders, without its ending), ``before`` and
    ``after`` (paths)."""
    unmatched: list[str]
    """Paths of those of one folder only."""


def match_folders(before: str, after: str) -> Folders:
    """Pair the pictures of two folders by their paths below them, whatever the ending.

    A pipeline may write ``a.png`` where it read ``a.jpg``. If a folder holds both, these two keep
    their endings.

    Args:
        before: Folder, searched recursively.
        after: Folder of the same pictures after a change.

    Raises:
        NotADirectoryError: If one is no folder.
        ValueError: If no picture is in both, or both are the same folder.
    """
    for folder in (before, after):
        if not os.path.isdir(folder):
            raise NotADirectoryError(f"{folder}: no such folder; give two folders of pictures")
    if os.path.samefile(before, after):
        raise ValueError(f"{before} and {after} are the same folder")
    first, second = _named(before), _named(after)
    shared = [name for name in first if name in second]
    for folder, names in ((before, first), (after, second)):
        if not names:
            raise ValueError(f"{folder}: no pictures there")
    if not shared:
        examples = [next(iter(names)) for names in (first, second)]
        raise ValueError(
            f"no picture is in both {before} (such as {examples[0]}) and {after} (such as "
            f"{examples[1]}); the same picture needs the same path below them"
        )
    rows = [(name, first[name], second[name]) for name in shared]
    alone = [first[name] for name in first if name not in second]
    alone += [second[name] for name in second if name not in first]
    return Folders(pd.DataFrame(rows, columns=["picture", "before", "after"]), alone)


def _named(folder: str) -> dict[str, str]:
    """Paths of the pictures of a folder by what names them."""
    paths = {os.path.relpath(path, folder): path for path in find_files([folder])}
    stems = Counter(os.path.splitext(name)[0] for name in paths)
    short = {name: os.path.splitext(name)[0] for name in paths}
    return {
        (short[name] if stems[short[name]] == 1 else name): path for name, path in paths.items()
    }


def score_folders(
    scorer: Scorer,
    folders: Folders,
    out: Path,
    batch_size: int = 16,
    workers: int | None = None,
    limit: SizeLimit = NO_LIMIT,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Score the pictures of both folders; an interrupted run is resumed.

    Args:
        scorer: The scorer.
        folders: See :func:`match_folders`.
        out: Folder of the files of scores, ``before.parquet`` and ``after.parquet``.
        batch_size: See :func:`~clipiqa_plus.inference.bulk.score_files`, also for what follows.
        workers: Number of decoding threads.
        limit: Limit on the size of a picture.

    Returns:
        One row per picture with both scores: ``picture``, ``before`` and ``after`` (paths), and
        for each score ``<name>_before``, ``<name>_after`` and ``<name>_difference``; and the
        reasons why other pictures have no score, by path.
    """
    table = folders.pictures
    failed: dict[str, str] = {}
    for side in ("before", "after"):
        file = out / f"{side}.parquet"
        done = score_files(
            scorer, table[side].tolist(), file, batch_size, workers, progress=True, limit=limit
        )
        scores = pd.read_parquet(file)[["image", *scorer.names]].drop_duplicates("image")
        scores = scores.astype(dict.fromkeys(scorer.names, np.float64))
        named = {name: f"{name}_{side}" for name in scorer.names}
        scores = scores.rename(columns=named | {"image": side})
        table = table.merge(scores, on=side, how="left", sort=False)
        if done.failed:
            failed |= _reasons(Path(done.failures))
    scored = table[[f"{name}_{s}" for name in scorer.names for s in ("before", "after")]].notna()
    for row in table[~scored.all(axis=1)].itertuples():
        if row.before not in failed and row.after not in failed:
            failed[row.after] = "the same file as another picture"
    table = table[scored.all(axis=1)].copy()
    for name in scorer.names:
        table[f"{name}_difference"] = table[f"{name}_after"] - table[f"{name}_before"]
    return table.reset_index(drop=True), failed


def _reasons(file: Path) -> dict[str, str]:
    """Why pictures have no score, by path."""
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    return dict(zip(table["image"], table["reason"], strict=True))
