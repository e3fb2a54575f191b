"""Several distortions in one picture, split by reference: LIVE-MD, MDID."""

from __future__ import annotations

import pandas as pd

from clipiqa_plus.data.benchmarks.common import Benchmark
from clipiqa_plus.data.labels import name_parts, read_csv, read_mat

_PARTS = {
    "blurjpeg": (("Part 1", "Part1", "Part_1"), 19),
    "blurnoise": (("Part 2", "Part2", "Part_2"), 18),
}
"""Picture folder of each part: the folders it may lie in, and the number of raters."""


class LIVEMD(Benchmark):
    """LIVE Multiply Distorted (Jayaraman et al., Asilomar 2012): 15 references, 450 pictures.

    Scores are DMOS: lower is better. Part 1 is blur followed by JPEG, part 2 blur followed by
    noise, each with pictures of one distortion alone; pictures of blur alone have the same names
    in both parts, so that a sample id begins with the picture folder.

    All DMOS are multiples of 1/19 in part 1 and of 1/18 in part 2: the numbers of raters.
    Deviations are not read: the layout of the raw scores in ``Scores.mat`` is unverified.
    """

    name = "live_md"
    title = "LIVE-MD"
    count = 450
    mos_range = (0.0, 100.0)
    higher_is_better = False
    default_split = "content"
    protocol = "by reference 80/20, 10 times"
    source = "https://live.ece.utexas.edu/research/quality/live_multidistortedimage.html"
    terms = "free with the University of Texas notice kept"
    labels = tuple(f"{part}/Imagelists.mat" for part in _PARTS["blurjpeg"][0])
    folders = tuple(part for parts, _ in _PARTS.values() for part in parts)
    nested = (
        "To_Release",
        "LIVEmultidistortiondatabase",
        "LIVEmultidistortiondatabase/To_Release",
    )
    extras = r"[^_]+\.bmp"
    editions = (("LIVE_MD.txt", "is a third party's list"),)
    obtain = (
        "Ask for LIVEmultidistortiondatabase.rar at "
        "https://live.ece.utexas.edu/research/quality/live_multidistortedimage.html and unpack "
        "it as it is, with Scores.mat and Imagelists.mat in each part"
    )

    def read_annotations(self) -> pd.DataFrame:
        """Read names and DMOS of both parts; the name contains reference, kinds and levels."""
        tables = []
        for folder, (parts, raters) in _PARTS.items():
            names_path = self.label_file(*(f"{part}/Imagelists.mat" for part in parts))
            scores_path = self.label_file(*(f"{part}/Scores.mat" for part in parts))
            names = pd.Series(read_mat(names_path, ["distimgs"], self.obtain)["distimgs"])
            scores = read_mat(scores_path, ["DMOSscores"], self.obtain)["DMOSscores"]
            if len(names) != len(scores):
                raise ValueError(
                    f"{scores_path}: {len(scores)} scores for the {len(names)} pictures of "
                    f"{names_path.name}: this copy was altered. {self.obtain}"
                )
            second = folder.removeprefix("blur")
            pattern = rf"(?P<content>[^_]+)_(?P<kinds>blur\d(?:_{second}\d)?|{second}\d)\.bmp"
            parsed = name_parts(names, pattern, names_path, self.obtain)
            tables.append(
                pd.DataFrame(
                    {
                        "image": folder + "/" + names,
                        "mos": scores,
                        "n_ratings": raters,
                        "content": parsed["content"].str.lower(),
                        "distortion": parsed["kinds"].str.replace(r"[\d_]", "", regex=True),
                    }
                )
            )
        return pd.concat(tables, ignore_index=True)


class MDID(Benchmark):
    """MDID (Sun et al., Pattern Recognition 2017): 20 references, 1,600 pictures.

    Each picture has several of noise, blur, contrast change, JPEG and JPEG 2000, at random levels.
    The label file has scores only: 80 for each reference, in the order of the pictures' names.
    The numbered files beside it, with the levels, are not read: their columns are unverified.
    """

    name = "mdid"
    title = "MDID"
    count = 1_600
    mos_range = (0.0, 8.0)
    default_split = "content"
    protocol = "by reference 80/20, 10 times"
    source = "https://www.sz.tsinghua.edu.cn/labs/vipl/mdid.html"
    terms = "unverified"
    labels = ("mos.txt",)
    folders = ("distortion_images",)
    nested = ("MDID", "MDID2016")
    editions = (("MDID2016.txt", "is a third party's list"),)
    obtain = (
        "Get MDID by the link of https://www.sz.tsinghua.edu.cn/labs/vipl/mdid.html and unpack it "
        "as it is: distortion_images/ and mos.txt side by side"
    )

    _PER_REFERENCE = 80

    def read_annotations(self) -> pd.DataFrame:
        """Read one score per line; line 81 belongs to ``img02_01.bmp``."""
        path = self.label_file()
        scores = read_csv(path, ["mos"], self.obtain, header=None)["mos"]
        if not pd.api.types.is_numeric_dtype(scores):
            raise ValueError(
                f"{path}: not one number, such as 2.4855, in each line: another edition of the "
                f"label file. {self.obtain}"
            )
        rows = pd.Series(range(len(scores)))
        content = "img" + (rows // self._PER_REFERENCE + 1).map("{:02d}".format)
        within = (rows % self._PER_REFERENCE + 1).map("{:02d}".format)
        return pd.DataFrame(
            {"image": content + "_" + within + ".bmp", "mos": scores, "content": content}
        )
