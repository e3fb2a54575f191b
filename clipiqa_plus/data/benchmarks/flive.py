"""FLIVE (PaQ-2-PiQ): 39,810 pictures of four sources and three patches of each."""

from __future__ import annotations

import pandas as pd
from lightning.pytorch.utilities import rank_zero_warn

from clipiqa_plus.data.benchmarks.common import Benchmark, LabelDownload
from clipiqa_plus.data.labels import name_parts, read_csv

_REPOSITORY = (
    "https://raw.githubusercontent.com/baidut/PaQ-2-PiQ/"
    "a3ba2373a0da4e498d6e75ea2097125b5fe0fc10/database/"
)


class _FLIVE(Benchmark):
    """Base class of pictures and patches."""

    mos_range = (0.0, 100.0)
    default_split = "official"
    source = "https://baidut.github.io/PaQ-2-PiQ/"
    terms = "labels CC BY-NC 4.0; pictures under the terms of their four sources"
    overlaps = ("ava",)
    folders = ("database", "")
    nested = ("FLIVE_Database", "FLIVE")
    obtain = (
        "Get the labels and the notebook that gathers the pictures (of AVA, VOC 2012, EMOTIC and "
        "the CUHK blur set) from https://github.com/baidut/PaQ-2-PiQ (database/)"
    )

    def read_scores(self) -> pd.DataFrame:
        """Read names and scores."""
        columns = ["name", "mos"]
        table = read_csv(self.label_file(), columns, self.obtain, dtype={"name": str})
        return table[columns].set_axis(["image", "mos"], axis=1)

    def official_parts(self, names: pd.Series) -> pd.Series:
        """Return the official part of each picture, given its file name; empty for no part."""
        path = self.label_file("labels640.csv", "database/labels640.csv")
        test = read_csv(path, ["name_image"], self.obtain)["name_image"]
        part = pd.Series("", index=names.index)
        padded = [f"{d}labels{c}640_padded.csv" for d in ("", "database/") for c in ("=", "<=")]
        if any(self.files.find(name) for name in padded):
            path = self.label_file(*padded)
            rest = read_csv(path, ["name_image", "is_valid"], self.obtain)
            parts = rest["is_valid"].map({True: "val", False: "train"})
            if parts.isna().any():
                raise ValueError(f"{path}: is_valid is not True or False in every row")
            part = names.map(dict(zip(_file_names(rest["name_image"]), parts, strict=True)))
        else:
            rank_zero_warn(
                f"{self.title}: no labels=640_padded.csv in {self.home}, which separates training "
                "from validation: only the official test part is available. To train, add that "
                "file or choose another split"
            )
        return part.fillna("").mask(names.isin(set(_file_names(test))), "test")


class FLIVE(_FLIVE):
    """FLIVE, also LIVE-FB (Ying et al., CVPR 2020): whole pictures.

    The test part is the 1,827 pictures of ``labels640.csv``. ``labels=640_padded.csv`` separates
    training from validation; without it those pictures are in no part, nor are the three
    ``EE371R`` pictures. The training part contains AVA pictures.
    """

    name = "flive"
    title = "FLIVE"
    count = 39_810
    official_sizes = (30_253, 7_727, 1_827)
    protocol = "official 30253/7727/1827"
    labels = ("labels_image.csv", "database/labels_image.csv")
    downloads = (
        LabelDownload(
            "labels_image.csv",
            _REPOSITORY + "labels_image.csv",
            "667a9de3ba2633bf57c7c10f9649fd0363b6dc9b9aa34255100f1ac60b57adec",
            2_417_607,
        ),
        LabelDownload(
            "labels640.csv",
            _REPOSITORY + "labels640.csv",
            "63633696cbc425d1da4f81621797ba4410bdeb3ea02d84c83c76a4a46efcd0fb",
            358_569,
        ),
    )

    def read_annotations(self) -> pd.DataFrame:
        """Read names and scores, and look the part up by file name."""
        table = self.read_scores()
        if self.split_kind == "official":
            table["split"] = self.official_parts(_file_names(table["image"]))
        return table


class FLIVEPatches(_FLIVE):
    """FLIVE's patches: three crops of each picture, each with its own score.

    A patch belongs to the part of its picture, and its content is that picture.
    """

    name = "flive_patches"
    title = "FLIVE patches"
    protocol = "official, by the parent picture"
    labels = ("labels_patch.csv", "database/labels_patch.csv")

    def read_annotations(self) -> pd.DataFrame:
        """Read names and scores, and look the part up by the parent's file name."""
        table = self.read_scores()
        pattern = r"(?P<parent>.+)_patch_\d+\.\w+"
        names = _file_names(table["image"])
        table["content"] = name_parts(names, pattern, self.label_file(), self.obtain)["parent"]
        if self.split_kind == "official":
            table["split"] = self.official_parts(table["content"])
        return table


def _file_names(paths: pd.Series) -> pd.Series:
    return paths.str.split("/").str[-1]
