"""A data module of ten small pictures."""

from __future__ import annotations

import numpy as np
import pandas as pd

from clipiqa_plus.data.base import IQADataModule

ROWS = 10


class Tiny(IQADataModule):
    """Ten small pictures; even ones are 64x48, odd ones 40x56."""

    title = "Tiny"
    mos_range = (1.0, 5.0)

    def read_annotations(self) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "image": [f"p/{i}.png" for i in range(ROWS)],
                "mos": np.linspace(1, 5, ROWS),
                "sharpness": np.linspace(5, 1, ROWS),
                "split": ["train"] * 6 + ["val"] * 1 + ["test"] * 3,
            }
        )
