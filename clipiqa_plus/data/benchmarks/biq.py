"""BIQ2021: 12,000 photographs, published with their opinion scores in one public repository."""

from __future__ import annotations

from typing import ClassVar

import pandas as pd

from clipiqa_plus.data.benchmarks.common import Benchmark
from clipiqa_plus.data.fetch import GitRepository
from clipiqa_plus.data.labels import read_csv
from clipiqa_plus.data.splits import random_split

_LABELS = {"train": "Train (Images and MOS).csv", "test": "Test (Images and MOS).csv"}
_VALIDATION_SHARE = 0.1
_VALIDATION_SEED = 2021


class BIQ2021(Benchmark):
    """BIQ2021 (Ahmed & Asif, JEI 2022): 12,000 photographs of 512x512, 30 raters each.

    The official split has a training and a test part. A tenth of the training part, drawn with a
    fixed seed, becomes the validation part; 9,000 pictures remain for training.

    The standard deviations are not read: they exist only in an older workbook with different
    picture names.
    """

    name = "biq2021"
    title = "BIQ2021"
    count = 12_000
    mos_range = (0.0, 1.0)
    default_split = "official"
    official_sizes = (9_000, 1_000, 2_000)
    protocol = "official 10,000/2,000; a tenth of the training part validates"
    source = "https://github.com/nisarahmedrana/BIQ2021"
    terms = "freely available for use and benchmarking (abstract of the paper); no licence file"
    labels: ClassVar[tuple[str, ...]] = (_LABELS["train"],)
    folders = ("Images",)
    nested = ("BIQ2021", "BIQ2021-main")
    fetch_from = (
        GitRepository(
            "https://github.com/nisarahmedrana/BIQ2021",
            "62c7b40c036b68ee280626409699aa5c1a37fe57",
            ("Images", *_LABELS.values()),
            size=424_000_000,
        ),
    )
    obtain = "Get it with: clipiqa data get biq2021"

    def read_annotations(self) -> pd.DataFrame:
        """Read the two label files; a file name may differ from its row in case."""
        tables = []
        for part, name in _LABELS.items():
            # The header of the training file has two empty columns after the scores.
            table = read_csv(self.label_file(name), ["Image Name", "MOS"], self.obtain)
            tables.append(table[["Image Name", "MOS"]].assign(split=part))
        table = pd.concat(tables, ignore_index=True).set_axis(["image", "mos", "split"], axis=1)
        train = table.index[table["split"] == "train"]
        ids = table["image"][train].drop_duplicates()  # repeated rows are reported later
        share = _VALIDATION_SHARE
        drawn = random_split(ids, (1 - share, share, 0), seed=_VALIDATION_SEED)
        table.loc[ids.index[drawn.val], "split"] = "val"
        return table
