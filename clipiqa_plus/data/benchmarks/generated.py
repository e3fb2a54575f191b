"""AI-generated and computer-generated pictures: AGIQA, AIGCIQA2023, AIGIQA-20K, CGIQA-6K."""

from __future__ import annotations

import pandas as pd
from lightning.pytorch.utilities import rank_zero_warn

from clipiqa_plus.data.benchmarks.common import Benchmark, LabelDownload
from clipiqa_plus.data.labels import read_csv, read_mat, read_sheet


class AGIQA3K(Benchmark):
    """AGIQA-3K (Li et al., TCSVT 2023): 2,982 pictures of six generators.

    The MOS is the quality MOS; the column ``alignment`` (with the prompt) can also be a target.
    The content is the prompt, which several generators share: with a ``content`` split no prompt
    is in two parts.
    """

    name = "agiqa3k"
    title = "AGIQA-3K"
    count = 2_982
    mos_range = (0.0, 5.0)
    default_split = "random"
    protocol = "random 80/20 (2385/597); all as a cross-dataset test"
    source = "https://github.com/lcysyzxdxc/AGIQA-3k-Database"
    terms = "MIT"
    labels = ("data.csv",)
    folders = ("", "*")
    nested = ("AGIQA-3K", "AGIQA-3k-Database")
    obtain = (
        "Get AGIQA-3K.zip by the links of https://github.com/lcysyzxdxc/AGIQA-3k-Database and "
        "put the repository's data.csv beside the folder of pictures"
    )
    downloads = (
        LabelDownload(
            "data.csv",
            "https://raw.githubusercontent.com/lcysyzxdxc/AGIQA-3k-Database/"
            "30ded2bed96fc78070636548e811ece37e5d8f66/data.csv",
            "4b1945c2137e196d9378b9cf4a114de2267b97a4724f0743e260287eb2ddd6c0",
            445_544,
        ),
    )

    def read_annotations(self) -> pd.DataFrame:
        """Read names, prompts, and both scores with their standard deviations."""
        names = {
            "name": "image",
            "mos_quality": "mos",
            "std_quality": "mos_std",
            "mos_align": "alignment",
            "std_align": "alignment_std",
            "prompt": "content",
        }
        table = read_csv(self.label_file(), list(names), self.obtain)[list(names)]
        return table.rename(columns=names)


class AGIQA1K(Benchmark):
    """AGIQA-1K (Zhang et al., 2023): 1,080 pictures of two generators.

    The official workbook lists ``dreamStudio_8_9_1_1.jpg`` twice, with MOS 0.441 and 2.084, and
    lacks ``dreamStudio_8_5_0_0.jpg``. The second row is kept because it is close to the 2.045 in
    the authors' other table. That leaves 1,079 pictures.
    """

    name = "agiqa1k"
    title = "AGIQA-1K"
    count = 1_079
    mos_range = (0.0, 5.0)
    default_split = "random"
    protocol = "random 80/20"
    source = "https://github.com/lcysyzxdxc/AGIQA-1k-Database"
    terms = "MIT"
    labels = ("AIGC_MOS_Zscore.xlsx",)
    folders = ("", "*")
    nested = ("AGIQA-1K", "AGIQA-1k-Database")
    extras = r"dreamStudio_8_5_0_0\.jpg"
    editions = (("AIGC_all.csv", "disagrees with the official workbook (Pearson 0.84)"),)
    obtain = (
        "Get file.zip by the links of https://github.com/lcysyzxdxc/AGIQA-1k-Database and put the "
        "repository's AIGC_MOS_Zscore.xlsx beside the folder of pictures"
    )
    downloads = (
        LabelDownload(
            "AIGC_MOS_Zscore.xlsx",
            "https://raw.githubusercontent.com/lcysyzxdxc/AGIQA-1k-Database/"
            "7a8d9f23c1426b4466d713a91c5a7a0a7a716eae/AIGC_MOS_Zscore.xlsx",
            "83706b6e46314feffd9ba5e48eba31e6585f7f5056f15cb38166b8b53e2b3323",
            52_835,
        ),
    )

    def read_annotations(self) -> pd.DataFrame:
        """Read names, prompts and scores, without the known duplicate row."""
        columns = ["Image", "MOS", "Prompt"]
        table = read_sheet(self.label_file(), 0, columns, self.obtain)[columns]
        table = table.set_axis(["image", "mos", "content"], axis=1)
        double = table["image"] == "dreamStudio_8_9_1_1.jpg"
        superseded = double & table["image"].duplicated(keep="last")
        if superseded.any():
            rank_zero_warn(
                f"{self.title}: the label file lists dreamStudio_8_9_1_1.jpg twice; its row with "
                f"MOS {table.loc[superseded, 'mos'].iloc[0]:.3f} is dropped"
            )
        return table[~superseded]


_AIGCIQA_SCORES = {"mos": 1, "authenticity": 2, "correspondence": 3}
"""Column of each score, and its number in the names of the label files."""


class AIGCIQA2023(Benchmark):
    """AIGCIQA2023 (Wang et al., 2023): 2,400 pictures, six generators, 100 prompts.

    The MOS is that of quality; ``authenticity`` and ``correspondence`` (with the prompt) can also
    be targets. Scores are z-scored per rater and stretched to 0-100; those of quality lie between
    27 and 72. Picture ``n.png`` belongs to row n, counted from 0: six generators, 100 prompts each,
    four pictures of each prompt. The content is the number of the prompt.

    Two layouts of the authors are read: MATLAB files in ``DATA/MOS/``, and text files with one
    score per line. Deviations (``DATA/STD/``) are not: on which scale they are is unverified.
    """

    name = "aigciqa2023"
    title = "AIGCIQA2023"
    count = 2_400
    mos_range = (0.0, 100.0)
    default_split = "random"
    protocol = "random 75/25 or 80/20, also by prompt"
    source = "https://github.com/wangjiarui153/AIGCIQA2023"
    terms = "not stated"
    labels = ("DATA/MOS/mosz1.mat", "MOS/mosz1.mat", "moz1.txt")
    folders = ("Image/allimg", "allimg")
    nested = ("AIGCIQA2023",)
    editions = (
        ("AIGIQA2023.json", "lists each picture once for each question about it"),
        ("AIGCIQA2023.csv", "is a third party's list"),
    )
    obtain = (
        "Get the data set by the links of https://github.com/wangjiarui153/AIGCIQA2023 and unpack "
        "it as it is: Image/allimg/ with DATA/MOS/, or allimg/ with moz1.txt to moz3.txt"
    )

    def read_annotations(self) -> pd.DataFrame:
        """Read the three scores in the order of the pictures' numbers."""
        scores = {name: self._scores(number) for name, number in _AIGCIQA_SCORES.items()}
        lengths = {len(values) for values in scores.values()}
        if len(lengths) > 1:
            raise ValueError(
                f"{self.label_file()}: the three label files have {sorted(lengths)} scores; they "
                f"belong to the same pictures: this copy was altered. {self.obtain}"
            )
        table = pd.DataFrame(scores)
        rows = pd.Series(range(len(table)))
        table["image"] = rows.astype(str) + ".png"
        table["content"] = (rows % 400 // 4).map("{:03d}".format)
        return table

    def _scores(self, number: int) -> pd.Series:
        path = self.label_file(*(name.replace("1.", f"{number}.") for name in self.labels))
        if path.suffix == ".mat":
            return pd.Series(read_mat(path, ["MOSz"], self.obtain)["MOSz"])
        return read_csv(path, ["score"], self.obtain, header=None)["score"]


class AIGIQA20K(Benchmark):
    """AIGIQA-20K (Li et al., CVPR workshops 2024): 20,000 pictures of 15 generators.

    Also known as AIGCQA-30K-Image, the name of its download. Its lists, ``info_train``,
    ``info_val`` and ``info_test``, come as workbooks or CSV files, and those of validation and test
    have no scores, as in the NTIRE 2024 challenge: they are taken from a complete list beside them
    (``info_merge.csv`` or ``data.csv`` with the columns ``name`` and ``mos``). Without such a list,
    the 14,000 pictures of the training part remain.

    The content is the prompt: 376 pictures of the training part share theirs with an earlier one.
    """

    name = "aigiqa20k"
    title = "AIGIQA-20K"
    count = 20_000
    mos_range = (0.0, 5.0)
    default_split = "official"
    official_sizes = (14_000, 2_000, 4_000)
    protocol = "official 14000/2000/4000"
    source = "https://www.modelscope.cn/datasets/lcysyzxdxc/AIGCQA-30K-Image"
    terms = "Apache-2.0"
    labels = ("info_train.xlsx", "info_train.csv")
    folders = ("train", "val", "test", "all", "images", "")
    nested = ("AIGCQA-30K-Image", "AIGIQA-20K")
    obtain = (
        "Get the data set from https://www.modelscope.cn/datasets/lcysyzxdxc/AIGCQA-30K-Image and "
        "unpack train/, val/ and test/ beside info_train, info_val and info_test; a complete list "
        "of scores is data.csv of https://huggingface.co/datasets/strawhat/aigciqa-20k"
    )

    _COMPLETE = ("info_merge.csv", "data.csv")

    @property
    def expected_rows(self) -> tuple[int, ...]:
        """20,000, or the training part's 14,000 without a complete list of scores."""
        return (20_000, 14_000)

    def read_annotations(self) -> pd.DataFrame:
        """Read names, prompts and scores of all parts whose scores are known."""
        tables = []
        for part in ("train", "val", "test"):
            table = self._read(part)
            if "mos" not in table:
                scores = self._scores_of(table["name"], part)
                if scores is None:
                    continue
                table = table.assign(mos=scores)
            tables.append(table[["name", "prompt", "mos"]].assign(split=part))
        out = pd.concat(tables, ignore_index=True)
        out["prompt"] = out["prompt"].fillna("").astype(str)
        return out.rename(columns={"name": "image", "prompt": "content"})

    def _read(self, part: str) -> pd.DataFrame:
        path = self.label_file(f"info_{part}.xlsx", f"info_{part}.csv")
        columns = ["name", "prompt", "mos"] if part == "train" else ["name", "prompt"]
        if path.suffix == ".xlsx":
            return read_sheet(path, 0, columns, self.obtain)
        return read_csv(path, columns, self.obtain, dtype={"prompt": str})

    def _scores_of(self, names: pd.Series, part: str) -> pd.Series | None:
        """Return the scores of a part from the complete list; None without one."""
        if not any(self.files.find(name) for name in self._COMPLETE):
            rank_zero_warn(
                f"{self.title}: no {' or '.join(self._COMPLETE)} in {self.home}; the "
                f"{len(names):,} pictures of info_{part} have no scores and are left out"
            )
            return None
        path = self.label_file(*self._COMPLETE)
        complete = read_csv(path, ["name", "mos"], self.obtain).set_index("name")["mos"]
        unknown = names[~names.isin(complete.index)]
        if len(unknown):
            raise ValueError(
                f"{path}: no score for {unknown.iloc[0]} of info_{part} ({len(unknown)} such "
                f"pictures). {self.obtain}"
            )
        return names.map(complete)


class CGIQA6K(Benchmark):
    """CGIQA-6K (Zhang et al., 2023): 6,000 frames of games and films."""

    name = "cgiqa6k"
    title = "CGIQA-6K"
    count = 6_000
    mos_range = (0.0, 5.0)
    default_split = "random"
    protocol = "random 80/20"
    source = "https://github.com/zzc-1998/CGIQA6K"
    terms = "unverified"
    labels = ("mos.csv",)
    folders = ("database",)
    nested = ("CGIQA6K", "CGIQA-6K")
    obtain = (
        "Get database/ and mos.csv by the link of https://github.com/zzc-1998/CGIQA6K and unpack "
        "them side by side"
    )

    @property
    def expected_rows(self) -> tuple[int, ...]:
        """6,000, or 5,994: third-party lists lack six, and the official one is unverified."""
        return (6_000, 5_994)

    def read_annotations(self) -> pd.DataFrame:
        """Read names and scores."""
        table = read_csv(self.label_file(), ["Image", "MOS"], self.obtain)
        return table[["Image", "MOS"]].set_axis(["image", "mos"], axis=1)
