"""Outputs of super-resolution, compared in pairs within a content: SRIQA-Bench."""

from __future__ import annotations

import pandas as pd

from clipiqa_plus.data.benchmarks.common import Benchmark
from clipiqa_plus.data.labels import name_parts, read_csv

_METHODS = (
    "SwinIR",
    "RealESRNet",
    "RealESRGAN",
    "BSRGAN",
    "HGGT",
    "StableSR",
    "SUPIR",
    "SeeSR",
    "SinSR",
    "OSEDiff",
    "Original",
)


class SRIQABench(Benchmark):
    """SRIQA-Bench (Chen et al., CVPR 2025): 100 contents, the original and ten restorations each.

    Scores come from all pairs within a content (the picture that was restored), each judged by ten
    people, and are stretched to 0-100 in each content. They are not comparable across contents, so
    correlations are computed per content and the median is reported.

    The original is rated like the others and is not always the best. The pictures under
    ``LRImages/`` have the names of the originals, are not rated, and are not read; nor are
    ``MOS_Reg/`` and ``MOS_Gen/``, with scores of two groups of methods.
    """

    name = "sriqa_bench"
    title = "SRIQA-Bench"
    count = 1_100
    mos_range = (0.0, 100.0)
    default_split = "whole"
    within_content = True
    protocol = "whole set as test, median over contents"
    source = "https://github.com/ChrisDud0257/AFINE"
    terms = "non-commercial academic research; not to be redistributed"
    labels = ("MOS/online50.txt",)  # any of its 100 contents
    folders = (*(f"images/{method}" for method in _METHODS), "images")
    nested = ("SRIQA-Bench",)
    editions = (
        (
            "normalize_SRIQA_mos.txt",
            "has the scores turned upside down for training (0 is the best picture)",
        ),
        ("SRIQA-Bench_test_all.txt", "is a third party's list"),
    )
    obtain = (
        "Get SRIQA-Bench by the link of https://github.com/ChrisDud0257/AFINE and unpack it as it "
        "is: images/ and MOS/ side by side"
    )

    def read_annotations(self) -> pd.DataFrame:
        """Read one label file for each content; commas or blanks separate name and score."""
        tables = []
        for path in sorted(self.label_file().parent.glob("*.txt")):
            layout = {"header": None, "sep": r"\s*[,\s]\s*", "engine": "python"}
            table = read_csv(path, ["image", "mos"], self.obtain, **layout)
            pattern = r"(?P<content>.+)_[^_]+\.png"
            parts = name_parts(table["image"], pattern, path, self.obtain)
            foreign = parts["content"] != path.stem
            if foreign.any():
                raise ValueError(
                    f"{path}: {table['image'][foreign].iloc[0]} is not a picture of content "
                    f"{path.stem}: another edition of the label file. {self.obtain}"
                )
            tables.append(table.join(parts))
        out = pd.concat(tables, ignore_index=True)
        out["mos"] = out["mos"].round(9)  # the stretch leaves 100.00000000000001
        return out
