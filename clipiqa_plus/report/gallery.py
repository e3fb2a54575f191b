"""One offline page of a file of scores: their distribution, the best and the worst pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from clipiqa_plus.inference.bulk.inputs import picture_named
from clipiqa_plus.inference.bulk.pictures import decode
from clipiqa_plus.report.histograms import histogram
from clipiqa_plus.report.rendering import render
from clipiqa_plus.training.run_folder import write_text

if TYPE_CHECKING:
    import pandas as pd

_CHUNK = 50_000
_PIXELS = 480


def write_gallery(
    page: str | PathLike[str],
    scores: str | PathLike[str],
    names: Sequence[str],
    settings: dict[str, Any],
    most: int = 24,
) -> Path:
    """Write an HTML page with the distribution of the scores and some of the pictures.

    Args:
        page: HTML file to write; replaced only when complete.
        scores: File of scores that :func:`~clipiqa_plus.inference.bulk.score_files` completed.
        names: Columns of scores to show.
        settings: Settings of the scorer and of the size limit.
        most: Number of pictures with the highest scores, with the lowest, and evenly in between;
            each picture is shown once.

    Returns:
        The page.
    """
    values = np.concatenate([chunk[list(names)].to_numpy(np.float32) for chunk in _chunks(scores)])
    chosen = _chosen(values, most)
    tiles = []
    for image, row in zip(_images(scores, chosen), values[chosen], strict=True):
        folder, _, file = image.rpartition("/")
        tile = {"name": image, "folder": folder, "file": file, "source": _thumbnail(image)}
        tiles.append(tile | {"scores": [round(float(score), 4) for score in row]})
    context = {
        "title": f"Scores by {settings['preset']}",
        "settings": settings,
        "file": Path(scores).name,
        "names": names,
        "verdict": _verdict(values, names, settings["preset"]),
        "chosen": _described(len(tiles), len(values), most),
        "distributions": [histogram(name, values[:, at]) for at, name in enumerate(names)],
        "tiles": tiles,
    }
    page = Path(page)
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(page, render("gallery.html", **context))
    return page


def _chosen(values: NDArray[np.float32], most: int) -> NDArray[np.int64]:
    """Rows with the highest and lowest scores of each name, and evenly between by the first."""
    count = len(values)
    rows: set[int] = set()
    for column in values.T:
        order = np.argsort(-column, kind="stable")
        rows |= {*order[:most].tolist(), *order[count - min(most, count) :].tolist()}
    order = np.argsort(-values[:, 0], kind="stable")
    if count > 2 * most:
        between = np.linspace(most, count - most - 1, min(most, count - 2 * most))
        rows |= set(order[between.round().astype(int)].tolist())
    return np.array([row for row in order if row in rows], np.int64)


def _images(scores: str | PathLike[str], chosen: NDArray[np.int64]) -> list[str]:
    """Names of the pictures in these rows of a file of scores."""
    found: dict[int, str] = {}
    start = 0
    for chunk in _chunks(scores):
        here = chosen[(chosen >= start) & (chosen < start + len(chunk))]
        found |= zip(here.tolist(), chunk["image"].iloc[here - start], strict=True)
        start += len(chunk)
    return [found[row] for row in chosen.tolist()]


def _verdict(values: NDArray[np.float32], names: Sequence[str], preset: str) -> Markup:
    """The scores in a sentence."""
    low, middle, high = np.quantile(values[:, 0], (0.25, 0.5, 0.75))
    what = "score" if len(names) == 1 else names[0]
    text = "{} scored by <strong>{}</strong>: median {} {}, the middle half from {} to {}."
    count = f"{len(values):,} pictures" if len(values) > 1 else "1 picture"
    return Markup(text).format(count, preset, what, *(f"{v:.3f}" for v in (middle, low, high)))


def _described(shown: int, count: int, most: int) -> str:
    if shown == count:
        return "All pictures."
    others = f"the {most} highest, the {most} lowest, and others evenly in between"
    return f"{shown} of {count:,}: {others}."


def _chunks(scores: str | PathLike[str]) -> Iterator[pd.DataFrame]:
    import pandas as pd
    import pyarrow.parquet as pq

    path = Path(scores)
    if path.suffix == ".parquet":
        yield from (batch.to_pandas() for batch in pq.ParquetFile(path).iter_batches(_CHUNK))
    elif path.suffix == ".jsonl":
        yield from pd.read_json(path, lines=True, chunksize=_CHUNK, dtype={"image": str})
    else:  # a picture may be called NA
        yield from pd.read_csv(path, chunksize=_CHUNK, dtype={"image": str}, keep_default_na=False)


def _thumbnail(name: str) -> str | None:
    """Return a thumbnail as a data URL, or None if the picture no longer exists."""
    picture = picture_named(name)
    pixels = None if picture is None else decode(picture, 1).image
    if pixels is None:
        return None
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    image.thumbnail((_PIXELS, _PIXELS))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
