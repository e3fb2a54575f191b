"""TID2013, and what its file of standard errors says about the ratings."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clipiqa_plus.data.benchmarks.common import Benchmark
from clipiqa_plus.data.fetch import Archive
from clipiqa_plus.data.labels import name_parts, read_csv

_ERRORS = "mos_std.txt"
_HALF_UNIT = 5.1e-6
"""Half a unit of the fifth decimal, with which both files are written, and some slack."""
_RATERS = np.arange(20, 61)
"""Numbers of raters of a picture that are tried; the real ones lie between 30 and 45."""


class TID2013(Benchmark):
    """TID2013 (Ponomarenko et al., 2015): 25 references, 24 distortions, 5 levels.

    One reference is called ``I01`` in some names and ``i01`` in others, and ``.BMP`` in the label
    file may be ``.bmp`` on disk: files and contents are matched regardless of case.

    Despite its name, ``mos_std.txt`` does not hold the deviations of the ratings but the standard
    errors of their means, see :func:`ratings_of`. Where it lies beside the scores, deviations and
    numbers of ratings follow from it.
    """

    name = "tid2013"
    title = "TID2013"
    count = 3_000
    mos_range = (0.0, 9.0)
    default_split = "content"
    protocol = "by reference 80/20, 10 times"
    source = "http://www.ponomarenko.info/tid2013.htm"
    terms = "education and research, free, notice kept"
    labels = ("mos_with_names.txt",)
    folders = ("distorted_images",)
    nested = ("tid2013",)
    editions = (
        ("TID2013.txt", "is a third party's list with lower-cased names"),
        ("TID2013.MOS.csv", "is a third party's list"),
    )
    fetch_from = (
        Archive(
            "https://www.ponomarenko.info/tid2013/tid2013.rar",
            md5="2c42bec2407adc49cf4d7858daf8f99b",
        ),
    )
    obtain = (
        "Get tid2013.rar (MD5 2c42bec2407adc49cf4d7858daf8f99b) from "
        "http://www.ponomarenko.info/tid2013.htm and unpack it as it is"
    )

    def read_annotations(self) -> pd.DataFrame:
        """Read ``score name`` lines."""
        path = self.label_file()
        table = read_csv(path, ["mos", "image"], self.obtain, header=None, sep=r"\s+")
        if table["image"].isna().any() or not pd.api.types.is_numeric_dtype(table["mos"]):
            raise ValueError(
                f"{path}: expected lines 'score name', such as '5.51429 I01_01_1.bmp': another "
                f"edition of the label file. {self.obtain}"
            )
        pattern = r"(?P<content>I\d\d)_(?P<distortion>\d\d)_(?P<level>\d)\.bmp"
        parts = name_parts(table["image"], pattern, path, self.obtain)
        content = parts["content"].str.upper()
        out = pd.DataFrame(
            {
                "image": table["image"],
                "mos": table["mos"],
                "content": content,
                "distortion": parts["distortion"],
                "level": parts["level"].astype(int),
            }
        )
        if not self.files.find(_ERRORS):
            return out  # mos_with_names.txt alone
        errors = read_csv(self.label_file(_ERRORS), ["error"], self.obtain, header=None)["error"]
        if len(errors) != len(out) or not pd.api.types.is_numeric_dtype(errors):
            raise ValueError(
                f"{self.label_file(_ERRORS)}: {len(errors)} lines for the {len(out)} scores of "
                f"{path.name}, or lines that are no numbers: another edition. {self.obtain}"
            )
        scores = out["mos"].to_numpy(dtype=np.float64)
        try:
            numbers, deviations = ratings_of(scores, errors.to_numpy(dtype=np.float64), content)
        except ValueError as error:
            raise ValueError(f"{self.label_file(_ERRORS)}: {error}. {self.obtain}") from error
        return out.assign(mos_std=deviations, n_ratings=numbers)


def ratings_of(
    scores: NDArray[np.float64], errors: NDArray[np.float64], content: pd.Series
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return numbers and deviations of the ratings behind means and their standard errors.

    A rating is a whole number of 0 to 9. So n ratings of sum S and sum of squares Q have the mean
    m = S / n and the standard error e = sqrt(Q / n - m^2) / sqrt(n), where S and Q are whole
    numbers. In the distributed files both are, within the rounding to five decimals, for an n
    between 30 and 45 in each of the 3,000 rows; read as a deviation, no n fits more often than by
    chance. For the 82 rows that several n fit, the one nearest to the median of the same reference
    is taken: its pictures were rated in the same sessions.

    Args:
        scores: Means [N].
        errors: Standard errors of the means [N].
        content: Reference of each picture [N].

    Returns:
        Number of ratings, int64 [N]; and their sample deviation (n - 1), float64 [N].

    Raises:
        ValueError: If no number of ratings fits a row.
    """
    n = _RATERS[None, :]
    means, spread = scores[:, None], errors[:, None]
    total = (means * n).round()
    squares = (spread * n) ** 2 + total**2 / n
    whole_sum = np.abs(means * n - total) <= _HALF_UNIT * n
    whole_squares = np.abs(squares - squares.round()) <= 2 * spread * _HALF_UNIT * n**2 + 1e-6
    fits = whole_sum & whole_squares
    unfit = np.flatnonzero(~fits.any(axis=1))
    if len(unfit):
        row = int(unfit[0])
        raise ValueError(
            f"row {row + 1}: {errors[row]:g} is not the standard error of whole ratings with the "
            f"mean {scores[row]:g} ({len(unfit)} such rows)"
        )
    first = _RATERS[fits.argmax(axis=1)].astype(np.float64)
    sure = pd.Series(np.where(fits.sum(axis=1) == 1, first, np.nan), index=content.index)
    usual = sure.groupby(content).transform("median").fillna(sure.median()).to_numpy()
    distance = np.where(fits, np.abs(n - np.nan_to_num(usual, nan=n.mean())[:, None]), np.inf)
    numbers = _RATERS[distance.argmin(axis=1)].astype(np.int64)
    deviations = errors * numbers / np.sqrt(numbers - 1)
    return numbers, deviations
