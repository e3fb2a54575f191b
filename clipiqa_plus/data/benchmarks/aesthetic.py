"""Photographs rated for beauty: AVA, and PARA, which is rated for quality too."""

from __future__ import annotations

import os
from typing import Any, Literal

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


_PARA_LABELS = {"train": "annotation/PARA-GiaaTrain.csv", "test": "annotation/PARA-GiaaTest.csv"}
_PARA_COUNTS = [f"aestheticScore_{1 + k / 2:.1f}" for k in range(9)]
_PARA_ATTRIBUTES = {
    "quality": "quality",
    "aesthetic": "aesthetic",
    "composition": "composition",
    "color": "color",
    "dof": "depth_of_field",
    "light": "light",
    "content": "interest",
}
"""Name of each attribute in the label files, and its column here (``content`` is the reference or
scene of a picture)."""


class PARA(Benchmark):
    """PARA (Yang et al., CVPR 2022): 31,220 photographs rated for quality, beauty and attributes.

    All scores are on 1-5. Beauty is rated in half steps, and the nine counts are given; of the
    other scores the means, and deviations where the file has them. The columns ``quality``,
    ``aesthetic``, ``composition``, ``color``, ``depth_of_field``, ``light`` and ``interest`` can be
    targets; the session is part of the sample id.

    The files were not seen whole: their columns are known from the README and from public readers.

    Args:
        root: Folder with ``imgs/`` and ``annotation/``.
        score: The score used as MOS: ``quality``, or ``aesthetic`` with its counts.
        **options: The arguments of :class:`Benchmark`.
    """

    name = "para"
    title = "PARA"
    count = 31_220
    mos_range = (1.0, 5.0)
    default_split = "official"
    protocol = "official train/test lists"
    source = "https://cv-datasets.institutecv.com/#/data-sets"
    terms = "research and learning only, OPPO's agreement"
    labels = (_PARA_LABELS["train"],)
    folders = ("imgs",)
    nested = ("PARA",)
    editions = (("PARA-GiaaAll.csv", "is a third party's join of the two official lists"),)
    obtain = (
        "Ask for PARA.zip at https://cv-datasets.institutecv.com/#/data-sets and unpack it as it "
        "is: imgs/ and annotation/ side by side"
    )

    def __init__(
        self,
        root: str | os.PathLike[str],
        score: Literal["quality", "aesthetic"] = "quality",
        **options: Any,
    ) -> None:
        super().__init__(root, **options)
        self.score = score

    def read_annotations(self) -> pd.DataFrame:
        """Read both lists of mean scores; the personal scores beside them are not read."""
        tables = [self._read(part, name) for part, name in _PARA_LABELS.items()]
        return pd.concat(tables, ignore_index=True)

    def _read(self, part: str, name: str) -> pd.DataFrame:
        path = self.label_file(name)
        means = [f"{attribute}Score_mean" for attribute in _PARA_ATTRIBUTES]
        columns = ["imageName", "sessionId", *_PARA_COUNTS, *means]
        table = read_csv(path, columns, self.obtain)
        counts = pd.DataFrame(
            {
                f"count_{grade}": whole_numbers(table[column], path, self.obtain)
                for grade, column in enumerate(_PARA_COUNTS, start=1)
            }
        )
        out = pd.DataFrame(
            {
                "image": table["sessionId"].astype(str) + "/" + table["imageName"].astype(str),
                "split": part,
                "n_ratings": counts.sum(axis=1),
            }
        )
        for attribute, own in _PARA_ATTRIBUTES.items():
            out[own] = table[f"{attribute}Score_mean"]
            if f"{attribute}Score_std" in table:
                out[f"{own}_std"] = table[f"{attribute}Score_std"]
        out["mos"] = out[self.score]
        if f"{self.score}_std" in out:
            out["mos_std"] = out[f"{self.score}_std"]
        return out.join(counts) if self.score == "aesthetic" else out
