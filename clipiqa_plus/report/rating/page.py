"""One page of pictures to rate: by stars, or the better of two."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipiqa_plus.data import progress
from clipiqa_plus.data.images import read_rgb
from clipiqa_plus.evaluation.rating.ratings import sha256_of_file
from clipiqa_plus.evaluation.rating.suggestions import Suggestions
from clipiqa_plus.report.rendering import compact, render
from clipiqa_plus.training.run_folder import write_text

PAGE_BYTES = 9_900_000
"""Largest page: it must pass as an attachment of a mail."""
SIDES = (1600, 1280, 1024, 896, 768, 640, 512, 448, 384)
"""Longer sides, in pixels, that pictures may be scaled to, the largest first."""
QUALITY = 90
"""JPEG quality: lower ones would add defects that people then rate."""


def write_rating_page(
    suggestions: Suggestions, root: str | os.PathLike[str], page: str | os.PathLike[str]
) -> tuple[Path, int]:
    """Write the page; pictures are as large as fit into :data:`PAGE_BYTES` together.

    Args:
        suggestions: The chosen pictures or pairs.
        root: Folder of the pictures.
        page: HTML file to write.

    Returns:
        The file, and the longer side that pictures are scaled to at most.

    Raises:
        ValueError: If the pictures do not fit at the smallest of :data:`SIDES`, or one cannot be
            decoded.
    """
    folder, path = Path(root), Path(page)
    rows = list(dict.fromkeys(suggestions.chosen.ravel().tolist()))
    names = [suggestions.names[row] for row in rows]
    side, jpegs = _fitted([folder / name for name in names])
    pictures = [
        {"name": name, "sha256": sha256_of_file(folder / name), **shown}
        for name, shown in zip(names, jpegs, strict=True)
    ]
    place = {row: at for at, row in enumerate(rows)}
    rng = np.random.default_rng(0)  # the order says nothing about the scores
    items = [
        [place[row] for row in np.atleast_1d(chosen).tolist()] for chosen in suggestions.chosen
    ]
    items = [items[at] for at in rng.permutation(len(items))]
    items = [[item[at] for at in rng.permutation(len(item))] for item in items]
    facts = {"kind": suggestions.kind, "items": items, "side": side}
    content = json.dumps([facts, [picture["sha256"] for picture in pictures]])
    task = {"id": hashlib.sha256(content.encode()).hexdigest()[:16], **facts, "pictures": pictures}
    largest = max(max(shown["width"], shown["height"]) for shown in jpegs)
    text = render(
        "rate.html",
        title="Rate these pictures" if suggestions.kind == "stars" else "Which is better?",
        kind=suggestions.kind,
        count=len(items),
        scaled=largest >= side,
        side=side,
        quality=QUALITY,
        task=compact(task),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return path, side


def _fitted(paths: list[Path]) -> tuple[int, list[dict[str, Any]]]:
    """The largest side at which all pictures fit, and the pictures at that side."""
    budget = PAGE_BYTES - len(render("rate.html", task="", count=0)) - 400 * len(paths)
    encoded: dict[int, list[dict[str, Any]]] = {side: [] for side in SIDES}
    size = dict.fromkeys(SIDES, 0)
    for path in progress(paths, "pictures"):
        picture = Image.fromarray(read_rgb(path))
        for side in list(encoded):
            shown = _jpeg(picture, side)
            size[side] += len(shown["jpeg"])
            if size[side] > budget:
                del encoded[side]
                continue
            encoded[side].append(shown)
        if not encoded:
            raise ValueError(
                f"{len(paths)} pictures do not fit into {PAGE_BYTES / 1e6:.1f} MB, even at "
                f"{SIDES[-1]} pixels, below which quality cannot be judged: choose fewer with "
                "--count, and write several pages"
            )
    side = max(encoded)
    return side, encoded[side]


def _jpeg(picture: Image.Image, side: int) -> dict[str, Any]:
    """A picture as base64 of a JPEG, scaled down to a longer side; never up."""
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, format="JPEG", quality=QUALITY, subsampling=0)
    encoded = base64.b64encode(file.getvalue()).decode()
    return {"width": small.width, "height": small.height, "jpeg": encoded}
