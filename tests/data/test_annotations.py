"""What raters said beside the mean: checked, normalised, and through to batches and scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from clipiqa_plus.data.annotations import count_columns, grade_moments, rating_tensors, validate
from clipiqa_plus.data.tables import TableData

COUNTS = np.array([[0, 1, 2, 3, 4], [5, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
RATINGS = [np.repeat(np.arange(1, 6), row) for row in COUNTS]


def frame(**changes: object) -> pd.DataFrame:
    """Three pictures on a scale of 1 to 5, with mean and deviation by numpy from single ratings."""
    columns = {
        "image": ["a.png", "b.png", "c.png"],
        "mos": [ratings.mean() for ratings in RATINGS],
        "mos_std": [ratings.std(ddof=1) for ratings in RATINGS],
        "n_ratings": [len(ratings) for ratings in RATINGS],
        **{f"count_{grade}": COUNTS[:, grade - 1] for grade in range(1, 6)},
    }
    return pd.DataFrame(columns | changes)


def check(table: pd.DataFrame, **options: bool) -> None:
    validate(table, ["mos"], (1.0, 5.0), "labels.csv", **options)


@pytest.mark.parametrize("decimals", [1, 2, 3, 15])
@pytest.mark.parametrize("ddof", [0, 1])
def test_mean_and_either_deviation_agree_within_their_rounding(decimals: int, ddof: int) -> None:
    std = [ratings.std(ddof=ddof).round(decimals) for ratings in RATINGS]
    check(frame(mos_std=std, mos=[ratings.mean().round(decimals) for ratings in RATINGS]))


def test_moments_are_those_of_the_single_ratings() -> None:
    mean, population, sample = grade_moments(COUNTS.astype(float), (0, 100))
    scores = [(ratings - 1) * 25 for ratings in RATINGS]
    np.testing.assert_allclose(mean, [s.mean() for s in scores], rtol=1e-14)
    np.testing.assert_allclose(population, [s.std() for s in scores], atol=1e-12)
    np.testing.assert_allclose(sample, [s.std(ddof=1) for s in scores], atol=1e-12)
    assert grade_moments(np.array([[0.0, 1.0]]), (0, 1))[2] == [0]  # a single rating


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mos_std": [1, -0.2, 1]}, r"row 2 \(b\.png\): mos_std -0\.2 is negative"),
        ({"mos_std": [1, np.nan, 1]}, r"row 2 \(b\.png\): mos_std is empty"),
        ({"mos_std": [1, 0, 16]}, r"row 3 \(c\.png\): mos_std 16 is larger than the scale, 4"),
        ({"n_ratings": [10, 0, 5]}, r"row 2 \(b\.png\): n_ratings is 0 .*at least 1"),
        ({"n_ratings": [10, 5.5, 5]}, r"row 2 \(b\.png\): n_ratings is 5\.5"),
        ({"n_ratings": [10, 5, 6]}, r"row 3 .* counts add up to 5, not to n_ratings"),
        ({"count_2": [1, 0, -1]}, r"row 3 \(c\.png\): count_2 is -1"),
        ({"count_2": [1, 0.5, 1]}, r"row 2 \(b\.png\): count_2 is 0\.5"),
        ({"count_2": [1, "x", 1]}, r"row 2 \(b\.png\): count_2 is empty or not a number"),
        (
            {"mos": [4.0, 1.0, 3.1]},
            r"row 3 \(c\.png\): the counts have the mean 3, not that of mos",
        ),
        ({"mos": [2.0, 5.0, 3.0]}, r"row 1 .*mean 4, .*count_1 belongs to 1, the lowest score"),
        (
            {"mos_std": [1.05, 0.0, 1.7]},
            r"row 3 \(c\.png\): the counts have the standard deviation",
        ),
    ],
)
def test_ratings_that_do_not_fit_name_file_and_row(changes: dict, message: str) -> None:
    table = frame(**changes)
    if "count_2" in changes:
        table = table.drop(columns=["n_ratings"])
    with pytest.raises(ValueError, match=f"labels.csv: {message}"):
        check(table)


def test_a_picture_without_ratings_and_a_scale_of_one_grade_are_refused() -> None:
    with pytest.raises(ValueError, match=r"row 2 \(b\.png\): all counts are 0"):
        check(frame(count_1=[0, 0, 1]).drop(columns=["n_ratings"]))
    with pytest.raises(ValueError, match="count_1 but no count_2"):
        check(frame()[["image", "mos", "count_1"]])


def test_a_z_scored_mos_is_not_held_against_the_counts() -> None:
    shifted = frame(mos=[4.2, 1.1, 3.1])
    with pytest.raises(ValueError, match="mean 4"):
        check(shifted)
    check(shifted, mean_of_grades=False)


def test_lower_is_better_turns_grades_and_keeps_deviations() -> None:
    up = rating_tensors(frame(), ["mos"], (1, 5))
    down = rating_tensors(frame(), ["mos"], (1, 5), higher_is_better=False)
    assert up["counts"].tolist() == COUNTS.tolist()
    assert down["counts"].tolist() == COUNTS[:, ::-1].tolist()
    assert torch.equal(up["mos_std"], down["mos_std"])
    np.testing.assert_allclose(up["mos_std"][:, 0], frame()["mos_std"] / 4, atol=1e-7)


def test_a_target_without_deviations_has_none() -> None:
    table = frame(sharpness=[1.0, 2.0, 3.0])
    std = rating_tensors(table, ["sharpness", "mos"], (1, 5))["mos_std"]
    assert std[:, 0].isnan().all()
    assert not std[:, 1].isnan().any()
    assert "mos_std" not in rating_tensors(table, ["sharpness"], (1, 5))
    assert rating_tensors(table[["image", "mos"]], ["mos"], (1, 5)) == {}


@pytest.fixture
def data(tmp_path: Path, make_picture: Callable[..., Path]) -> TableData:
    for name in frame()["image"]:
        make_picture(tmp_path / name)
    parts = ["test", "train", "test"]
    table = frame(split=parts).drop(columns=["mos_std", "n_ratings"])
    table.to_csv(tmp_path / "s.csv", index=False)
    module = TableData(str(tmp_path / "s.csv"), (1, 5), num_workers=0)
    module.setup()
    return module


def test_counts_alone_give_deviation_and_number_up_to_the_batch(data: TableData) -> None:
    assert count_columns(data.annotations) == [f"count_{grade}" for grade in range(1, 6)]
    (batch,) = data.test_dataloader()
    assert batch["id"].tolist() == [0, 2]
    assert batch["counts"].tolist() == COUNTS[[0, 2]].tolist()
    assert batch["n_ratings"].tolist() == [10, 5]
    expected = [RATINGS[row].std(ddof=1) / 4 for row in (0, 2)]
    assert batch["mos_std"][:, 0].tolist() == pytest.approx(expected, rel=1e-6)
    table = torch.randn(3, 1, 4)
    data.features["test"] = lambda rows, views: table[rows, views]
    (cached,) = data.test_dataloader()
    assert torch.equal(cached["counts"], batch["counts"])
