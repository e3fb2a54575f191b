"""The page of a comparison before and after: one sentence per score, and pairs under a slider."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from clipiqa_plus.evaluation.before_after.files import (
    PICTURES,
    SUMMARY,
    read_record,
    sentences,
    shown,
)
from clipiqa_plus.evaluation.results import REPORT
from clipiqa_plus.inference.bulk.inputs import picture_named
from clipiqa_plus.inference.bulk.pictures import NO_LIMIT, decode
from clipiqa_plus.report.rendering import render
from clipiqa_plus.report.tables import cells
from clipiqa_plus.training.run_folder import write_text

MOST = 8
"""Pictures shown as the largest gains, and as the largest losses, of each score."""
_SIDE, _QUALITY = 640, 82  # of the longer side of a picture: 40 to 80 KB


def write_comparison(folder: str | Path) -> Path:
    """Write the page of a comparison.

    Args:
        folder: Where :func:`~clipiqa_plus.evaluation.before_after.files.save` wrote it.

    Returns:
        The page, ``report.html`` in the folder.

    Raises:
        FileNotFoundError: If the folder holds no finished comparison.
    """
    folder = Path(folder)
    record = read_record(folder)
    summary = pd.read_csv(folder / SUMMARY)
    pictures = pd.read_csv(folder / PICTURES, dtype={"picture": str}, keep_default_na=False)
    context = {
        "title": "Before and after",
        "sentences": sentences(summary),
        "summary": cells(shown(summary)) | {"spaced": True},
        "scores": [_score(str(name), pictures) for name in summary["score"]],
        "record": record,
        "most": MOST,
    }
    page = folder / REPORT
    write_text(page, render("compare.html", **context))
    return page


def _score(name: str, pictures: pd.DataFrame) -> dict[str, Any]:
    """The largest gains and losses by one score."""
    change = f"{name}_difference"
    gains = pictures[pictures[change] > 0].nlargest(MOST, change)
    losses = pictures[pictures[change] < 0].nsmallest(MOST, change)
    groups = {"Largest gains": gains, "Largest losses": losses}
    return {
        "name": name,
        "groups": {
            title: [_pair(row, name) for row in rows.to_dict("records")]
            for title, rows in groups.items()
        },
    }


def _pair(row: dict[Any, Any], name: str) -> dict[str, Any]:
    """Both pictures of a row at one size, as data URIs; none if one no longer exists."""
    before, after = (_decoded(str(row[side])) for side in ("before", "after"))
    pair = {key: row[f"{name}_{key}"] for key in ("before", "after", "difference")}
    pair = {"picture": row["picture"], "scores": pair, "sources": None}
    if before is not None and after is not None:
        sizes = "{} x {}".format(*before.size), "{} x {}".format(*after.size)
        size = _fitted(after.size)
        pair["sources"] = [_uri(image.resize(size)) for image in (before, after)]
        pair["sizes"] = "" if sizes[0] == sizes[1] else f"{sizes[0]} and {sizes[1]} pixels"
    return pair


def _decoded(path: str) -> Image.Image | None:
    picture = picture_named(path)
    pixels = None if picture is None else decode(picture, 1, NO_LIMIT).image
    return None if pixels is None else Image.fromarray(pixels.permute(1, 2, 0).numpy())


def _fitted(size: tuple[int, int]) -> tuple[int, int]:
    """A size whose longer side is at most :data:`_SIDE`."""
    scale = min(1.0, _SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
