"""Selection of features, and the batches in which missing ones are encoded.

The last bits of a feature depend on the batch in which it is encoded. Therefore a batch is the unit
of work: it is stored or repeated as a whole, and after an interruption the remaining batches are
the same as before. A resumed extraction is bit-identical to an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clipiqa_plus.data.base import IQADataset
from clipiqa_plus.features.identity import Picture, feature_key

MEGAPIXEL = 1 << 20


@dataclass(frozen=True)
class Selection:
    """Pictures whose views are all needed.

    Attributes:
        dataset: Provides pictures and their views.
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
            ValueError: If the views are endless.
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
    """A picture to decode once, and its views to encode."""

    selection: int
    picture: Picture
    views: tuple[int, ...]
    keys: tuple[bytes, ...]


Batch = list[Item]


def plan(selections: Sequence[Selection], missing: set[bytes], batch_size: int) -> list[Batch]:
    """Arrange missing features in batches: by number of views and by size, then by key.

    Removing whole batches leaves the others unchanged, and the order of the rows does not matter. A
    feature that is needed twice is planned once.

    Args:
        selections: The pictures needed.
        missing: Keys of the features to encode.
        batch_size: Maximum number of views in a batch; fewer if each exceeds a megapixel.
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
