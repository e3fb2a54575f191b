"""Photographs of faces: GFIQA-20k."""

from __future__ import annotations

import pandas as pd

from clipiqa_plus.data.benchmarks.common import Benchmark
from clipiqa_plus.data.labels import read_csv


class GFIQA20k(Benchmark):
    """GFIQA-20k (Su et al., TMM 2023): 19,998 faces with authentic distortions.

    Names and scores are read; further columns of the label file, on the spread of the 11 to 13
    ratings of each picture, are not: their names and meaning are unverified.
    """

    name = "gfiqa20k"
    title = "GFIQA-20k"
    count = 19_998
    mos_range = (0.0, 1.0)
    default_split = "random"
    protocol = "random 70/10/20"
    source = "https://database.mmsp-kn.de/gfiqa-20k-database.html"
    terms = "unverified"
    labels = ("mos_val_rating.csv",)
    folders = ("image", "images")
    nested = ("GFIQA-20k", "GFIQA")
    editions = (
        ("GFIQA.txt", "is a third party's list"),
        ("meta_info_GFIQADataset.csv", "is a third party's list"),
    )
    obtain = (
        "Get GFIQA-20k from https://database.mmsp-kn.de/gfiqa-20k-database.html and unpack it as "
        "it is: image/ and mos_val_rating.csv side by side"
    )

    def read_annotations(self) -> pd.DataFrame:
        """Read names and scores."""
        table = read_csv(self.label_file(), ["img_name", "mos"], self.obtain)
        return table[["img_name", "mos"]].set_axis(["image", "mos"], axis=1)
