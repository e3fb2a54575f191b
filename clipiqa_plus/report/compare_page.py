"""The page of a comparison before and after: a verdict per score, pairs under a slider, a table."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from PIL import Image

from clipiqa_plus.evaluation.before_after import files
from clipiqa_plus.evaluation.results import REPORT
from clipiqa_plus.inference.bulk.inputs import picture_named
from clipiqa_plus.inference.bulk.pictures import decode
from clipiqa_plus.report.histograms import histogram
from clipiqa_plus.report.rendering import render
from clipiqa_plus.report.tables import cells
from clipiqa_plus.training.run_folder import write_text

MOST = 8
"""Pictures shown as the largest gains, and as the largest losses, of each score."""
ROWS = 500
"""Most pictures in the table: those of the largest differences; all are in the CSV file."""
LISTED = 100
"""Most pictures listed as left out; all are in the CSV file."""
TERMS = ("difference", "win_rate", "p_holm", "n", "sign flips", "verdict")
_SIDE, _QUALITY = 800, 80  # of the longer side of a picture: 60 to 120 KB


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
    record = files.read_record(folder)
    summary = pd.read_csv(folder / files.SUMMARY)
    pictures = pd.read_csv(folder / files.PICTURES, dtype={"picture": str}, keep_default_na=False)
    left_out = pd.read_csv(folder / files.LEFT_OUT, dtype=str, keep_default_na=False)
    scores = [str(name) for name in summary["score"]]
    names = files.side_names(*(str(record["settings"][side]) for side in files.SIDES))
    context = {
        "title": f"{names[0]} and {names[1]}",
        "names": names,
        "verdicts": [_verdict(row, names, len(scores) > 1) for row in summary.itertuples()],
        "count": len(pictures),
        "distributions": [_distribution(name, pictures, len(scores) > 1) for name in scores],
        "summary": cells(files.shown(summary)) | {"spaced": True},
        "scores": [_score(name, pictures) for name in scores],
        "pictures": cells(_table(pictures, scores)) | {"spaced": True},
        "left_out": left_out.head(LISTED).to_dict("records"),
        "terms_used": TERMS,
        "record": record,
    }
    page = folder / REPORT
    write_text(page, render("compare.html", **context))
    return page


def _verdict(row: Any, names: tuple[str, str], several: bool) -> Markup:
    """The verdict by one score with the names in bold, and its numbers."""
    before, after = (Markup("<strong>{}</strong>").format(name) for name in names)
    words = Markup(files.verdict(row, (before, after)))
    by = Markup(" by <strong>{}</strong>").format(row.score) if several else ""
    return Markup("{}{}: <span>{}.</span>").format(words, by, files.effect(row))


def _distribution(name: str, pictures: pd.DataFrame, several: bool) -> dict[str, Any]:
    title = f"Difference in {name}" if several else "Difference of each picture"
    return histogram(title, pictures[f"{name}_difference"].to_numpy(), signed=True)


def _table(pictures: pd.DataFrame, scores: list[str]) -> pd.DataFrame:
    """The pictures with the largest differences by any score."""
    size = pictures[[f"{name}_difference" for name in scores]].abs().max(axis=1)
    rows = pictures.loc[size.nlargest(ROWS).index]
    columns = {
        f"{name}_{part}": part if len(scores) == 1 else f"{name} {part}"
        for name in scores
        for part in (*files.SIDES, "difference")
    }
    return rows[["picture"]].join(rows[list(columns)].rename(columns=columns))


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
    before, after = (_decoded(str(row[side])) for side in files.SIDES)
    pair = {key: row[f"{name}_{key}"] for key in (*files.SIDES, "difference")}
    pair = {"picture": row["picture"], "scores": pair, "sources": None}
    if before is not None and after is not None:
        sizes = "{} x {}".format(*before.size), "{} x {}".format(*after.size)
        size = _fitted(after.size)
        pair["sources"] = [_uri(image.resize(size)) for image in (before, after)]
        pair["ratio"] = round(size[0] / size[1], 4)
        pair["sizes"] = "" if sizes[0] == sizes[1] else f"{sizes[0]} and {sizes[1]} pixels"
    return pair


def _decoded(path: str) -> Image.Image | None:
    picture = picture_named(path)
    pixels = None if picture is None else decode(picture, 1).image
    return None if pixels is None else Image.fromarray(pixels.permute(1, 2, 0).numpy())


def _fitted(size: tuple[int, int]) -> tuple[int, int]:
    """A size whose longer side is at most :data:`_SIDE`."""
    scale = min(1.0, _SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
