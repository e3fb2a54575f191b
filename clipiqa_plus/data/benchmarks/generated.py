"""AI-generated and computer-generated pictures: AGIQA-3K, AGIQA-1K, CGIQA-6K."""

from __future__ import annotations

import pandas as pd
from lightning.pytorch.utilities import rank_zero_warn

from clipiqa_plus.data.benchmarks.common import Benchmark, LabelDownload
from clipiqa_plus.data.labels import read_csv, read_sheet


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
