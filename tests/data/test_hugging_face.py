"""Local folders of the datasets library, in the three forms that it writes or takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clipiqa_plus.data.hugging_face import HuggingFaceData
from clipiqa_plus.data.images import read_rgb

datasets = pytest.importorskip("datasets")

N = 6


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def files(tmp_path: Path, make_picture: Callable[..., Path]) -> list[Path]:
    return [make_picture(tmp_path / f"pictures/{i}.png", seed=i) for i in range(N)]


def table(files: list[Path]) -> datasets.Dataset:
    rows = {"image": [str(f) for f in files], "mos": [float(i) for i in range(len(files))]}
    return datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())


def check(data: HuggingFaceData, files: list[Path]) -> None:
    data.setup()
    reader = data.reader()
    mos = data.annotations["mos"].tolist()
    assert sorted(mos) == [float(i) for i in range(N)]
    for row, score in enumerate(mos):
        assert np.array_equal(reader(row), read_rgb(files[int(score)]))
    assert len({reader.identity(row) for row in range(N)}) == N


def test_folder_of_save_to_disk_with_its_splits(tmp_path: Path, files: list[Path]) -> None:
    parts = {"train": table(files[:3]), "validation": table(files[3:4]), "test": table(files[4:])}
    for name, start in (("validation", 3), ("test", 4)):
        shifted = [value + start for value in parts[name]["mos"]]
        parts[name] = parts[name].remove_columns("mos").add_column("mos", shifted)
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    data = HuggingFaceData(str(tmp_path / "saved"), (0, 10))
    check(data, files)
    assert [len(data.rows(p)) for p in ("train", "val", "test")] == [3, 1, 2]


def test_parquet_files_with_embedded_pictures(tmp_path: Path, files: list[Path]) -> None:
    (tmp_path / "hub/data").mkdir(parents=True)
    table(files).to_parquet(tmp_path / "hub/data/train-00000-of-00001.parquet")
    data = HuggingFaceData(str(tmp_path / "hub"), (0, 10), fractions=(0.5, 0.0, 0.5))
    check(data, files)
    assert data.split_kind == "random"


def test_pictures_with_metadata(files: list[Path]) -> None:
    folder = files[0].parent
    frame = pd.DataFrame({"file_name": [f.name for f in files], "quality": range(N)})
    frame.to_csv(folder / "metadata.csv", index=False)
    check(HuggingFaceData(str(folder), (0, 10), mos_column="quality"), files)


def test_defects_are_named(tmp_path: Path, files: list[Path]) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        HuggingFaceData(str(tmp_path / "none"), (0, 1)).setup()
    table(files).save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match="no column 'score'; there are image, mos"):
        HuggingFaceData(str(tmp_path / "saved"), (0, 10), mos_column="score").setup()
    with pytest.raises(ValueError, match=r"train/2\): mos 2 is outside the declared scale"):
        HuggingFaceData(str(tmp_path / "saved"), (0, 1.5)).setup()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="not a folder that datasets can read"):
        HuggingFaceData(str(tmp_path / "empty"), (0, 1)).setup()
    strange = datasets.DatasetDict({"train": table(files), "bonus": table(files)})
    strange.save_to_disk(tmp_path / "strange")
    with pytest.raises(ValueError, match="split 'bonus'"):
        HuggingFaceData(str(tmp_path / "strange"), (0, 10)).setup()
