"""Facts about the benchmarks, and a check of a benchmark's folder."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table
from rich.text import Text

from clipiqa_plus.data.benchmarks import BENCHMARKS, Benchmark
from clipiqa_plus.data.splits import PARTS, make_split

_PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Check:
    """Result of checking the folder of a benchmark.

    Attributes:
        title: Name of the benchmark.
        root: The folder that was checked.
        problem: The first defect and its remedy; None if the data set can be used.
        label_file: The main label file; None if it was not found.
        folders: Files in each folder that holds rated pictures.
        rows: Rated pictures in the label file.
        expected: Numbers of rated pictures that a complete label file has; empty if unknown.
        scores: Lowest and highest raw score; None if the label file could not be read.
        mos_range: Declared range of raw scores.
        higher_is_better: Whether a higher raw score means better quality.
        split: Kind of the benchmark's default split.
        parts: Sizes of its train, val and test parts.
        missing: Sample ids without a picture.
        surplus: Pictures in the folders without a score.
    """

    title: str
    root: Path
    mos_range: tuple[float, float]
    higher_is_better: bool
    problem: str | None = None
    label_file: Path | None = None
    folders: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    expected: tuple[int, ...] = ()
    scores: tuple[float, float] | None = None
    split: str = ""
    parts: dict[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    surplus: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the data set can be used."""
        return self.problem is None


def find_benchmark(name: str) -> type[Benchmark]:
    """Return the benchmark with a short name.

    Raises:
        ValueError: If there is none; suggests similar names.
    """
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    alike = difflib.get_close_matches(name.lower(), BENCHMARKS, n=3, cutoff=0.4)
    raise ValueError(f"no benchmark {name!r}; there are {', '.join(alike or BENCHMARKS)}")


def check(name: str, root: str | os.PathLike[str], **options: Any) -> Check:
    """Check the folder of a benchmark without decoding pictures or downloading anything.

    Args:
        name: Short name of the benchmark.
        root: Folder of the unpacked data set.
        **options: Further arguments of the benchmark, such as ``resolution``.

    Returns:
        The result. A defect is reported in ``problem``, not raised.

    Raises:
        ValueError: If there is no such benchmark.
    """
    data = find_benchmark(name)(root, **options)
    found: dict[str, Any] = {}
    try:
        found["label_file"] = data.label_file()
        found["expected"] = data.expected_rows
        _look(data, found)
    except (FileNotFoundError, ValueError) as error:
        found["problem"] = str(error)
    return Check(
        title=data.title,
        root=Path(root),
        mos_range=data.mos_range,
        higher_is_better=data.higher_is_better,
        **found,
    )


def _look(data: Benchmark, found: dict[str, Any]) -> None:
    """Fill in the fields of the result, until the first defect raises."""
    table = data.annotations
    found["rows"] = len(table)
    found["scores"] = (float(table["mos"].min()), float(table["mos"].max()))
    here = np.array([path is not None for path in data.paths])
    found["missing"] = tuple(table["image"][~here])
    paths = set(data.paths[here])
    folders = sorted({path.rpartition("/")[0] for path in paths})
    found["folders"] = {folder or ".": len(data.files.files(folder)) for folder in folders}
    found["surplus"] = tuple(
        path
        for folder in folders
        for file in data.files.files(folder)
        if file.lower().endswith(_PICTURES)
        and (path := f"{folder}/{file}".lstrip("/")) not in paths
        and not re.fullmatch(data.extras, file, re.IGNORECASE)
    )
    found["split"] = data.split_kind
    split = make_split(table, data.split_kind, fractions=data.fractions, seed=data.seed)
    found["parts"] = {part: len(getattr(split, part)) for part in PARTS}
    if len(found["missing"]) > data.max_missing:
        data.check_pictures()


def facts() -> pd.DataFrame:
    """Return the declared facts of all benchmarks.

    Returns:
        DataFrame, one row per benchmark: ``name``, ``title``, ``pictures``, ``low``, ``high``,
        ``better`` (``higher`` or ``lower``), ``split``, ``protocol``, ``resize``, ``source``,
        ``terms`` and ``obtain``.
    """
    return pd.DataFrame(
        [
            {
                "name": b.name,
                "title": b.title,
                "pictures": b.count,
                "low": b.mos_range[0],
                "high": b.mos_range[1],
                "better": "higher" if b.higher_is_better else "lower",
                "split": b.default_split,
                "protocol": b.protocol,
                "resize": _size(b.usual_resize),
                "source": b.source,
                "terms": b.terms,
                "obtain": b.obtain,
            }
            for b in BENCHMARKS.values()
        ]
    ).astype({"pictures": "Int64"})


def render_facts(table: pd.DataFrame) -> Table:
    """Lay out the result of :func:`facts` for the terminal."""
    view = Table(title="Benchmarks", show_lines=True)
    view.add_column("name", no_wrap=True)
    view.add_column("pictures", justify="right", no_wrap=True)
    view.add_column("scale", no_wrap=True)
    view.add_column("protocol, source, terms", overflow="fold")
    for row in table.itertuples():
        view.add_row(
            row.name,
            "?" if pd.isna(row.pictures) else f"{row.pictures:,}",
            f"{row.low:g} to {row.high:g}\n{row.better} is better",
            Text(f"{row.protocol}; {row.resize}\n{row.source}\n{row.terms}"),
        )
    return view


def render_check(result: Check) -> Table:
    """Lay out the result of :func:`check` for the terminal."""
    low, high = result.mos_range
    better = "higher" if result.higher_is_better else "lower"
    expected = " or ".join(f"{n:,}" for n in result.expected)
    view = Table(title=f"{result.title} in {result.root}", show_header=False)
    view.add_column(style="bold")
    view.add_column(overflow="fold")

    def add(heading: str, text: str, style: str = "") -> None:
        view.add_row(heading, Text(text, style=style))

    add("labels", str(result.label_file or "not found"))
    if result.scores is not None:
        add("pictures", f"{result.rows:,} rated" + (f" of {expected}" if expected else ""))
        lowest, highest = result.scores
        add("scores", f"{lowest:g} to {highest:g} ({low:g} to {high:g}, {better} is better)")
        sizes = ", ".join(f"{part} {size:,}" for part, size in result.parts.items())
        add("split", f"{result.split}: {sizes}")
        add("folders", ", ".join(f"{f} ({n:,} files)" for f, n in result.folders.items()) or "none")
        add("missing", _listed(result.missing))
        add("surplus", _listed(result.surplus))
    if result.problem is None:
        add("result", "complete: ready to use", "green")
    else:
        add("problem", result.problem, "red")
    return view


def _listed(names: Sequence[str], most: int = 10) -> str:
    if not names:
        return "none"
    shown = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
    return f"{len(names):,}: {shown}"


def _size(resize: int | tuple[int, int] | None) -> str:
    if resize is None:
        return "native size"
    return f"short side {resize}" if isinstance(resize, int) else f"{resize[0]}x{resize[1]}"
