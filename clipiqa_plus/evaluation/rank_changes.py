"""The pictures whose rank changed most by tuning, and small JPEGs of them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from rich.progress import track
from scipy.stats import rankdata

from clipiqa_plus.data.base import IQADataModule

MOST_CHANGED = 8
"""Pictures shown as helped, and as hurt."""
_SIDE, _QUALITY = 112, 60  # of thumbnails: 2 to 3 KB each


class RankChange(NamedTuple):
    """A picture whose rank by another source is nearer to its rank by MOS, or farther."""

    id: int
    image: str
    mos: float
    first: float
    """Score of the reference source."""
    other: float
    gain: float
    """Decrease of the distance to the rank by MOS, as a share of all ranks; below 0: increase."""


def rank_errors(prediction: ArrayLike, mos: ArrayLike) -> NDArray[np.float64]:
    """Distance of each picture's rank by score from its rank by MOS.

    Ranks, because scores and MOS need not share a scale: the picture's contribution to SRCC.

    Args:
        prediction: Scores, [N].
        mos: MOS, [N].

    Returns:
        [N], as a share of the N pictures: 0 for the same rank, near 1 for opposite ends.
    """
    ranks, truth = rankdata(prediction), rankdata(mos)
    return np.abs(ranks - truth) / len(ranks)


def largest_rank_changes(
    scores: pd.DataFrame, first: str, other: str
) -> tuple[list[RankChange], list[RankChange]]:
    """Find the pictures that a source helped and hurt most.

    Args:
        scores: Scores per picture of one target.
        first: Reference source.
        other: Source compared with it.

    Returns:
        At most :data:`MOST_CHANGED` helped and as many hurt pictures, largest changes first.
    """
    mos = scores["mos"].to_numpy()
    gain = rank_errors(scores[first], mos) - rank_errors(scores[other], mos)
    names = scores["image"] if "image" in scores else scores["id"]
    columns = (scores["id"].astype(int), names.astype(str), mos, scores[first], scores[other], gain)
    pictures = [RankChange(*row) for row in zip(*columns, strict=True)]
    order = np.argsort(-gain, kind="stable")
    helped = [pictures[i] for i in order[:MOST_CHANGED] if gain[i] > 0]
    hurt = [pictures[i] for i in order[::-1][:MOST_CHANGED] if gain[i] < 0]
    return helped, hurt


def thumbnails(
    data: IQADataModule, scores: pd.DataFrame, sources: Sequence[str], count: int
) -> pd.DataFrame:
    """Make small JPEGs for the report, largest rank changes first.

    Args:
        data: The data module that was scored.
        scores: What :func:`score` returned.
        sources: Names of the sources; the others are compared with the first.
        count: Largest number of pictures.

    Returns:
        ``id`` and ``jpeg`` (bytes), in the order of their use.
    """
    moved = pd.Series(0.0, index=scores.index)
    for _, group in scores.groupby("target", sort=False):
        errors = [rank_errors(group[s].to_numpy(), group["mos"].to_numpy()) for s in sources]
        for error in errors[1:]:
            moved[group.index] = np.maximum(moved[group.index], np.abs(error - errors[0]))
    order = moved.groupby(scores["id"]).max().sort_values(ascending=False, kind="stable")
    dataset = data.dataset("test")  # plain views, as for every evaluated part
    found = {}
    for row in track(order.index[:count], description="thumbnails", transient=True):
        picture = Image.fromarray(dataset.picture(int(row), 0))
        picture.thumbnail((_SIDE, _SIDE), reducing_gap=2)
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=_QUALITY, optimize=True)
        found[row] = file.getvalue()
    return pd.DataFrame({"id": list(found), "jpeg": list(found.values())})


def data_uris(path: Path, budget: int) -> dict[str, str]:
    """Read thumbnails for a page.

    Args:
        path: A ``thumbnails.parquet``; without the file there are no thumbnails.
        budget: Bytes they may take in the page; the last ones are left out.

    Returns:
        Data URIs by id.
    """
    found: dict[str, str] = {}
    if not path.is_file():
        return found
    for row in pd.read_parquet(path).itertuples():
        uri = f"data:image/jpeg;base64,{base64.b64encode(row.jpeg).decode()}"
        budget -= len(uri) + 12
        if budget < 0:
            break
        found[str(row.id)] = uri
    return found
