"""User tables: CSV and Parquet, their columns, splits and defects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from clipiqa_plus.data.tables import TableData


@pytest.fixture
def folder(tmp_path: Path, make_picture: Callable[..., Path]) -> Path:
    for i in range(10):
        make_picture(tmp_path / f"{i:03d}.jpg", seed=i)
    return tmp_path


def frame(**columns: list) -> pd.DataFrame:
    given = {"image": [f"{i:03d}.jpg" for i in range(10)], "mos": [10.0 * i for i in range(10)]}
    return pd.DataFrame(given | columns)


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_every_kind_of_table_reads_the_same(folder: Path, ending: str) -> None:
    path = folder / f"scores.{ending}"
    if ending == "parquet":
        frame().to_parquet(path)
    else:
        frame().to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
    data = TableData(str(path), (0, 100))
    data.setup()
    assert data.annotations["image"].tolist() == frame()["image"].tolist()
    assert data.mos_raw[:, 0].tolist() == frame()["mos"].tolist()
    assert (len(data.rows("train")), len(data.rows("test"))) == (8, 2)


def test_split_column_is_taken_where_there_is_one(folder: Path) -> None:
    frame(split=["train"] * 5 + ["val"] * 2 + ["test"] * 3).to_csv(folder / "s.csv", index=False)
    data = TableData(str(folder / "s.csv"), (0, 100))
    data.setup()
    assert data.rows("val").tolist() == [5, 6]
    drawn = TableData(str(folder / "s.csv"), (0, 100), split="random")
    drawn.setup()
    assert len(drawn.rows("train")) == 8


def test_content_split_keeps_contents_together(folder: Path) -> None:
    frame(content=[f"scene{i // 2}" for i in range(10)]).to_csv(folder / "s.csv", index=False)
    data = TableData(str(folder / "s.csv"), (0, 100), split="content")
    data.setup()
    content = data.annotations["content"].to_numpy()
    assert not set(content[data.rows("train")]) & set(content[data.rows("test")])


def test_other_column_names_and_another_root(folder: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    table = frame().rename(columns={"image": "file", "mos": "opinion"})
    table.to_csv(labels / "s.csv", index=False)
    data = TableData(
        str(labels / "s.csv"), (0, 100), root=folder, image_column="file", mos_column="opinion"
    )
    data.setup()
    assert len(data.annotations) == 10


def test_names_of_digits_stay_text(tmp_path: Path, make_picture: Callable[..., Path]) -> None:
    make_picture(tmp_path / "007.png").rename(tmp_path / "007")
    (tmp_path / "s.csv").write_text("image,mos\n007,5\n")
    data = TableData(str(tmp_path / "s.csv"), (0, 10), split="whole")
    data.setup()
    assert data.annotations["image"].tolist() == ["007"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,score\na.jpg,1\n", r"s\.csv: no column 'mos'; there are image, score"),
        ("", r"s\.csv: not a readable table"),
        ("image,mos\na.jpg,1\nb.jpg,2,3,4\n", r"s\.csv: not a readable table"),
        ("image,mos\n000.jpg,\n", r"s\.csv: row 1 \(000.jpg\): mos is empty"),
        ("image,mos\n000.jpg,101\n", r"s\.csv: row 1 \(000.jpg\): mos 101 is outside"),
        ("image,mos\n000.jpg,1\n000.jpg,2\n", r"s\.csv: row 2 \(000.jpg\): image name repeats"),
        ("image,mos\n", r"s\.csv: .* no rows"),
    ],
)
def test_defects_are_named(folder: Path, content: str, message: str) -> None:
    (folder / "s.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        TableData(str(folder / "s.csv"), (0, 100)).setup()


def test_missing_table_and_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such table"):
        TableData(str(tmp_path / "s.csv"), (0, 1)).setup()
    (tmp_path / "s.doc").write_text("x")
    with pytest.raises(ValueError, match="unknown kind of table"):
        TableData(str(tmp_path / "s.doc"), (0, 1)).setup()


def test_reversed_scale_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lowest score first"):
        TableData(str(tmp_path / "s.csv"), (5, 1))


def test_contents_are_kept_together_unless_told_otherwise(folder: Path) -> None:
    frame(content=[f"scene{i // 2}" for i in range(10)]).to_csv(folder / "s.csv", index=False)
    data = TableData(str(folder / "s.csv"), (0, 100))
    data.setup()
    content = data.annotations["content"].to_numpy()
    assert not set(content[data.rows("train")]) & set(content[data.rows("test")])
    assert data.split.kind == "content"
    by_picture = TableData(str(folder / "s.csv"), (0, 100), split="random")
    by_picture.setup()
    assert by_picture.split.kind == "random"
    frame(content=["one"] * 10).to_csv(folder / "s.csv", index=False)
    alone = TableData(str(folder / "s.csv"), (0, 100))
    alone.setup()
    assert alone.split.kind == "random"


def test_the_scale_is_required_and_has_to_be_plausible(folder: Path) -> None:
    path = folder / "s.csv"
    frame(mos=[1 + 0.4 * i for i in range(10)]).to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"s\.csv: mos_range is missing.*--data.mos_range"):
        TableData(str(path))
    with pytest.raises(ValueError, match=r"mos goes from 1 to 4.6, 4% of the declared scale 0 to"):
        TableData(str(path), (0, 100)).annotations  # noqa: B018
    assert len(TableData(str(path), (1, 5)).annotations) == 10
    frame(mos=[40 + i for i in range(10)]).iloc[:9].to_csv(path, index=False)
    assert len(TableData(str(path), (0, 100)).annotations) == 9  # too few to tell
