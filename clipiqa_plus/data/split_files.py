"""A split as an object, and as a small file with a hash of the samples that it belongs to."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Fractions = tuple[float, float, float]

PARTS = ("train", "val", "test")

_FORMAT = "clipiqa-plus split 1"
_LETTERS = "-TVE"  # no part, train, val, test: one letter per sample id in a split file


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of the three parts, and how they were drawn.

    Attributes:
        kind: One of :data:`~clipiqa_plus.data.splits.KINDS`, or ``file``.
        codes: int8 [N], the part of each *sorted* sample id: 0 none, 1 train, 2 val, 3 test.
        order: int64 [N], the row number of each sorted sample id.
        ids_sha256: Hash of the sorted sample ids.
        seed: Random seed; None if nothing was drawn.
        fractions: Requested shares of train, val and test; None if they do not apply.
        repeat: Number of the random repeat or of the fold, counted from 0.
        folds: Number of folds; None unless a k-fold split.
    """

    kind: str
    codes: NDArray[np.int8]
    order: Rows
    ids_sha256: str
    seed: int | None = None
    fractions: Fractions | None = None
    repeat: int = 0
    folds: int | None = None

    @cached_property
    def train(self) -> Rows:
        """Row numbers of the training part, ascending."""
        return self._rows(1)

    @cached_property
    def val(self) -> Rows:
        """Row numbers of the validation part, ascending."""
        return self._rows(2)

    @cached_property
    def test(self) -> Rows:
        """Row numbers of the test part, ascending."""
        return self._rows(3)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical content: the sample ids, their parts and the draw."""
        return _sha256(_canonical(self._content()))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the split atomically as a small JSON file.

        Args:
            path: The file; its folder is created if absent.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**self._content(), "sha256": self.digest}, indent=1) + "\n"
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def _rows(self, code: int) -> Rows:
        return np.sort(self.order[self.codes == code])

    def _content(self) -> dict[str, Any]:
        letters = np.frombuffer(_LETTERS.encode(), dtype=np.uint8)[self.codes].tobytes().decode()
        return {
            "format": _FORMAT,
            "kind": self.kind,
            "seed": self.seed,
            "fractions": None if self.fractions is None else list(self.fractions),
            "repeat": self.repeat,
            "folds": self.folds,
            "n": len(self.codes),
            "sizes": {p: int((self.codes == c).sum()) for c, p in enumerate(PARTS, start=1)},
            "ids_sha256": self.ids_sha256,
            "parts": letters,
        }


def load_split(path: str | os.PathLike[str], ids: Sequence[str] | pd.Series) -> Split:
    """Read a split file for the given samples.

    Two forms are accepted: the one that :meth:`Split.save` writes, and a hand-written one that
    lists sample ids, ``{"parts": {"train": ["a.jpg", ...], "test": [...]}}``. Samples that are not
    listed belong to no part.

    Args:
        path: The JSON file.
        ids: N sample ids of the data set, in row order.

    Returns:
        The split, with the digest it was saved with.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a split file, was altered, or lists samples other than ``ids``.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such split file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        parts = content["parts"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: not a split file ({type(error).__name__}: {error}); it is JSON with "
            "'parts', as a run saves it"
        ) from error
    if isinstance(parts, dict):
        return _from_lists(path, parts, ids)
    return _from_letters(path, content, ids)


def _from_letters(path: Path, content: dict[str, Any], ids: Sequence[str] | pd.Series) -> Split:
    stated = content.pop("sha256", None)
    found = _sha256(_canonical(content))
    if content.get("format") != _FORMAT or stated != found:
        raise ValueError(
            f"{path}: the split was altered or truncated (recorded hash {str(stated)[:12]}, hash "
            f"of the content {found[:12]}); copy it again from the run that saved it"
        )
    order, digest = sorted_ids(ids)
    if digest != content["ids_sha256"]:
        raise ValueError(
            f"{path}: made for {content['n']} other sample ids (hash "
            f"{content['ids_sha256'][:12]}); this data set has {len(order)} (hash "
            f"{digest[:12]}); use the label file that the split was made for, or draw a new split"
        )
    letters = np.frombuffer(content["parts"].encode(), dtype=np.uint8)
    code_of_letter = np.zeros(256, dtype=np.int8)
    code_of_letter[list(_LETTERS.encode())] = np.arange(4)
    fractions = content["fractions"]
    return Split(
        kind=content["kind"],
        codes=code_of_letter[letters],
        order=order,
        ids_sha256=digest,
        seed=content["seed"],
        fractions=None if fractions is None else tuple(fractions),
        repeat=content["repeat"],
        folds=content["folds"],
    )


def _from_lists(path: Path, parts: dict[str, Any], ids: Sequence[str] | pd.Series) -> Split:
    if not parts or not set(parts) <= set(PARTS):
        raise ValueError(
            f"{path}: parts are named {', '.join(parts) or 'nothing'}; use {', '.join(PARTS)}"
        )
    named = pd.DataFrame([(name, part) for part in parts for name in parts[part]], dtype=object)
    if named.empty:
        raise ValueError(f"{path}: the parts list no sample ids")
    names, part_of = named[0], named[1]
    if names.duplicated().any():
        name = names[names.duplicated()].iloc[0]
        where = " and ".join(part_of[names == name])
        raise ValueError(f"{path}: {name!r} is listed twice, in {where}; keep it in one part")
    index = pd.Index(ids, dtype=object)
    rows = index.get_indexer(pd.Index(names))
    unknown = names[rows < 0]
    if len(unknown):
        shown = ", ".join(map(str, unknown.iloc[:5])) + (", ..." if len(unknown) > 5 else "")
        raise ValueError(
            f"{path}: {len(unknown)} of {len(names)} sample ids are not in the data set "
            f"({shown}); sample ids look like {index[0]!r}: correct or remove them"
        )
    codes = np.zeros(len(index), dtype=np.int8)
    codes[rows] = part_of.map({part: code for code, part in enumerate(PARTS, start=1)})
    order, digest = sorted_ids(ids)
    return Split(kind="file", codes=codes[order], order=order, ids_sha256=digest)


def sorted_ids(ids: Sequence[str] | pd.Series) -> tuple[Rows, str]:
    """Sort sample ids.

    Args:
        ids: N sample ids, in row order.

    Returns:
        int64 [N], the row number of each sorted id, and the SHA-256 of the sorted ids.

    Raises:
        ValueError: If there are no ids, or one repeats; names its rows.
    """
    series = pd.Series(ids).reset_index(drop=True)
    if series.empty:
        raise ValueError("there are no samples to split")
    if series.duplicated().any():
        name = series[series.duplicated()].iloc[0]
        rows = " and ".join(str(row + 1) for row in series.index[series == name][:2])
        raise ValueError(f"sample id {name!r} is in rows {rows}; ids must be unique")
    ordered = series.sort_values(kind="stable")
    return ordered.index.to_numpy(np.int64), _sha256("\n".join(map(str, ordered.tolist())))


def _canonical(content: dict[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
