import gzip

import numpy as np
import pytest

from clipiqa_plus.data.benchmarks import FLIVE, FLIVEPatches
from tests.support.benchmark_files import picture, read, real_labels, write_csv

ROWS = (
    "blur_dataset/motion0044.jpg,75.44372347614072",
    "voc_emotic_ava/AVA__1000.jpg,60.5",
    "voc_emotic_ava/VOC2012__2007_000027.jpg,55.5",
    "voc_emotic_ava/JPEGImages__2007_000032.jpg,0.0",
    "voc_emotic_ava/EMOTIC__cwpvmtkuw83q2or3za.JPG,94.3332343725568",
    "EE371R/rq85.jpg,59.924698",
)
NAMES = tuple(row.split(",")[0] for row in ROWS)
TEST = ("voc_emotic_ava/EMOTIC__cwpvmtkuw83q2or3za.JPG",)
PADDED = (f"{NAMES[0]},False", f"{NAMES[1]},True", f"{NAMES[2]},False", f"{NAMES[3]},True")


@pytest.fixture(params=["", "database"])
def root(tmp_path, incomplete, request):
    incomplete(FLIVE, FLIVEPatches)
    home = tmp_path / request.param
    write_csv(home / "labels_image.csv", "name,mos", ROWS)
    write_csv(home / "labels640.csv", "mos_image,name_image", [f"94.3,{TEST[0]}"])
    write_csv(home / "labels=640_padded.csv", "name_image,is_valid", PADDED)
    patches = [f"patches/{name.split('/')[1]}_patch_{k},5{k}.5" for name in NAMES for k in (1, 2)]
    patches = [row.replace(",", ".jpg,") for row in patches]
    write_csv(home / "labels_patch.csv", "name,mos", patches)
    for name in NAMES:
        picture(tmp_path / "database" / name)
    for row in patches:
        picture(tmp_path / "database" / row.split(",")[0], (4, 3))
    return tmp_path


def parts(data):
    data.setup()
    return [list(data.rows(part)) for part in ("train", "val", "test")]


def test_official_split(root):
    assert parts(FLIVE(root)) == [[0, 2], [1, 3], [4]]


def test_trap_ee371r_pictures_belong_nowhere(root):
    assert not any(5 in rows for rows in parts(FLIVE(root)))


def test_trap_prefixed_names_keep_their_sources_apart(root):
    data = FLIVE(root)
    data.setup()
    assert list(data.paths) == [f"database/{name}" for name in NAMES]


def test_trap_upper_case_extension(root):
    folder = root / "database" / "voc_emotic_ava"
    (folder / "EMOTIC__cwpvmtkuw83q2or3za.JPG").rename(folder / "EMOTIC__cwpvmtkuw83q2or3za.jpg")
    data = FLIVE(root)
    data.setup()
    assert data.paths[4].endswith("EMOTIC__cwpvmtkuw83q2or3za.jpg")


def test_trap_training_contains_ava():
    assert FLIVE.overlaps == ("ava",)


def test_trap_outlier_with_score_zero_is_kept(root):
    data = FLIVE(root)
    data.setup()
    assert data.mos_raw[3].item() == 0.0


def test_trap_patches_follow_their_picture(root):
    data = FLIVEPatches(root)
    assert parts(data) == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9]]
    assert data.annotations["content"][8] == "EMOTIC__cwpvmtkuw83q2or3za.JPG"
    content = FLIVEPatches(root, split="content", fractions=(0.5, 0.0, 0.5))
    train, _, test = parts(content)
    assert not {row // 2 for row in train} & {row // 2 for row in test}


def test_without_the_padded_table_only_the_test_part_is_there(root):
    path = next(root.rglob("labels=640_padded.csv"))
    path.unlink()
    data = FLIVE(root)
    with pytest.warns(UserWarning, match="no labels=640_padded.csv .* only the official test part"):
        assert parts(data) == [[], [], [4]]
    with pytest.raises(ValueError, match="has no train part"):
        data.train_dataloader()


def test_no_test_table(root):
    next(root.rglob("labels640.csv")).unlink()
    with pytest.raises(FileNotFoundError, match=r"no labels640\.csv or database/labels640\.csv"):
        read(FLIVE(root))
    assert "split" not in read(FLIVE(root, split="random"))


def test_padded_table_of_another_form(root):
    path = next(root.rglob("labels=640_padded.csv"))
    write_csv(path, "name_image,is_valid", [f"{NAMES[0]},maybe"])
    with pytest.raises(ValueError, match=r"640_padded\.csv: is_valid is not True or False"):
        read(FLIVE(root))


@real_labels(
    "flive/labels_image.csv.gz", "flive/labels640.csv", "arniqa_splits/FLIVE/splits/train.npy"
)
def test_real_label_files_with_parts_rebuilt_from_index_lists(labels, tmp_path):
    with gzip.open(labels / "flive" / "labels_image.csv.gz") as file:
        (tmp_path / "labels_image.csv").write_bytes(file.read())
    (tmp_path / "labels640.csv").write_bytes((labels / "flive" / "labels640.csv").read_bytes())
    with pytest.warns(UserWarning, match="only the official test part"):
        table = read(FLIVE(tmp_path))
    assert len(table) == 39810
    assert (table["mos"].min(), round(table["mos"].max(), 2)) == (0.0, 94.33)
    assert np.sort(table["mos"])[1].round(2) == 9.03
    assert table["image"].str.endswith(".JPG").sum() == 42
    prefixes = table["image"].str.extract(r"/(AVA|VOC2012|JPEGImages|EMOTIC)__")[0].value_counts()
    assert prefixes.to_dict() == {"VOC2012": 9976, "JPEGImages": 9963, "EMOTIC": 9788, "AVA": 9081}
    # The table that tells training from validation could not be had: its content is put
    # together from a third party's index lists.
    lists = labels / "arniqa_splits" / "FLIVE" / "splits"
    indices = {part: np.load(lists / f"{part}.npy").ravel() for part in ("train", "val", "test")}
    rows = [f"{name},False" for name in table["image"].iloc[indices["train"]]]
    rows += [f"{name},True" for name in table["image"].iloc[indices["val"]]]
    write_csv(tmp_path / "labels=640_padded.csv", "name_image,is_valid", rows)
    split = read(FLIVE(tmp_path))["split"]
    assert split.value_counts().to_dict() == {"train": 30253, "val": 7727, "test": 1827, "": 3}
    assert sorted(np.flatnonzero(split == "test")) == sorted(indices["test"])


@real_labels("flive/trimmed/labels_image.csv")
def test_trimmed_label_file_is_refused_as_incomplete(labels):
    with pytest.raises(ValueError, match="the complete label file has 39,810"):
        read(FLIVE(labels / "flive" / "trimmed", split="random"))
