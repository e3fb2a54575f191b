"""KonIQ-10k and KonIQ++: photographs from YFCC100M with the official split."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from clipiqa_plus.data.benchmarks.common import Benchmark, LabelDownload
from clipiqa_plus.data.fetch import Archive
from clipiqa_plus.data.labels import read_csv

_PARTS = {"training": "train", "validation": "val", "test": "test"}
_SHARES = [f"c{grade}" for grade in range(1, 6)]


class _KonIQ(Benchmark):
    """Base class of the two label sets of the same photographs.

    Args:
        root: Folder with ``koniq10k_distributions_sets.csv`` and ``1024x768/`` or ``512x384/``.
        resolution: One of the two distributed sizes.
        **options: The arguments of :class:`Benchmark`.
    """

    count = 10_073
    mos_range = (0.0, 100.0)
    default_split = "official"
    official_sizes = (7_058, 1_000, 2_015)
    mean_of_grades = False  # z-scored per rater
    protocol = "official 7058/1000/2015"
    nested = ("koniq10k", "koniq-10k")

    def __init__(
        self,
        root: str | os.PathLike[str],
        resolution: Literal["1024x768", "512x384"] = "1024x768",
        **options: Any,
    ) -> None:
        super().__init__(root, **options)
        self.resolution = resolution

    @property
    def picture_folders(self) -> tuple[str, ...]:
        """The folder of the chosen size."""
        return (self.resolution,)

    def read_quality(self) -> pd.DataFrame:
        """Read names, MOS, ratings and parts from the authors' split file."""
        path = self.label_file(*KonIQ10k.labels)
        table = read_csv(path, ["image_name", "MOS", "set"], KonIQ10k.obtain)
        highest = pd.to_numeric(table["MOS"], errors="coerce").max()
        if highest <= 5:
            raise ValueError(
                f"{path}: MOS reaches only {highest:g}: these are the 1-5 scores of the table on "
                f"the website, not the 0-100 scores of the split file. {KonIQ10k.obtain}"
            )
        quality = pd.DataFrame(
            {
                "image": table["image_name"],
                "mos": table["MOS"],
                "split": table["set"].replace(_PARTS),
            }
        )
        if not {*_SHARES, "c_total", "SD"} <= set(table):
            return quality  # a list of scores alone
        std = 25 * pd.to_numeric(table["SD"], errors="coerce")  # from 1-5 to 0-100
        quality = quality.assign(mos_std=std, n_ratings=table["c_total"])
        return quality.join(self._counts(table, path))

    def _counts(self, table: pd.DataFrame, path: Path) -> pd.DataFrame:
        """Turn shares of the five grades into counts; a file may hold counts already."""
        shares = table[_SHARES].apply(pd.to_numeric, errors="coerce")
        total = pd.to_numeric(table["c_total"], errors="coerce")
        counts = shares.mul(total.where(shares.sum(axis=1) < 1.5, 1), axis=0)
        rounded = counts.round()
        # Shares are written with 12 decimals; a missing number is reported by its column later.
        uneven = ((counts - rounded).abs() > 1e-6).any(axis=1).to_numpy()
        if uneven.any():
            row = int(np.flatnonzero(uneven)[0])
            raise ValueError(
                f"{path}: row {row + 1} ({table['image_name'].iloc[row]}): c1 to c5 times c_total "
                f"are no whole numbers ({int(uneven.sum())} such rows). {KonIQ10k.obtain}"
            )
        return rounded.set_axis([f"count_{grade}" for grade in range(1, 6)], axis=1)


class KonIQ10k(_KonIQ):
    """KonIQ-10k (Hosu et al., TIP 2020): MOS z-scaled to 0-100, official split 7058/1000/2015.

    Ratings are given as counts of five grades. Their standard deviation, distributed on 1-5, is
    multiplied by 25 to be on 0-100. The MOS is z-scored per rater and is not the mean grade: it
    rises by 27.8 for a grade.

    The size matters: CLIP-IQA+ is trained and reported at 1024x768, and the same weights lose 0.09
    SRCC at 512x384.
    """

    name = "koniq10k"
    title = "KonIQ-10k"
    source = "http://database.mmsp-kn.de/koniq-10k-database.html"
    terms = "photographs of YFCC100M under Creative Commons; split file MIT"
    labels = ("koniq10k_distributions_sets.csv", "metadata/koniq10k_distributions_sets.csv")
    editions = (
        (
            "koniq10k_scores_and_distributions.csv",
            "is the website's table: it has no official split, and its MOS is on 1-5",
        ),
    )
    obtain = (
        "Get koniq10k_1024x768.zip or koniq10k_512x384.zip from "
        "http://database.mmsp-kn.de/koniq-10k-database.html, and beside its folder "
        "koniq10k_distributions_sets.csv from github.com/subpic/koniq (metadata/)"
    )
    downloads = (
        LabelDownload(
            "koniq10k_distributions_sets.csv",
            "https://raw.githubusercontent.com/subpic/koniq/"
            "1c271570ac83aeb6aa8e7ff25449f3299b0d2e53/metadata/koniq10k_distributions_sets.csv",
            "d0bd1ad54a60bc36fe172049e46ac76c83554e50ab84acebfd47b82b3e698a0a",
            1_147_194,
        ),
    )
    fetch_from = (
        Archive("https://datasets.vqa.mmsp-kn.de/archives/koniq10k_1024x768.zip"),
        Archive(downloads[0].url, downloads[0].size, downloads[0].sha256),
    )

    def read_annotations(self) -> pd.DataFrame:
        """Read names, MOS and parts from the authors' split file."""
        return self.read_quality()


class KonIQPlusPlus(_KonIQ):
    """KonIQ++ (Su et al., BMVC 2021): KonIQ-10k with the share of raters who saw each defect.

    MOS and split are those of KonIQ-10k. The columns ``artifacts``, ``blur``, ``contrast`` and
    ``colors`` are shares in 0-1, higher is worse: annotations for inspection, not targets.
    """

    name = "koniqpp"
    title = "KonIQ++"
    source = "http://database.mmsp-kn.de/koniq-image-defects-database.html"
    terms = "unverified; photographs as KonIQ-10k"
    labels = ("koniq++database.csv",)
    editions = (
        (
            "Koniq++_old.csv",
            "is KonIQ-10k's split file under another name: it holds no defects",
        ),
    )
    obtain = (
        "Get koniq++database.csv (the re-screened release) from "
        "http://database.mmsp-kn.de/koniq-image-defects-database.html, and put it beside "
        "KonIQ-10k's koniq10k_distributions_sets.csv and 1024x768/"
    )

    def read_annotations(self) -> pd.DataFrame:
        """Join the defects to KonIQ-10k's table by file name."""
        path = self.label_file()
        defects = ["artifacts", "blur", "contrast", "colors"]
        table = read_csv(path, ["filename", *defects], self.obtain)
        quality = self.read_quality()
        foreign = sorted(set(table["filename"]) ^ set(quality["image"]))
        if foreign:
            raise ValueError(
                f"{path}: {len(foreign)} pictures are either only in this file or only in "
                f"KonIQ-10k's table ({', '.join(foreign[:5])}). {self.obtain}"
            )
        table = table[["filename", *defects]].rename(columns={"filename": "image"})
        return quality.merge(table, on="image")
