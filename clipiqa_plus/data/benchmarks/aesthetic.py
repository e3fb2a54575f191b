"""AVA: photographs rated for beauty, not for quality."""

from __future__ import annotations

import numpy as np
import pandas as pd
from lightning.pytorch.utilities import rank_zero_info

from clipiqa_plus.data.benchmarks.common import Benchmark
from clipiqa_plus.data.labels import read_csv, whole_numbers

_COUNTS = [f"count_{k}" for k in range(1, 11)]
_COLUMNS = ["index", "id", *_COUNTS, "tag_1", "tag_2", "challenge"]


class AVA(Benchmark):
    """AVA (Murray et al., CVPR 2012): 255,530 photographs, ten rating counts each.

    The MOS is the mean rating on 1-10; number and standard deviation of the ratings follow from the
    counts too. The official test part is ``generic_test.jpgl``; the rest of
    ``AVA.txt`` is the training part. A few dozen pictures in the label file are no longer
    available: up to 100 are excluded and listed.
    """

    name = "ava"
    title = "AVA"
    count = 255_530
    mos_range = (1.0, 10.0)
    missing_allowed = 100
    default_split = "official"
    protocol = "official test list of 20,000 ids"
    source = "https://github.com/imfing/ava_downloader"
    terms = "rights stay with the photographers; not to be redistributed"
    labels = ("AVA.txt",)
    folders = ("images", "ava_images", "images/images", "image", "")
    nested = ("AVA_dataset", "AVA")
    editions = (
        ("test_ava_name.txt", "is a private list of the official CLIP-IQA code"),
        ("meta_info_AVADataset.csv", "is a third party's list"),
    )
    obtain = (
        "Get AVA.txt and aesthetics_image_lists/ from https://github.com/imfing/ava_downloader "
        "(AVA_dataset/), and the pictures by its torrent into images/"
    )

    def read_annotations(self) -> pd.DataFrame:
        """Read the rating counts, and the official test list for the official split."""
        path = self.label_file()
        table = read_csv(path, _COLUMNS, self.obtain, header=None, sep=r"\s+")
        for column in _COLUMNS:
            table[column] = whole_numbers(table[column], path, self.obtain)
        counts = table[_COUNTS].to_numpy()
        raters = counts.sum(axis=1)
        if (counts < 0).any() or (raters == 0).any():
            row = int(np.flatnonzero((counts < 0).any(axis=1) | (raters == 0))[0])
            raise ValueError(
                f"{path}: row {row + 1}: rating counts {counts[row].tolist()} give no mean; "
                f"correct the row. {self.obtain}"
            )
        out = pd.DataFrame(
            {
                "image": table["id"].astype(str) + ".jpg",
                "mos": counts @ np.arange(1, 11) / raters,
                "challenge": table["challenge"],
                **{name: table[name] for name in _COUNTS},
            }
        )
        if self.split_kind == "official":
            out["split"] = self._official(table["id"])
        return out

    def _official(self, ids: pd.Series) -> pd.Series:
        path = self.label_file("aesthetics_image_lists/generic_test.jpgl", "generic_test.jpgl")
        test = read_csv(path, ["id"], self.obtain, header=None)["id"]
        is_test = ids.isin(set(whole_numbers(test, path, self.obtain)))
        rank_zero_info(
            f"{self.title}: {int(is_test.sum()):,} of the {len(test):,} ids of {path.name} are "
            "in AVA.txt"
        )
        return pd.Series(np.where(is_test, "test", "train"), index=ids.index)
