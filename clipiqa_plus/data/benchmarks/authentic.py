"""Photographs with authentic distortions: CLIVE, SPAQ, BID, CID2013, UHD-IQA, PIQ23."""

from __future__ import annotations

import os
from typing import Any, ClassVar, Literal

import pandas as pd

from clipiqa_plus.data.benchmarks.common import Benchmark
from clipiqa_plus.data.fetch import Archive
from clipiqa_plus.data.labels import name_parts, read_csv, read_mat, read_sheet, whole_numbers

_PARTS = {"training": "train", "validation": "val", "Train": "train", "Test": "test"}


class CLIVE(Benchmark):
    """LIVE In-the-Wild Challenge (Ghadiyaram & Bovik, TIP 2016): 1,162 phone photographs.

    The label files also list the 7 training pictures ``t1`` to ``t7``, which every rater saw before
    the session; they are excluded.
    """

    name = "clive"
    title = "LIVE-itW (CLIVE)"
    count = 1_162
    mos_range = (0.0, 100.0)
    default_split = "random"
    protocol = "random 80/20, 10 times; all 1,162 as a cross-dataset test"
    source = "https://live.ece.utexas.edu/research/ChallengeDB/index.html"
    terms = "free with the University of Texas notice kept and two references cited"
    labels = ("Data/AllImages_release.mat",)
    folders = ("Images",)
    nested = ("ChallengeDB_release", "ChallengeDB_release/ChallengeDB_release")
    editions = (
        ("livec.json", "is a third party's list that counts the 7 training pictures"),
        ("LIVE_Challenge.txt", "is a third party's list without 100.bmp"),
    )
    obtain = (
        "Ask for ChallengeDB_release.zip at "
        "https://live.ece.utexas.edu/research/ChallengeDB/index.html and unpack it as it is"
    )

    def read_annotations(self) -> pd.DataFrame:
        """Pair names and scores by their position in the MATLAB files, never by sorting."""
        values = {}
        for variable in ("AllImages_release", "AllMOS_release", "AllStdDev_release"):
            path = self.label_file(f"Data/{variable}.mat")
            values[variable] = read_mat(path, [variable], self.obtain)[variable]
        lengths = {variable: len(value) for variable, value in values.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"{self.title}: {lengths} do not belong together. {self.obtain}")
        table = pd.DataFrame(
            {
                "image": values["AllImages_release"],
                "mos": values["AllMOS_release"],
                "mos_std": values["AllStdDev_release"],
            }
        )
        training = table["image"].astype(str).str.fullmatch(r"(?i:t[1-7]\.bmp)")
        return table[~training]


class SPAQ(Benchmark):
    """SPAQ (Fang et al., CVPR 2020): 11,125 photographs of 66 phones, MOS and five attributes.

    The attribute columns ``brightness``, ``colorfulness``, ``contrast``, ``noisiness`` and
    ``sharpness`` may be targets. All of them, ``noisiness`` too, are on 0-100 with higher =
    better: the distributed ``Noisiness`` is cleanliness (Spearman +0.89 with MOS), so its
    antonym pair names the clean side first.
    """

    name = "spaq"
    title = "SPAQ"
    count = 11_125
    mos_range = (0.0, 100.0)
    attributes: ClassVar[tuple[str, ...]] = (
        "brightness",
        "colorfulness",
        "contrast",
        "noisiness",
        "sharpness",
    )
    default_split = "random"
    protocol = "random 80/20"
    usual_resize = 512
    source = "https://github.com/h4nwei/SPAQ"
    terms = "education and research only"
    labels = ("Annotations/MOS and Image attribute scores.xlsx",)
    folders = ("TestImage",)
    nested = ("Dataset", "SPAQ")
    editions = (("EXIF_tags.xlsx", "holds camera settings: its Brightness is no opinion score"),)
    obtain = (
        "Get TestImage and Annotations by the links of https://github.com/h4nwei/SPAQ; if unzip "
        "stops, repair the archive first with: zip -FF SPAQ.zip --out whole.zip"
    )

    def read_annotations(self) -> pd.DataFrame:
        """Read the sheet of MOS and attribute scores."""
        titles = {name.capitalize(): name for name in self.attributes}
        columns = ["Image name", "MOS", *titles]
        table = read_sheet(self.label_file(), 0, columns, self.obtain)[columns]
        return table.rename(columns={"Image name": "image", "MOS": "mos", **titles})


class BID(Benchmark):
    """BID (Ciancio et al., TIP 2011): 586 photographs with realistic blur."""

    name = "bid"
    title = "BID"
    count = 586
    mos_range = (0.0, 5.0)
    default_split = "random"
    protocol = "random 80/20"
    source = "https://github.com/zwx8981/UNIQUE"
    terms = "unverified"
    labels = ("DatabaseGrades.xls", "DatabaseGrades.xlsx")
    folders = ("ImageDatabase", "")
    nested = ("BID", "ImageDatabase")
    obtain = (
        "Get the BID archive by the link in the README of https://github.com/zwx8981/UNIQUE; it "
        "holds ImageDatabase/ and DatabaseGrades.xls"
    )

    def read_annotations(self) -> pd.DataFrame:
        """Read numbers and mean grades; the numbers have gaps, so names are not generated."""
        columns = ["Image Number", "Average Subjective Grade"]
        table = read_sheet(self.label_file(), 0, columns, self.obtain)
        numbers = whole_numbers(table["Image Number"], self.label_file(), self.obtain)
        return pd.DataFrame(
            {
                "image": [f"DatabaseImage{number:04d}.JPG" for number in numbers],
                "mos": table["Average Subjective Grade"],
            }
        )


class CID2013(Benchmark):
    """CID2013 (Virtanen et al., TIP 2015): 474 consumer photographs in six image sets.

    The MOS is the realigned one, which is comparable across sets and can be negative; the column
    ``set_mos`` holds the MOS within the set. The content is the image set.
    """

    name = "cid2013"
    title = "CID2013"
    count = 474
    mos_range = (-10.0, 100.0)
    default_split = "whole"
    protocol = "whole set as test, or by image set"
    source = "https://zenodo.org/records/2647033"
    terms = "free with the notice kept"
    labels = ("CID2013 data - version 12112014.xlsx",)
    nested = ("CID2013",)
    fetch_from = (Archive("https://zenodo.org/records/2647033/files/CID2013.7z"),)
    obtain = "Get CID2013.7z from https://zenodo.org/records/2647033 and unpack it as it is"

    def read_annotations(self) -> pd.DataFrame:
        """Read the sheet of realigned scores; ``IS_I_C01_D01`` is ``IS1/co1/IS_I_C01_D01.jpg``."""
        path = self.label_file()
        columns = ["Source_ID", "Image set specific MOS", "Realigned MOS"]
        table = read_sheet(path, "CID2013 MOS", columns, self.obtain)
        parts = name_parts(
            table["Source_ID"],
            r"IS_(?P<set>VI|IV|V|I{1,3})_C0*(?P<cluster>\d+)_D\d+",
            path,
            self.obtain,
        )
        number = parts["set"].str.upper().map({"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6})
        folder = "IS" + number.astype(str)
        return pd.DataFrame(
            {
                "image": folder + "/co" + parts["cluster"] + "/" + table["Source_ID"] + ".jpg",
                "mos": table["Realigned MOS"],
                "set_mos": table["Image set specific MOS"],
                "content": folder,
            }
        )


class UHDIQA(Benchmark):
    """UHD-IQA (Hosu et al., ECCV workshops 2024): 6,073 photographs 3840 pixels wide.

    The challenge package, which holds only the training part, is supported too. The validation and
    test parts contain lower scores than the training part.
    """

    name = "uhd_iqa"
    title = "UHD-IQA"
    count = 6_073
    mos_range = (0.0, 1.0)
    default_split = "official"
    official_sizes = (4_269, 904, 900)
    protocol = "official 4269/904/900"
    source = "https://database.mmsp-kn.de/uhd-iqa-benchmark-database.html"
    terms = "photographs of Pixabay, reported CC0"
    labels = ("uhd-iqa-metadata.csv", "uhd-iqa-training-metadata.csv")
    folders = ("training", "validation", "test", "challenge/training", "challenge/validation")
    nested = ("UHD-IQA-database", "UHD-IQA")
    fetch_from = (
        Archive("https://datasets.vqa.mmsp-kn.de/archives/UHD-IQA/UHD-IQA-database.zip"),
        Archive("https://datasets.vqa.mmsp-kn.de/archives/UHD-IQA/uhd-iqa-metadata.zip"),
    )
    obtain = (
        "Get UHD-IQA-database.zip and uhd-iqa-metadata.zip from "
        "https://database.mmsp-kn.de/uhd-iqa-benchmark-database.html and unpack both into one "
        "folder"
    )

    @property
    def expected_rows(self) -> tuple[int, ...]:
        """6,073, or the training part's 4,269 for the challenge package."""
        return (4_269,) if "training" in self.label_file().name else (6_073,)

    def read_annotations(self) -> pd.DataFrame:
        """Read names, scores and sets; widths in the file are those of the original pictures."""
        columns = ["image_name", "quality_mos", "set"]
        table = read_csv(self.label_file(), columns, self.obtain)[columns]
        table["set"] = table["set"].replace(_PARTS)
        return table.set_axis(["image", "mos", "split"], axis=1)


class PIQ23(Benchmark):
    """PIQ23 (Chahine et al., CVPR 2023): 5,116 portraits in 50 scenes, compared in pairs.

    Scores are just-objectionable differences within a scene (the content). They are not comparable
    across scenes, so correlations are computed per scene and the median is reported.

    Args:
        root: Folder with ``Overall/``, ``Details/``, ``Exposure/``, the score tables and
            ``Test split/``.
        attribute: Which of the three judgements; each has its own crops under equal names.
        official: Which official split: ``device`` (3,604/1,512) or ``scene`` (3,630/1,486).
        **options: The arguments of :class:`Benchmark`.
    """

    name = "piq23"
    title = "PIQ23"
    count = 5_116
    mos_range = (-10.0, 10.0)
    default_split = "official"
    within_content = True
    protocol = "official device or scene split, median over scenes"
    usual_resize = 1200
    source = "https://corp.dxomark.com/data-base-piq23/"
    terms = "non-commercial research, PIQ23 terms"
    nested = ("PIQ23", "PIQ2023")
    obtain = (
        "Ask for the pictures by the form at https://corp.dxomark.com/data-base-piq23/ and take "
        "Scores/ and 'Test split/' from github.com/DXOMARK-Research/PIQ2023"
    )

    def __init__(
        self,
        root: str | os.PathLike[str],
        attribute: Literal["Overall", "Details", "Exposure"] = "Overall",
        official: Literal["device", "scene"] = "device",
        **options: Any,
    ) -> None:
        super().__init__(root, **options)
        self.attribute = attribute
        self.official = official

    @property
    def main_labels(self) -> tuple[str, ...]:
        """The score table of the chosen attribute."""
        return (f"Scores_{self.attribute}.csv", f"Scores/Scores_{self.attribute}.csv")

    def read_annotations(self) -> pd.DataFrame:
        """Read paths (written with back-slashes), scores and scenes, and join the split."""
        path = self.label_file()
        columns = ["IMAGE PATH", "JOD", "IMAGE", "SCENE"]
        table = read_csv(path, columns, self.obtain, dtype={"IMAGE PATH": str})
        out = pd.DataFrame(
            {
                "image": table["IMAGE PATH"].str.replace("\\", "/", regex=False),
                "mos": table["JOD"],
                "content": table["SCENE"],
            }
        )
        if self.split_kind == "official":
            key = "IMAGE" if self.official == "device" else "SCENE"
            split_path = self.label_file(f"Test split/{self.official.capitalize()} Split.csv")
            parts = read_csv(split_path, [key, "SPLIT"], self.obtain).set_index(key)["SPLIT"]
            unknown = table[~table[key].isin(parts.index)]
            if len(unknown):
                raise ValueError(
                    f"{split_path}: no part for {unknown[key].iloc[0]!r} of {path.name} "
                    f"({len(unknown)} such rows). {self.obtain}"
                )
            out["split"] = table[key].map(parts).replace(_PARTS)
        return out
