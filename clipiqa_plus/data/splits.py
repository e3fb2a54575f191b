"""Splits into train, val and test rows, identical on every machine for the same seed.

A split is drawn over the *sorted* sample ids (or contents), so the order of rows in a label file
does not matter. It uses the raw output of numpy's PCG64, whose stream numpy guarantees for all
versions and platforms (NEP 19; ``Generator.permutation`` has no such guarantee).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from clipiqa_plus.data.split_files import PARTS, Fractions, Rows, Split, load_split, sorted_ids

__all__ = [
    "KINDS",
    "PARTS",
    "Split",
    "kfold_split",
    "load_split",
    "make_split",
    "official_split",
    "random_split",
]

KINDS = ("official", "random", "content", "kfold", "kfold_content", "whole")
"""Kinds that :func:`make_split` can draw; any other name is the path of a split file."""


def make_split(
    table: pd.DataFrame,
    kind: str,
    *,
    fractions: Sequence[float] = (0.8, 0.0, 0.2),
    seed: int = 0,
    repeat: int = 0,
    folds: int = 5,
) -> Split:
    """Split an annotation table.

    Args:
        table: Annotations with ``image`` (sample ids), and ``split`` or ``content`` where the
            kind needs it.
        kind: ``official`` (column ``split``); ``random`` by sample; ``content``: no content in
            two parts; ``kfold`` and ``kfold_content``: fold ``repeat`` of ``folds`` is the test
            part, the others are the training part; ``whole``: everything is the test part; or the
            path of a split file.
        fractions: Shares of train, val and test, in samples or contents. Train and val are
            rounded down; the last non-zero part gets the rest.
        seed: Random seed.
        repeat: Number of the independent random repeat, or of the fold, counted from 0.
        folds: Number of folds.

    Returns:
        The split of the rows of ``table``.

    Raises:
        ValueError: If a column is missing or has invalid values, sample ids repeat, fractions are
            invalid, a part with a positive share would be empty, or a split file does not belong
            to this table.
        FileNotFoundError: If ``kind`` is neither a kind nor a file.
    """
    if kind == "official":
        return official_split(table["image"], _column(table, "split", kind))
    if kind == "whole":
        return official_split(table["image"], pd.Series(["test"] * len(table)), kind="whole")
    if kind in ("random", "content"):
        content = _column(table, "content", kind) if kind == "content" else None
        return random_split(table["image"], fractions, seed, repeat, content)
    if kind in ("kfold", "kfold_content"):
        content = _column(table, "content", kind) if kind == "kfold_content" else None
        return kfold_split(table["image"], folds, repeat, seed, content)
    if not Path(kind).is_file():
        raise FileNotFoundError(
            f"{kind}: no such split file; a split is one of {', '.join(KINDS)}, or a file"
        )
    return load_split(kind, table["image"])


def random_split(
    ids: Sequence[str] | pd.Series,
    fractions: Sequence[float] = (0.8, 0.0, 0.2),
    seed: int = 0,
    repeat: int = 0,
    contents: Sequence[str] | pd.Series | None = None,
) -> Split:
    """Draw one of any number of independent random splits.

    Args:
        ids: N sample ids, unique.
        fractions: Shares of train, val and test.
        seed: Random seed.
        repeat: Number of the repeat; each is an independent draw.
        contents: N contents; if given, whole contents are drawn. Case is ignored: TID2013 calls
            one reference both ``I01`` and ``i01``.

    Returns:
        Split of kind ``random``, or ``content`` if contents are given.

    Raises:
        ValueError: If ids repeat, a content is empty, or a part with a positive share is empty.
    """
    order, digest = sorted_ids(ids)
    groups, count = _groups(order, contents)
    shares = _checked(fractions)
    sizes = _sizes(shares, count)
    if any(share > 0 and size == 0 for share, size in zip(shares, sizes, strict=True)):
        what = "samples" if contents is None else "contents"
        raise ValueError(
            f"fractions {shares} of {count} {what} give part sizes {sizes}; every part with a "
            "positive share needs at least one: change the fractions"
        )
    codes_of_group = np.empty(count, dtype=np.int8)
    codes_of_group[_permutation(count, seed, repeat)] = np.repeat([1, 2, 3], sizes)
    return Split(
        kind="random" if contents is None else "content",
        codes=codes_of_group[groups],
        order=order,
        ids_sha256=digest,
        seed=seed,
        fractions=shares,
        repeat=repeat,
    )


def kfold_split(
    ids: Sequence[str] | pd.Series,
    folds: int,
    fold: int = 0,
    seed: int = 0,
    contents: Sequence[str] | pd.Series | None = None,
) -> Split:
    """Split into k folds of equal size (within one sample or content); one is the test part.

    Args:
        ids: N sample ids, unique.
        folds: Number of folds, at least 2.
        fold: The test fold, counted from 0; the others are the training part.
        seed: Random seed, shared by all folds.
        contents: N contents; if given, whole contents are assigned to folds.

    Returns:
        Split of kind ``kfold``, or ``kfold_content`` if contents are given.

    Raises:
        ValueError: If there are fewer samples or contents than folds, or no such fold.
    """
    order, digest = sorted_ids(ids)
    groups, count = _groups(order, contents)
    if not 2 <= folds <= count:
        raise ValueError(f"{folds} folds of {count} samples or contents; give 2 to {count}")
    if not 0 <= fold < folds:
        raise ValueError(f"fold {fold} of {folds}; folds count from 0 to {folds - 1}")
    codes_of_group = np.ones(count, dtype=np.int8)
    codes_of_group[np.array_split(_permutation(count, seed), folds)[fold]] = 3
    return Split(
        kind="kfold" if contents is None else "kfold_content",
        codes=codes_of_group[groups],
        order=order,
        ids_sha256=digest,
        seed=seed,
        repeat=fold,
        folds=folds,
    )


def official_split(
    ids: Sequence[str] | pd.Series, parts: Sequence[str | None] | pd.Series, kind: str = "official"
) -> Split:
    """Use the parts given by a label file.

    Args:
        ids: N sample ids, unique.
        parts: N of ``train``, ``val``, ``test``; empty or NaN means no part.
        kind: Name of the kind in the split file.

    Returns:
        The split.

    Raises:
        ValueError: If ids repeat, or a part has another name; names id and value.
    """
    order, digest = sorted_ids(ids)
    names = pd.Series(parts).reset_index(drop=True)
    names = names.mask(names == "")
    codes = (pd.Index(PARTS, dtype=object).get_indexer(pd.Index(names, dtype=object)) + 1).astype(
        np.int8
    )
    unknown = np.flatnonzero((codes == 0) & names.notna().to_numpy())
    if len(unknown):
        row = int(unknown[0])
        raise ValueError(
            f"row {row + 1} ({pd.Series(ids).iloc[row]}): split is {names.iloc[row]!r}; "
            f"it must be one of {', '.join(PARTS)}, or empty"
        )
    return Split(kind=kind, codes=codes[order], order=order, ids_sha256=digest)


def _column(table: pd.DataFrame, name: str, kind: str) -> pd.Series:
    if name not in table:
        raise ValueError(
            f"a split of kind {kind!r} needs a column {name!r}, which these annotations lack; "
            "choose random, kfold or whole, or give a split file"
        )
    return table[name]


def _groups(order: Rows, contents: Sequence[str] | pd.Series | None) -> tuple[Rows, int]:
    """Return the group number of each sorted id, and the number of groups."""
    if contents is None:
        return np.arange(len(order)), len(order)
    series = pd.Series(contents).reset_index(drop=True)
    if len(series) != len(order):
        raise ValueError(f"{len(order)} sample ids but {len(series)} contents; give one for each")
    empty = series.isna() | (series == "")
    if empty.any():
        raise ValueError(f"row {int(empty.idxmax()) + 1} has no content; fill the column")
    codes, names = pd.factorize(series.astype(str).str.casefold(), sort=True)
    return codes[order].astype(np.int64), len(names)


def _permutation(count: int, *seed: int) -> Rows:
    draw = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(count)
    return np.argsort(draw, kind="stable")


def _checked(fractions: Sequence[float]) -> Fractions:
    shares = tuple(float(share) for share in fractions)
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(
            f"fractions {shares}: give three shares of train, val and test that add up to 1"
        )
    return shares


def _sizes(shares: Fractions, count: int) -> tuple[int, int, int]:
    # 1e-9: 0.7 * 10 is 7.000000000000001 or 6.999999999999999 depending on the numbers.
    train, val = (int(share * count + 1e-9) for share in shares[:2])
    if shares[2] == 0:
        train, val = (train, count - train) if shares[1] else (count, 0)
    return train, val, count - train - val
