import re

import pytest

from clipiqa_plus.data.benchmarks import BIQ2021
from tests.support.benchmark_files import picture, read, real_labels, write_csv
from tests.support.small_biq2021 import TEST, TRAIN


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(BIQ2021, "count", 22)
    monkeypatch.setattr(BIQ2021, "official_sizes", (18, 2, 2))
    write_csv(tmp_path / "Train (Images and MOS).csv", "Image Name,MOS,,", TRAIN)
    write_csv(tmp_path / "Test (Images and MOS).csv", "Image Name,MOS", TEST)
    for row in [*TRAIN, *TEST]:
        name = row.split(",")[0].replace("ss02 (1014).jpg", "ss02 (1014).JPG")
        picture(tmp_path / "Images" / name)
    return tmp_path


def test_scores_and_official_parts(root):
    data = BIQ2021(root)
    data.setup()
    table = data.annotations
    assert list(table["image"]) == [row.split(",")[0] for row in [*TRAIN, *TEST]]
    assert table["mos"].tolist() == [float(row.split(",")[1]) for row in [*TRAIN, *TEST]]
    assert list(data.rows("test")) == [20, 21]
    assert sorted([*data.rows("train"), *data.rows("val")]) == list(range(20))
    assert [len(data.rows(part)) for part in ("train", "val")] == [18, 2]


def test_validation_pictures_do_not_depend_on_the_order_of_rows(root):
    first = read(BIQ2021(root)).set_index("image")["split"]
    write_csv(root / "Train (Images and MOS).csv", "Image Name,MOS,,", TRAIN[::-1])
    assert read(BIQ2021(root)).set_index("image")["split"].sort_index().equals(first.sort_index())


def test_trap_one_file_name_differs_by_case(root):
    data = BIQ2021(root)
    data.setup()
    assert data.paths[20] == "Images/ss02 (1014).JPG"
    assert data.reader()(20).shape == (6, 8, 3)


def test_both_label_files_are_needed(root):
    (root / "Test (Images and MOS).csv").unlink()
    with pytest.raises(FileNotFoundError, match=re.escape("no Test (Images and MOS).csv")):
        read(BIQ2021(root))


def test_a_repeated_row_is_an_error(root):
    write_csv(root / "Train (Images and MOS).csv", "Image Name,MOS,,", [*TRAIN[:-1], TRAIN[0]])
    with pytest.raises(ValueError, match="image name repeats an earlier row"):
        read(BIQ2021(root))


@real_labels("biq2021/Train (Images and MOS).csv")
def test_real_labels(labels):
    table = read(BIQ2021(labels / "biq2021"))
    assert table["split"].value_counts().to_dict() == {"train": 9000, "val": 1000, "test": 2000}
