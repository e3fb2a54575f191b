"""Duplicates between the pictures that prompts are tested on and those they were trained on.

Pictures are identical if their files are. Near duplicates, such as those saved again as JPEG, are
looked for among the nearest by cached image features, and confirmed by their pixels: features alone
do not tell a copy from a picture that is alike.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from clipiqa_plus.clip import FrozenCLIP
from clipiqa_plus.data import progress
from clipiqa_plus.data.base import FileReader, IQADataModule
from clipiqa_plus.data.images import read_rgb
from clipiqa_plus.data.splits import load_split
from clipiqa_plus.data.transforms import PlainView
from clipiqa_plus.features import FeatureCache
from clipiqa_plus.inference.probes import Source, source_file
from clipiqa_plus.prompts.files import find_prompts
from clipiqa_plus.training.recipes import data_of, read_recipe

NEIGHBOURS = 5
"""Pictures of the training whose pixels are compared with each tested one: the nearest features.

No cosine is too small: features that tell quality tell a JPEG from its source. Of 30 photographs of
BIQ2021 with the backbone ``photo`` the source was among the nearest five after JPEG at quality 20
(median cosine 0.67) and at half the size (0.36), after blur in two of three."""
ALIKE = 0.95
"""Smallest correlation of the pixels of near duplicates, at 32 x 32 in grey.

Of 110 photographs of BIQ2021 no two reach 0.86; JPEG at quality 20, half the size and blur leave
0.96 and more."""
MOST = 2000
"""Candidates that an evaluation looks at, the nearest of each picture first: all are decoded."""
COLUMNS = ("image", "trained_on", "kind", "cosine", "pixels")
IDENTICAL, NEAR_DUPLICATE = "identical", "near duplicate"
_BLOCK, _SIDE = 1024, 32


class Pictures(NamedTuple):
    """N pictures that are looked for, or among which is looked."""

    names: NDArray[np.object_]
    """[N] sample ids."""
    contents: list[str]
    """[N] what identifies the content of each file."""
    features: Tensor
    """[N, D] unit features of the plain pictures."""
    known: NDArray[np.bool_]
    """[N] whether the feature is known; others are compared by content alone."""
    picture: Callable[[int], NDArray[np.uint8]]
    """Decodes one of the N for a comparison of thumbnails: [H, W, 3]."""


def pictures_of(
    data: IQADataModule, part: str, clip: FrozenCLIP, cache: FeatureCache, encode: bool = False
) -> Pictures:
    """Return the pictures of a part with their cached features.

    Args:
        data: The data module, set up.
        part: ``train``, ``val`` or ``test``.
        clip: The backbone of the features.
        cache: The feature cache.
        encode: Encode what is not in the cache.
    """
    plain = copy.copy(data)
    plain.train_views = plain.eval_views = PlainView()  # others may be crops
    plain.features = {}
    if encode:
        cache.tables(clip, plain, [part])
    contents, features, known = cache.cached(clip, plain, part)
    rows, dataset = data.rows(part), plain.dataset(part)
    names = data.annotations["image"].to_numpy(dtype=object)[rows]

    def picture(at: int) -> NDArray[np.uint8]:
        row, reader = int(rows[at]), dataset.reader
        if type(reader) is FileReader:
            return read_rgb(reader.root / reader.names[row], least=2 * _SIDE)
        return dataset.picture(row, 0)

    return Pictures(names, contents, features, known, picture)


def duplicates(
    tested: Pictures, trained: Pictures, alike: float = ALIKE, most: int | None = None
) -> tuple[pd.DataFrame, int]:
    """Find the tested pictures that have a duplicate among those of the training.

    Args:
        tested: N tested pictures.
        trained: M pictures of the training.
        alike: Smallest correlation of the pixels of near duplicates.
        most: Largest number of candidates to decode; None: all.

    Returns:
        One row per tested picture with a duplicate: ``image``, ``trained_on`` (the identical
        picture, or that of the most similar pixels), ``kind`` (``identical`` or ``near
        duplicate``), ``cosine`` of the features (NaN where unknown) and correlation of the
        ``pixels``; and the number of candidates that were not looked at.

    Raises:
        ValueError: If ``alike`` is not above 0 and at most 1.
    """
    if not 0 < alike <= 1:
        raise ValueError(f"alike is {alike}; a correlation above 0 and at most 1")
    same = {content: at for at, content in reversed(list(enumerate(trained.contents)))}
    rows = {
        at: (same[content], IDENTICAL, 1.0 if tested.known[at] else np.nan, 1.0)
        for at, content in enumerate(tested.contents)
        if content in same
    }
    candidates = [pair for pair in _candidates(tested, trained) if pair[1] not in rows]
    looked = candidates[:most]
    ours = _thumbnails(tested, {one for _, one, _ in looked})
    theirs = _thumbnails(trained, {other for _, _, other in looked})
    for cosine, one, other in looked:
        pixels = float(ours[one] @ theirs[other])
        if pixels >= alike and (one not in rows or pixels > rows[one][3]):
            rows[one] = (other, NEAR_DUPLICATE, cosine, pixels)
    found = [
        (tested.names[at], trained.names[row[0]], *row[1:]) for at, row in sorted(rows.items())
    ]
    return pd.DataFrame(found, columns=list(COLUMNS)), len(candidates) - len(looked)


def _candidates(tested: Pictures, trained: Pictures) -> list[tuple[float, int, int]]:
    """Cosine, tested and training picture of near features: the nearest of each picture first."""
    among, wanted = np.flatnonzero(trained.known), np.flatnonzero(tested.known)
    found: list[tuple[int, float, int, int]] = []
    if not len(among) or not len(wanted):
        return []
    features = trained.features[torch.from_numpy(among)]
    for block in np.array_split(wanted, -(-len(wanted) // _BLOCK)):
        cosine = tested.features[torch.from_numpy(block)] @ features.T
        near = cosine.topk(min(NEIGHBOURS, len(among)), dim=1)
        for at, row in zip(block.tolist(), range(len(block)), strict=True):
            for rank, value in enumerate(near.values[row].tolist()):
                other = int(among[int(near.indices[row, rank])])
                found.append((rank, min(value, 1.0), at, other))
    found.sort(key=lambda pair: (pair[0], -pair[1]))
    return [pair[1:] for pair in found]


def _thumbnails(pictures: Pictures, members: set[int]) -> dict[int, NDArray[np.float64]]:
    """Standardised grey pixels of some pictures; the product of two is their correlation."""

    def small(at: int) -> NDArray[np.float64]:
        image = Image.fromarray(pictures.picture(at)).convert("L")
        pixels = np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float64).ravel()
        pixels -= pixels.mean()
        norm = float(np.linalg.norm(pixels))
        return pixels / norm if norm > 0 else pixels

    order = sorted(members)
    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL while decoding
        shown = progress(pool.map(small, order), "duplicates", len(order))
        return dict(zip(order, shown, strict=True))


def training_data(prompts: str) -> IQADataModule | None:
    """Return the data that prompts were learned from, set up and split as in their run.

    Args:
        prompts: A prompt file or run folder.

    Returns:
        The data module; None if the run's folder has no ``config.yaml``.

    Raises:
        OSError: If its labels or pictures are no longer there.
        ValueError: If the configuration or the split no longer fits the labels.
    """
    path = find_prompts(prompts)
    folder = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    config = folder / "config.yaml"
    if not config.is_file():
        return None
    data = data_of(read_recipe(config), config)
    data.setup()
    if (folder / "split.json").is_file():
        data.split = load_split(folder / "split.json", data.annotations["image"])
    return data


def overlap_note(found: pd.DataFrame, left: int, tested: Pictures, trained: Pictures) -> str:
    """Return a note on the result of :func:`duplicates`; empty if there is nothing to say."""
    counts = found["kind"].value_counts()
    parts = []
    if len(found):
        identical, near = (int(counts.get(kind, 0)) for kind in (IDENTICAL, NEAR_DUPLICATE))
        parts.append(
            f"of these {len(tested.names)} pictures {identical} are identical to pictures of its "
            f"training part and {near} are near duplicates"
        )
    unknown = int((~trained.known).sum())
    if unknown:
        parts.append(
            f"{unknown} of its {len(trained.names)} training pictures have no cached features: "
            "compared by content alone"
        )
    if left:
        parts.append(f"{left} pairs of near features not looked at, see clipiqa data overlap")
    return "; ".join(parts)


def training_overlaps(
    sources: Mapping[str, Source], data: IQADataModule, part: str, cache: FeatureCache
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Look for the tested pictures among the training pictures of every source.

    Nothing is encoded for it: pictures without cached features are compared by content alone.

    Args:
        sources: The sources by name.
        data: The tested data, set up.
        part: The tested part.
        cache: The feature cache.

    Returns:
        The rows of :func:`duplicates` with ``prompts`` and ``trained_data``, and a note for each
        source that has something to say.
    """
    tables, notes = [pd.DataFrame(columns=["prompts", "trained_data", *COLUMNS])], {}
    compared: dict[tuple[str, str, int], tuple[pd.DataFrame, str]] = {}  # seeds share their data
    for name, source in sources.items():
        file = source_file(source)
        if file is None:
            continue
        try:
            training = training_data(file)
            if training is None:
                continue
            key = training.label, training.split.digest, id(source.backbone)
            trained = None
            if key not in compared:
                trained = pictures_of(training, "train", source.backbone, cache)
        except (OSError, ValueError) as error:
            notes[name] = f"its training pictures are not compared with these: {error}"
            continue
        if trained is not None:
            tested = pictures_of(data, part, source.backbone, cache)
            rows, left = duplicates(tested, trained, most=MOST)
            compared[key] = rows, overlap_note(rows, left, tested, trained)
        found, note = compared[key]
        if note:
            notes[name] = note
        if len(found):
            trained_data = training.title or training.name or "own data"
            tables.append(found.assign(prompts=name, trained_data=trained_data)[list(tables[0])])
    return pd.concat(tables[1:] or tables, ignore_index=True), notes
