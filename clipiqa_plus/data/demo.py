"""The embedded demo benchmark: free photographs, distorted at known strengths.

24 public-domain and CC0 photographs (data/demo/LICENSES.csv), each undistorted and under eight
distortions at four levels: 792 pictures, rendered on reading and never stored.

**Opinion scores come from a formula, not from people.** For distortion ``d`` at level ``l`` of
``L`` = 4::

    MOS = 90 - loss_d * (l / L)^0.8 + e,    e ~ N(0, 3), clipped to [0, 100]

- 90, not 100: raters rarely use the top of a scale, even for pristine pictures.
- ``loss_d``: loss at the strongest level. The order follows subjective studies of single
  distortions (TID2013, KADID-10k): blur, noise and coding artefacts at such strengths rate near
  the bottom of the scale; darkening and flat contrast lose about half of that, and missing colour
  very little.
- exponent 0.8: the first visible step costs a little more than later ones.
- ``e``: error of a mean opinion. Single ratings of one picture have a standard deviation of about
  16 points of 100; the mean of 30 raters has 3 = 16.4 / sqrt(30). It is a function of the sample
  id, so the scores are the same on every machine. The columns ``mos_std`` and ``n_ratings`` hold
  16.4 and 30.

The benchmark shows that the parts work together. It does not show how a method ranks on pictures
rated by people.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from clipiqa_plus.data.base import IQADataModule, missing_files
from clipiqa_plus.data.images import RGBImage, read_rgb
from clipiqa_plus.data.transforms import import_albumentations

if TYPE_CHECKING:
    from albumentations import BasicTransform, Compose

# Contents by part, fixed: no photograph is in two parts. Drawn once by shuffling the sorted names
# with seed 0; the names of a part are sorted here.
SPLIT: Mapping[str, tuple[str, ...]] = {
    "train": (
        "bison",
        "cat",
        "cincinnati_bridge",
        "coffee",
        "european_honey_bee",
        "great_wall",
        "kinderdijk",
        "kingfisher",
        "lemur",
        "macaw",
        "polar_bear",
        "rocket",
        "seeding",
    ),
    "val": ("brandenburg_gate", "chameleon", "moose"),
    "test": (
        "astronaut",
        "camera",
        "citrus_fruits",
        "crab",
        "hedgehog",
        "koala",
        "mount_rushmore",
        "red_panda",
    ),
}
"""Names of the photographs in each part."""

Degradation = Callable[[ModuleType, float], "BasicTransform"]


def _jitter(A: ModuleType, **factor: float) -> BasicTransform:
    same = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0} | factor
    return A.ColorJitter(**{key: (value, value) for key, value in same.items()}, hue=(0, 0), p=1)


def _pixelate(A: ModuleType, scale: float) -> BasicTransform:
    import cv2

    interpolation = {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_NEAREST}
    return A.Downscale((scale, scale), interpolation, p=1)


# Name -> (transform of albumentations, A, for a strength; strength at levels 1 to 4; loss of
# opinion score at level 4).
DISTORTIONS: Mapping[str, tuple[Degradation, tuple[float, ...], float]] = {
    "gaussian_blur": (
        lambda A, sigma: A.GaussianBlur(blur_limit=0, sigma_limit=(sigma, sigma), p=1),
        (0.8, 1.4, 2.2, 3.5),  # standard deviation, pixels
        80,
    ),
    "motion_blur": (
        lambda A, k: A.MotionBlur(blur_limit=(int(k), int(k)), allow_shifted=False, p=1),
        (5, 9, 15, 23),  # length, pixels
        75,
    ),
    "gaussian_noise": (
        lambda A, std: A.GaussNoise(std_range=(std, std), p=1),
        (0.03, 0.07, 0.13, 0.22),  # standard deviation, full scale 1
        75,
    ),
    "jpeg": (
        lambda A, q: A.ImageCompression(quality_range=(int(q), int(q)), p=1),
        (35, 18, 9, 4),  # quality factor
        75,
    ),
    "pixelation": (
        _pixelate,
        (0.6, 0.4, 0.25, 0.16),  # remaining share of the resolution
        75,
    ),
    "darkening": (
        lambda A, factor: _jitter(A, brightness=factor),
        (0.7, 0.5, 0.33, 0.18),  # factor of brightness
        40,
    ),
    "flat_contrast": (
        lambda A, factor: _jitter(A, contrast=factor),
        (0.7, 0.5, 0.33, 0.18),  # factor of the distance to the mean grey
        40,
    ),
    "desaturation": (
        lambda A, factor: _jitter(A, saturation=factor),
        (0.75, 0.5, 0.25, 0.0),  # factor of colourfulness
        12,
    ),
}
LEVELS = 4
RATERS = 30
"""Raters of each picture that the formula assumes."""
ERROR = 3.0
"""Standard deviation of the error of a mean opinion."""


def render(photo: RGBImage, distortion: str, level: int, seed: int) -> RGBImage:
    """Distort a photograph.

    Args:
        photo: uint8 [H, W, 3], RGB.
        distortion: One of `DISTORTIONS`.
        level: 0 returns the photograph, 4 is the strongest.
        seed: Random seed of the noise and of the direction of motion.

    Returns:
        uint8 [H, W, 3], bit-identical for the same arguments.

    Raises:
        ValueError: If there is no such distortion or level.
    """
    _check(distortion, level)
    if level == 0:
        return photo
    pipeline = _pipeline(distortion, level)
    pipeline.set_random_seed(seed)
    return pipeline(image=photo)["image"]


def opinion_score(distortion: str, level: int) -> float:
    """Opinion score without rating error: 90 - loss * (level / 4)^0.8, on 0 to 100.

    Raises:
        ValueError: If there is no such distortion or level.
    """
    _check(distortion, level)
    return 90 - DISTORTIONS[distortion][2] * (level / LEVELS) ** 0.8


def demo_annotations() -> pd.DataFrame:
    """The annotation table: one row per rendered picture, 33 for each photograph.

    Returns:
        Columns image (sample id, e.g. "cat.jpg/jpeg_2"), mos (0 to 100), mos_std, n_ratings, split,
        content (file name of the photograph), distortion ("none" for the photograph itself), level
        (0 to 4).
    """
    rows = []
    for part, names in SPLIT.items():
        for name in names:
            rows.append((f"{name}.jpg", part, "none", 0))
            rows += [(f"{name}.jpg", part, d, n) for d in DISTORTIONS for n in range(1, LEVELS + 1)]
    table = pd.DataFrame(rows, columns=["content", "split", "distortion", "level"])
    table.insert(0, "image", [f"{c}/{d}_{n}" for c, _, d, n in rows])
    mos = [_rated(image, d, n) for image, (_, _, d, n) in zip(table["image"], rows, strict=True)]
    table.insert(1, "mos", mos)
    return table.assign(mos_std=round(ERROR * RATERS**0.5, 2), n_ratings=RATERS)


class RenderReader:
    """Reads the photograph of a row and renders its distortion.

    Args:
        root: Folder of the photographs.
        table: Annotations, see :func:`demo_annotations`.
    """

    def __init__(self, root: Path, table: pd.DataFrame) -> None:
        self.root = root
        self.rows = list(
            table[["image", "content", "distortion", "level"]].itertuples(index=False, name=None)
        )

    def __call__(self, row: int) -> RGBImage:
        """Return the rendered picture of a row: uint8 [240, 320, 3], RGB."""
        image, content, distortion, level = self.rows[row]
        photo = _photo(self.root / content)
        return photo.copy() if level == 0 else render(photo, distortion, level, seed_of(image))

    def identity(self, row: int) -> str:
        """Return a string that changes whenever the picture of a row may have changed."""
        image, content, distortion, level = self.rows[row]
        strength = DISTORTIONS[distortion][1][level - 1] if level else None
        photo = zlib.crc32((self.root / content).read_bytes())
        return (
            f"{image} {strength} {photo:08x} albumentations {import_albumentations().__version__}"
        )


class DemoIQA(IQADataModule):
    """The embedded demo benchmark; needs no download.

    Args:
        root: Folder of the photographs; None uses those that come with the project.
        **options: The arguments of :class:`~clipiqa_plus.data.base.IQADataModule`.
    """

    name = "demo"
    title = "Demo"
    count: ClassVar[int | None] = 792
    mos_range = (0.0, 100.0)
    source: ClassVar[str] = "data/demo/LICENSES.csv"
    terms: ClassVar[str] = "public-domain and CC0 photographs; scores made by a formula"

    def __init__(self, root: str | os.PathLike[str] | None = None, **options: Any) -> None:
        super().__init__(demo_root() if root is None else root, **options)

    def read_annotations(self) -> pd.DataFrame:
        """Return the annotation table, see :func:`demo_annotations`."""
        return demo_annotations()

    @cached_property
    def _reader(self) -> RenderReader:
        return RenderReader(self.root, self.annotations)

    def reader(self) -> RenderReader:
        """Return the reader that renders the picture of a row."""
        return self._reader

    def check_pictures(self) -> None:
        """Check that every photograph exists.

        Raises:
            FileNotFoundError: If any are missing; names them and the remedy.
        """
        missing = missing_files(self.root, self.annotations["content"].drop_duplicates())
        if missing:
            raise FileNotFoundError(
                f"{self.label}: no {', '.join(missing)}; root must be the project's data/demo"
            )


def demo_root() -> Path:
    """Folder of the photographs: data/demo of a checkout, or its copy inside the package."""
    here = Path(__file__).resolve().parent
    checkout = here.parents[1] / "data" / "demo"
    return checkout if checkout.is_dir() else here / "assets" / "demo"


def seed_of(image: str) -> int:
    """Seed of a sample id, the same on every machine (Python's own hash is not)."""
    return zlib.crc32(image.encode())


def _rated(image: str, distortion: str, level: int) -> float:
    score = opinion_score("gaussian_blur" if distortion == "none" else distortion, level)
    # RandomState: numpy guarantees its stream for all versions (NEP 19), including normal().
    error = np.random.RandomState(seed_of(image)).normal(0, ERROR)
    return round(float(np.clip(score + error, 0, 100)), 2)


def _check(distortion: str, level: int) -> None:
    if distortion not in DISTORTIONS:
        raise ValueError(f"no distortion {distortion!r}; there are {', '.join(DISTORTIONS)}")
    if level not in range(LEVELS + 1):
        raise ValueError(f"no level {level} of {distortion}; levels go from 0 to {LEVELS}")


@lru_cache
def _pipeline(distortion: str, level: int) -> Compose:
    make, strengths, _ = DISTORTIONS[distortion]
    library = import_albumentations()
    return library.Compose([make(library, strengths[level - 1])])


@lru_cache(maxsize=64)
def _photo(path: Path) -> RGBImage:
    photo = read_rgb(path)
    photo.setflags(write=False)  # shared by all renderings of this photograph
    return photo
