"""The units of a data set's statistics: contents where they are known, else pictures."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clipiqa_plus.metrics.resampling import FEWEST_UNITS
from clipiqa_plus.metrics.significance import FEWEST_TO_TEST

WITHIN_CONTENT = "within_content"
"""Column that marks scores which are comparable only within one content, as in PIQ23."""
FEW_UNITS = 20
"""With fewer pictures or contents, notes call intervals rough and tests approximate."""


class Units(NamedTuple):
    """What is resampled, and whose signs are flipped: contents or pictures."""

    groups: NDArray[Any] | None
    """[N] contents; None: each picture is a unit."""
    text: str
    """Their number in words."""
    size: int
    """Their number."""
    note: str
    """Why they are not contents; empty if they are."""

    @property
    def shared(self) -> bool:
        """Whether pictures share contents, so that they are not independent."""
        return self.groups is not None and self.size < len(self.groups)

    @property
    def interval_limit(self) -> str:
        """What limits intervals; empty if nothing does."""
        if self.size < FEWEST_UNITS:
            return f"{self.text}: too few for an interval"
        return f"{self.text}: rough interval" if self.size < FEW_UNITS else ""

    @property
    def test_limit(self) -> str:
        """What limits tests; empty if nothing does."""
        if self.size < FEWEST_TO_TEST:
            return f"{self.text}: too few for a test, which needs {FEWEST_TO_TEST}"
        return f"{self.text}: approximate test" if self.size < FEW_UNITS else ""


def units_of(scores: pd.DataFrame) -> Units:
    """Return the contents as units if all are known, else the pictures.

    Args:
        scores: Scores per picture of one target; with a column ``data``, of several data sets,
            which share no content.
    """
    n = len(scores)
    missing = int(scores["content"].isna().sum()) if "content" in scores else n
    if missing:
        note = "contents unknown" if missing == n else f"{missing} contents missing"
        return Units(None, count_pictures(n), n, f"{note}: resampled by picture")
    groups = scores["content"].astype(str).to_numpy()
    if "data" in scores:
        groups = scores.groupby(["data", "content"], sort=False).ngroup().to_numpy()
    size = len(np.unique(groups))
    return Units(groups, f"{size} contents", size, "")


def count_pictures(n: int) -> str:
    """Return a number of pictures in words."""
    return "1 picture" if n == 1 else f"{n} pictures"
