"""What is wanted, and in which batches what is missing is encoded.

The last bits of a feature depend on the batch that it is encoded in. Therefore a batch is the
unit of work: it is stored whole or done again whole, and what is left after a kill falls into the
same batches as before. A resumed extraction gives the bits of an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clipiqa_plus.data.base import IQADataset
from clipiqa_plus.features.identity import Picture, feature_key

MEGAPIXEL = 1 << 20


@dataclass(frozen=True)
class Selection:
    """Pictures of which all views are wanted.

    Attributes:
        dataset: Gives pictures and their views.
        pictures: N pictures.
        keys: The keys of their features, [N][V].
    """

    dataset: IQADataset
    pictures: list[Picture]
    keys: list[list[bytes]]

    @classmethod
    def of(cls, dataset: IQADataset, pictures: list[Picture]) -> Selection:
        """Select all views of some pictures.

        Raises:
            ValueError: If there is no end of views.
        """
        if dataset.views.count is None:
            raise ValueError("endless views cannot be cached; give the views a count")
        views = range(dataset.views.count)
        keys = [[feature_key(p, dataset.views, view) for view in views] for p in pictures]
        return cls(dataset, pictures, keys)

    @property
    def flat_keys(self) -> list[bytes]:
        """The keys, picture by picture."""
        return [key for views in self.keys for key in views]


@dataclass(frozen=True)
class Item:
    """One picture to decode once, and the views of it to encode."""

    selection: int
    picture: Picture
    views: tuple[int, ...]
    keys: tuple[bytes, ...]


Batch = list[Item]


def plan(selections: Sequence[Selection], missing: set[bytes], batch_size: int) -> list[Batch]:
    """Arrange missing features in batches: by number of views and by size, then by key.

    Whole batches may be taken out of the work and the others stay the same, in whatever order the
    rows are. A feature that is wanted twice is planned once.

    Args:
        selections: What is wanted.
        missing: Keys of the features to encode.
        batch_size: Most views in a batch; fewer where they have more than a megapixel each.
    """
    missing = set(missing)
    groups: dict[tuple[int, int, int], list[Item]] = {}
    for number, selection in enumerate(selections):
        for picture, keys in zip(selection.pictures, selection.keys, strict=True):
            views = tuple(v for v, key in enumerate(keys) if key in missing)
            if not views:
                continue
            item = Item(number, picture, views, tuple(keys[view] for view in views))
            missing.difference_update(item.keys)
            size = _size_after(picture, selection.dataset.size)
            groups.setdefault((len(views), *size), []).append(item)
    batches = []
    for (views_each, width, height), items in sorted(groups.items()):
        items.sort(key=lambda item: item.keys)
        megapixels = max(1.0, width * height / MEGAPIXEL)
        count = max(1, int(batch_size / megapixels) // views_each)
        batches += [items[start : start + count] for start in range(0, len(items), count)]
    return batches


def _size_after(picture: Picture, size: int | Sequence[int] | None) -> tuple[int, int]:
    """Width and height after the resize, (0, 0) if unknown; see ``transforms.resize``."""
    width, height = picture.width, picture.height
    if size is None or not width:
        return width, height
    if isinstance(size, int):
        short = min(width, height)
        return size * width // short, size * height // short
    return int(size[1]), int(size[0])
