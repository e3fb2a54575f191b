"""Synthetic distortions, split by reference: KADID-10k, CSIQ, LIVE, PIPAL."""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
import pandas as pd

from clipiqa_plus.data.benchmarks.common import Benchmark
from clipiqa_plus.data.fetch import Archive
from clipiqa_plus.data.labels import name_parts, read_csv, read_mat, read_sheet, whole_numbers


class KADID10k(Benchmark):
    """KADID-10k (Lin et al., QoMEX 2019): 81 references, 25 distortions, 5 levels.

    Despite their names, the distributed column ``dmos`` is not a DMOS (higher is better, on 1-5),
    and ``var`` is not a variance but the standard deviation of the ratings. There are 30 for each
    picture; 4% of the scores are no multiples of 1/30 and so have a few more or fewer.
    """

    name = "kadid10k"
    title = "KADID-10k"
    count = 10_125
    mos_range = (1.0, 5.0)
    default_split = "content"
    protocol = "by reference 80/20, 10 times"
    source = "http://database.mmsp-kn.de/kadid-10k-database.html"
    terms = "offered freely to the research community with citation"
    labels = ("dmos.csv",)
    folders = ("images", "distorted_images")
    nested = ("kadid10k",)
    extras = r"I\d\d\.png"
    fetch_from = (
        Archive("https://datasets.vqa.mmsp-kn.de/archives/kadid10k.zip", size=3_067_408_471),
    )
    obtain = (
        "Get kadid10k.zip (3,067,408,471 bytes) from "
        "http://database.mmsp-kn.de/kadid-10k-database.html and unpack it as it is"
    )

    def read_annotations(self) -> pd.DataFrame:
        """Read names and scores; the name contains reference, distortion and level."""
        path = self.label_file()
        table = read_csv(path, ["dist_img", "ref_img", "dmos", "var"], self.obtain)
        pattern = r"(?P<content>I\d\d)_(?P<distortion>\d\d)_(?P<level>\d\d)\.png"
        parts = name_parts(table["dist_img"], pattern, path, self.obtain)
        return pd.DataFrame(
            {
                "image": table["dist_img"],
                "mos": table["dmos"],
                "mos_std": table["var"],
                "n_ratings": 30,
                "content": parts["content"].str.upper(),
                "distortion": parts["distortion"],
                "level": parts["level"].astype(int),
            }
        )


_CSIQ_NAMES = {
    "noise": ("awgn", "AWGN"),
    "blur": ("blur", "BLUR"),
    "contrast": ("contrast", "contrast"),
    "fnoise": ("fnoise", "fnoise"),
    "jpeg": ("jpeg", "JPEG"),
    "jpeg 2000": ("jpeg2000", "jpeg2000"),
}
"""Name of each distortion in the workbook, its folder, and its token in file names."""


class CSIQ(Benchmark):
    """CSIQ (Larson & Chandler, JEI 2010): 30 references, 6 distortions, 866 pictures.

    Scores are DMOS on 0-1: lower is better.
    """

    name = "csiq"
    title = "CSIQ"
    count = 866
    mos_range = (0.0, 1.0)
    higher_is_better = False
    default_split = "content"
    protocol = "by reference 80/20, 10 times"
    source = "https://s2.smu.edu/~eclarson/csiq.html"
    terms = "unverified"
    labels = ("csiq.DMOS.xlsx", "csiq.beta.xlsx")
    folders = ("dst_imgs", "dst_imgs_all")
    nested = ("csiq",)
    editions = (
        ("csiq_label.txt", "is a community list, not part of the distribution"),
        ("csiq.beta.txt", "is the workbook's text export with rounded scores"),
    )
    fetch_from = (
        Archive("https://s2.smu.edu/~eclarson/csiq/dst_imgs.zip"),
        Archive("https://s2.smu.edu/~eclarson/csiq/csiq.DMOS.xlsx"),
    )
    obtain = (
        "Get dst_imgs.zip and csiq.DMOS.xlsx from https://s2.smu.edu/~eclarson/csiq.html; "
        "put dst_imgs/ and the workbook side by side"
    )

    def read_annotations(self) -> pd.DataFrame:
        """Read the sheet ``all_by_image``, whose header starts in the fourth row and column."""
        path = self.label_file()
        columns = ["image", "dst_type", "dst_lev", "dmos", "dmos_std"]
        table = read_sheet(path, "all_by_image", columns, self.obtain)
        # The sheet stores the picture "1600" as a number.
        content = table["image"].astype(str).str.removesuffix(".0")
        kind = table["dst_type"].astype(str).str.strip().str.lower()
        unknown = np.flatnonzero(~kind.isin(list(_CSIQ_NAMES)))
        if len(unknown):
            row = int(unknown[0])
            raise ValueError(
                f"{path}: row {row + 1}: dst_type is {table['dst_type'].iloc[row]!r}; it must be "
                f"one of {', '.join(_CSIQ_NAMES)}. {self.obtain}"
            )
        level = whole_numbers(table["dst_lev"], path, self.obtain)
        folder = kind.map({name: names[0] for name, names in _CSIQ_NAMES.items()})
        token = kind.map({name: names[1] for name, names in _CSIQ_NAMES.items()})
        return pd.DataFrame(
            {
                "image": folder + "/" + content + "." + token + "." + level.astype(str) + ".png",
                "mos": table["dmos"],
                "mos_std": table["dmos_std"],
                "content": content,
                "distortion": folder,
                "level": level,
            }
        )


class LIVE(Benchmark):
    """LIVE release 2 (Sheikh et al., TIP 2006): 29 references, 779 distorted pictures.

    Scores are DMOS: lower is better. Rows that the authors mark as copies of a reference
    (``orgs == 1``, 203 of 982) are excluded: their DMOS is 0 by definition and inflates SRCC.

    Args:
        root: Folder with ``jp2k/``, ``jpeg/``, ``wn/``, ``gblur/``, ``fastfading/`` and the
            MATLAB files.
        scores: ``realigned`` (recommended by the authors, ``dmos_realigned.mat``) or
            ``original`` (``dmos.mat``). The two are not interchangeable: report which one was used.
        **options: The arguments of :class:`Benchmark`.
    """

    name = "live"
    title = "LIVE"
    count = 779
    mos_range = (-3.0, 112.0)
    higher_is_better = False
    default_split = "content"
    protocol = "by reference 80/20, 10 times"
    source = "https://live.ece.utexas.edu/research/quality/subjective.htm"
    terms = "free with the University of Texas notice kept"
    labels = ("refnames_all.mat",)
    nested = ("databaserelease2",)
    extras = r"img\d+\.bmp"
    editions = (
        ("LIVE.txt", "is a third party's list"),
        ("live.json", "is a third party's list that counts the 203 reference copies"),
    )
    obtain = (
        "Ask for databaserelease2.zip at "
        "https://live.ece.utexas.edu/research/quality/subjective.htm, and put "
        "http://live.ece.utexas.edu/research/quality/release2/dmos_realigned.mat beside its "
        "refnames_all.mat"
    )

    _FOLDERS = (("jp2k", 227), ("jpeg", 233), ("wn", 174), ("gblur", 174), ("fastfading", 174))

    def __init__(
        self,
        root: str | os.PathLike[str],
        scores: Literal["realigned", "original"] = "realigned",
        **options: Any,
    ) -> None:
        super().__init__(root, **options)
        self.scores = scores

    def read_annotations(self) -> pd.DataFrame:
        """Read scores, reference marks and reference names in the order of the folders."""
        file, variable = {
            "realigned": ("dmos_realigned.mat", "dmos_new"),
            "original": ("dmos.mat", "dmos"),
        }[self.scores]
        path, reference_path = self.label_file(file), self.label_file("refnames_all.mat")
        # Only the realigned scores come with deviations.
        deviations = ["dmos_std"] if self.scores == "realigned" else []
        values = read_mat(path, [variable, "orgs", *deviations], self.obtain)
        references = read_mat(reference_path, ["refnames_all"], self.obtain)["refnames_all"]
        names = [f"{folder}/img{i}.bmp" for folder, n in self._FOLDERS for i in range(1, n + 1)]
        for where, array, what in (
            (path, values[variable], variable),
            *((path, values[name], name) for name in ("orgs", *deviations)),
            (reference_path, references, "refnames_all"),
        ):
            if len(array) != len(names):
                raise ValueError(
                    f"{where}: {what} has {len(array)} values; the original file has "
                    f"{len(names)}, reference copies included: this copy was altered. {self.obtain}"
                )
        table = pd.DataFrame(
            {
                "image": names,
                "mos": values[variable],
                "content": pd.Series(references).str.lower().str.removesuffix(".bmp"),
                "distortion": [folder for folder, n in self._FOLDERS for _ in range(n)],
            }
        )
        if deviations:
            table["mos_std"] = values["dmos_std"]
        return table[values["orgs"] == 0]


class PIPAL(Benchmark):
    """PIPAL (Gu et al., ECCV 2020): restoration outputs of 200 references, Elo scores.

    Args:
        root: Folder with ``Train_Label/`` and the pictures in ``Distortion_1/`` to
            ``Distortion_4/`` (or merged in ``Dist_Imgs/``).
        subset: ``train`` (23,200 pictures of 200 references), ``val`` (the 1,000 NTIRE validation
            pictures of 25 other references), or ``both``, whose official split uses the first for
            training and the second for validation. Labels of the test pictures are not public.
        **options: The arguments of :class:`Benchmark`.
    """

    name = "pipal"
    title = "PIPAL"
    count = 24_200
    mos_range = (800.0, 1900.0)
    official_sizes = (23_200, 1_000, 0)
    default_split = "content"
    protocol = "official train/val; within train by reference"
    source = "https://www.jasongt.com/projectpages/pipal.html"
    terms = "unverified"
    folders = ("Distortion_1", "Distortion_2", "Distortion_3", "Distortion_4", "Dist_Imgs", "*")
    nested = ("PIPAL", "pipal")
    extras = r"A\d{4}\.bmp"
    obtain = "Get the folders Train and Valid by the links of https://github.com/HaomingCai/PIPAL-dataset"

    _TRAIN = ("Train_Label/A0001.txt", "Train_Label/Train_Label/A0001.txt", "pipal22_train.txt")
    _VAL = ("pipal21_val.txt", "val_label.txt", "val/pipal21_val.txt")

    def __init__(
        self,
        root: str | os.PathLike[str],
        subset: Literal["train", "val", "both"] = "train",
        **options: Any,
    ) -> None:
        super().__init__(root, **options)
        self.subset = subset

    @property
    def expected_rows(self) -> tuple[int, ...]:
        """Rated pictures of the chosen subset."""
        return ({"train": 23_200, "val": 1_000, "both": 24_200}[self.subset],)

    @property
    def main_labels(self) -> tuple[str, ...]:
        """The label files of the chosen subset."""
        return self._VAL if self.subset == "val" else self._TRAIN

    def read_annotations(self) -> pd.DataFrame:
        """Read one label file per reference, or the concatenated copies in circulation."""
        parts = {"train": ["train"], "val": ["val"], "both": ["train", "val"]}[self.subset]
        tables = [self._read(part).assign(split=part) for part in parts]
        return pd.concat(tables, ignore_index=True)

    def _read(self, part: str) -> pd.DataFrame:
        path = self.label_file(*(self._TRAIN if part == "train" else self._VAL))
        paths = sorted(path.parent.glob("A*.txt")) if path.name == "A0001.txt" else [path]
        tables = []
        for file in paths:
            table = read_csv(file, ["image", "mos"], self.obtain, header=None)
            pattern = r"(?P<content>A\d{4})_(?P<distortion>\d\d)_\d\d\.bmp"
            tables.append(table.join(name_parts(table["image"], pattern, file, self.obtain)))
        return pd.concat(tables, ignore_index=True)
