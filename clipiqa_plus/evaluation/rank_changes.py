"""The pictures whose rank changed most by tuning, and small JPEGs of them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy.stats import rankdata

from clipiqa_plus.data import progress
from clipiqa_plus.data.base import IQADataModule

MOST_CHANGED = 8
"""Pictures shown as helped, and as hurt."""
_SIDE, _QUALITY = 112, 60  # of thumbnails: 2 to 3 KB each
_LARGE_SIDE, _LARGE_QUALITY = 560, 80  # of the pictures that the page opens: 30 to 60 KB each


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
    names = scores["image"] if "image" in scores else scores["id"].astype(str)

    def change(at: int) -> RankChange:
        row = scores.iloc[at]
        name = str(names.iloc[at])
        return RankChange(int(row["id"]), name, mos[at], row[first], row[other], gain[at])

    order = np.argsort(-gain, kind="stable")
    helped = [change(i) for i in order[:MOST_CHANGED] if gain[i] > 0]
    hurt = [change(i) for i in order[::-1][:MOST_CHANGED] if gain[i] < 0]
    return helped, hurt


def shown_pictures(scores: pd.DataFrame, sources: Sequence[str]) -> list[int]:
    """Return the ids of the pictures that the page shows as helped or hurt, largest change first.

    Args:
        scores: What :func:`~clipiqa_plus.evaluation.evaluation.score` returned.
        sources: Names of the sources; the others are compared with the first.
    """
    changes = [
        change
        for _, group in scores.groupby("target", sort=False)
        for other in sources[1:]
        for part in largest_rank_changes(group, sources[0], other)
        for change in part
    ]
    ordered = sorted(changes, key=lambda change: -abs(change.gain))
    return list(dict.fromkeys(change.id for change in ordered))


def thumbnails(
    data: IQADataModule,
    scores: pd.DataFrame,
    sources: Sequence[str],
    count: int,
    also: Iterable[int] = (),
) -> pd.DataFrame:
    """Make small JPEGs for the report, and larger ones of the pictures that it shows.

    Args:
        data: The data module that was scored.
        scores: What :func:`~clipiqa_plus.evaluation.evaluation.score` returned.
        sources: Names of the sources; the others are compared with the first.
        count: Largest number of pictures.
        also: Ids of further pictures that the page shows.

    Returns:
        ``id``, ``jpeg`` (bytes) and ``large`` (bytes; None for pictures that the page does not
        show), in the order of their use: what the page shows, then by change of rank.
    """
    moved = pd.Series(0.0, index=scores.index)
    for _, group in scores.groupby("target", sort=False):
        errors = [rank_errors(group[s].to_numpy(), group["mos"].to_numpy()) for s in sources]
        for error in errors[1:]:
            moved[group.index] = np.maximum(moved[group.index], np.abs(error - errors[0]))
    rest = moved.groupby(scores["id"]).max().sort_values(ascending=False, kind="stable")
    shown = dict.fromkeys([*shown_pictures(scores, sources), *map(int, also)])
    order = list(dict.fromkeys([*shown, *map(int, rest.index)]))[:count]
    dataset = data.dataset("test")  # plain views, as for every evaluated part
    found = []
    for row in progress(order, "thumbnails"):
        picture = Image.fromarray(dataset.picture(row, 0))
        large = _jpeg(picture, _LARGE_SIDE, _LARGE_QUALITY) if row in shown else None
        found.append((row, _jpeg(picture, _SIDE, _QUALITY), large))
    return pd.DataFrame(found, columns=["id", "jpeg", "large"])


def _jpeg(picture: Image.Image, side: int, quality: int) -> bytes:
    """A JPEG of a picture, at most ``side`` pixels wide and high."""
    small = picture.copy()
    small.thumbnail((side, side), reducing_gap=2)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()


def data_uris(path: Path, budget: int) -> dict[str, list[str]]:
    """Read pictures for a page.

    Args:
        path: A ``thumbnails.parquet``; without the file there are no pictures.
        budget: Bytes they may take in the page. Small ones of the pictures that the page shows
            come first, then large ones, then the other small ones.

    Returns:
        Data URIs by id: the small one, and the large one if there is one.
    """
    found: dict[str, list[str]] = {}
    if not path.is_file():
        return found
    table = pd.read_parquet(path)
    large = table["large"] if "large" in table else pd.Series([None] * len(table))
    shows = large.notna()
    stages = [(table["jpeg"], shows), (large, shows), (table["jpeg"], ~shows)]
    for jpegs, chosen in stages:
        for id, jpeg in zip(table["id"][chosen], jpegs[chosen], strict=True):
            uri = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
            budget -= len(uri) + 14
            if budget < 0:
                return found
            found.setdefault(str(id), []).append(uri)
    return found
