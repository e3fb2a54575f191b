"""Which preset and size a table of scores comes from: its pictures scored again under each."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.image_tower import PosEmbedding
from clipiqa_plus.data import progress
from clipiqa_plus.data.images import RGBImage, read_rgb
from clipiqa_plus.data.transforms import resize
from clipiqa_plus.inference.presets import PRESETS, Preset
from clipiqa_plus.inference.scorer import Scorer, load
from clipiqa_plus.metrics.functional import srcc

SAME_MEAN, SAME_MOST = 0.002, 0.01
"""Scores are the same if they differ by less, on average and at most. Rounding to four digits moves
a score by 0.00005, the official code's fp16 by about 0.001."""
FEWEST = 3
"""Fewest pictures that tell anything."""
_NAMES = ("image", "name", "path", "file", "filename", "img", "image_name")
COLUMNS = ("preset", "size", "mean", "most", "SRCC")

Resize = Callable[[RGBImage], RGBImage]


def _short(side: int) -> Resize:
    return lambda image: resize(image, side)


def _centre(image: RGBImage) -> RGBImage:
    image = resize(image, 224)
    top, left = (image.shape[0] - 224) // 2, (image.shape[1] - 224) // 2
    return image[top : top + 224, left : left + 224]


SIZES: dict[str, Resize] = {
    "native": lambda image: image,
    "short side 224": _short(224),
    "224x224 centre": _centre,
    "short side 384": _short(384),
    "short side 448": _short(448),
    "short side 512": _short(512),
}
"""Sizes by name; ``224x224 centre`` is CLIP's own preprocessing."""


@dataclass(frozen=True)
class Explained:
    """What a table of scores was compared with.

    Attributes:
        table: A row for each preset and size, nearest first: see :data:`COLUMNS`. ``mean`` and
            ``most`` are absolute differences of scores, in 0 to 1.
        missing: Presets that were not tried, and why.
        pictures: Number of pictures compared.
        scale: What the scores of the table were divided by.
    """

    table: pd.DataFrame
    missing: dict[str, str]
    pictures: int
    scale: float

    @property
    def same(self) -> pd.DataFrame:
        """The rows whose scores are those of the table."""
        return self.table[(self.table["mean"] < SAME_MEAN) & (self.table["most"] < SAME_MOST)]

    def sentence(self) -> str:
        """Return what the table of scores comes from, in one sentence."""
        divided = "" if self.scale == 1 else f", multiplied by {self.scale:g}"
        if self.same.empty:
            first = self.table.iloc[0]
            return (
                f"The scores come from none of these; the nearest is {first['preset']} at "
                f"{first['size']}, {first['mean']:.3f} away on average (SRCC {first['SRCC']:.3f})"
            )
        found = [f"{row.preset} at {row.size}" for row in self.same.itertuples()]
        more = "" if len(found) == 1 else ", which are the same on these pictures"
        return f"The scores are those of {' and '.join(found)}{divided}{more}"


def read_table(path: Path, column: str | None = None) -> pd.DataFrame:
    """Read names of pictures and scores from a table of any program.

    Args:
        path: A CSV file (separated by commas, semicolons or tabs), JSON lines or Parquet.
        column: The column of scores; None takes the only numeric one, or one named ``score``.

    Returns:
        ``image`` (str) and ``score`` (float64), without rows that have no score.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or its columns cannot be told apart.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        elif path.suffix == ".jsonl":
            table = pd.read_json(path, lines=True, dtype=False, convert_dates=False)
        else:
            table = pd.read_csv(path, sep=None, engine="python")
    except (ValueError, OSError, csv.Error, pd.errors.ParserError) as error:
        raise ValueError(f"{path}: not a table of scores ({error})") from error
    table.columns = [str(c) for c in table]
    is_number = {c: pd.api.types.is_numeric_dtype(table[c]) for c in table}
    named = [c for c in table if c.lower() in _NAMES and c != column]
    named += [c for c in table if not is_number[c]]
    numeric = [c for c in table if is_number[c] and c not in named[:1]]
    if column is None:
        choice = [c for c in numeric if c.lower() == "score"] or numeric
        if len(choice) != 1:
            raise ValueError(
                f"{path}: numeric columns {numeric}; name that of the scores: --column"
            )
        column = choice[0]
    if column not in numeric:
        raise ValueError(f"{path}: no numeric column {column!r}; there are {numeric}")
    if not named:
        raise ValueError(f"{path}: no column with the names of pictures")
    names, scores = table[named[0]].astype(str), table[column].astype(float)
    found = pd.DataFrame({"image": names, "score": scores})
    return found[found["score"].notna()].reset_index(drop=True)


def find_in(folder: Path, names: Sequence[str]) -> list[Path | None]:
    """Find pictures by the names in a table: the path below a folder, its end, or its stem.

    Args:
        folder: Where the pictures are.
        names: Names, with or without folders and suffix.

    Returns:
        A file for each name; None if there is none, or more than one.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of pictures")
    by_name: dict[str, list[Path]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        for key in {path.name, path.stem}:
            by_name.setdefault(key, []).append(path)
    found: list[Path | None] = []
    for name in names:
        direct = folder / name
        alike = by_name.get(Path(name).name) or by_name.get(Path(name).stem) or []
        alone = alike[0] if len(alike) == 1 else None
        found.append(direct if direct.is_file() else alone)
    return found


def explain(
    table: pd.DataFrame,
    folder: Path,
    *,
    backbone: str | None = None,
    prompts: Sequence[str] = (),
    sizes: Iterable[str] = tuple(SIZES),
    most: int = 50,
    fetch: bool = False,
    device: str | None = None,
) -> Explained:
    """Score pictures under every preset and size, and compare with a table of scores.

    Args:
        table: See :func:`read_table`.
        folder: Where its pictures are.
        backbone: Replaces RN50 in the presets that are not bound to published files.
        prompts: Further prompt files to try.
        sizes: Names in :data:`SIZES`.
        most: Largest number of pictures to compare, spread over the table.
        fetch: Download the files of published presets that are not at hand.
        device: Where to compute; None takes the GPU if there is one.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If fewer than three pictures of the table are found, or nothing can be tried.
    """
    if unknown := [size for size in sizes if size not in SIZES]:
        raise ValueError(f"unknown size {unknown[0]!r}; choose from {', '.join(SIZES)}")
    paths = find_in(folder, table["image"].tolist())
    rows = [row for row, path in enumerate(paths) if path is not None]
    if len(rows) < FEWEST:
        absent = [name for name, path in zip(table["image"], paths, strict=True) if path is None]
        raise ValueError(
            f"{folder}: {len(rows)} of the {len(table)} pictures of the table are there (missing: "
            f"{', '.join(absent[:3])}); at least {FEWEST} are needed"
        )
    rows = [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, most).round().astype(int))]
    target = torch.tensor(table["score"].to_numpy()[rows])
    scale = 100.0 if float(target.max()) > 2 else 1.0
    images = [read_rgb(path) for path in (paths[row] for row in rows) if path is not None]
    missing: dict[str, str] = {}
    found = []
    with torch.inference_mode():
        for scorer in _scorers(backbone, prompts, fetch, device, missing):
            title = str(scorer.settings["preset"])
            for size in progress(sizes, f"{title}: sizes"):
                try:
                    scores = _scores(scorer, [SIZES[size](image) for image in images])
                except ValueError as error:
                    missing[f"{title} at {size}"] = str(error)
                    continue
                for name, column in zip(scorer.names, scores.double().cpu().T, strict=True):
                    if len(scorer.names) > 1 and name == "quality":
                        continue  # the preset clipiqa again
                    away = (column - target / scale).abs()
                    found.append(
                        (
                            title if name == "score" else f"{title}: {name}",
                            size,
                            float(away.mean()),
                            float(away.max()),
                            float(srcc(column, target)),
                        )
                    )
    if not found:
        reasons = "\n".join(f"  {name}: {reason}" for name, reason in missing.items())
        raise ValueError(f"no preset can be tried:\n{reasons}")
    result = pd.DataFrame(found, columns=list(COLUMNS)).sort_values("mean", kind="stable")
    return Explained(result.reset_index(drop=True), missing, len(rows), scale)


def _scores(scorer: Scorer, images: Sequence[RGBImage]) -> Tensor:
    return torch.cat([scorer(image) for image in images])


def _scorers(
    backbone: str | None,
    prompts: Sequence[str],
    fetch: bool,
    device: str | None,
    missing: dict[str, str],
) -> Iterator[Scorer]:
    """Load every preset that can be had, those of one backbone sharing it; note the others."""
    towers: dict[tuple[str, PosEmbedding | None], FrozenCLIP] = {}
    wanted: list[tuple[Preset, str | None]] = [(preset, None) for preset in PRESETS.values()]
    wanted += [(PRESETS["clipiqa+"], path) for path in prompts]
    for preset, path in wanted:
        if path is None and not fetch:
            absent = [file for file in preset.files if file.find() is None]
            if absent:
                missing[preset.name] = (
                    f"{absent[0].name} is not at hand: --fetch downloads it from "
                    f"{absent[0].addresses[0]}, or put it at {absent[0].path}"
                )
                continue
        options: dict[str, Any] = {"device": device}
        try:
            if path is None and not preset.files:
                key = (backbone or preset.backbone, preset.pos_embedding)
                if key not in towers:
                    towers[key] = FrozenCLIP.from_name(*key)
                options = {"backbone": towers[key], **options}
            elif path is not None:
                options["backbone"] = backbone
            scorer = load(preset.name, path, **options)
        except (FileNotFoundError, ValueError) as error:
            missing[path or preset.name] = str(error).splitlines()[0]
            continue
        if path is not None:
            scorer.settings["preset"] = f"clipiqa+ with {path}"
        yield scorer
