import pytest

from clipiqa_plus.data.benchmarks import GFIQA20k
from tests.support.benchmark_files import picture, read, write_csv

ROWS = ("831481558_0.png,0.529923862,0.067906645", "5446868959_0.png,0.004677644,0.02")


@pytest.fixture(params=["", "GFIQA-20k"])
def root(tmp_path, incomplete, request):
    incomplete(GFIQA20k)
    home = tmp_path / request.param
    write_csv(home / "mos_val_rating.csv", "img_name,mos,spread", ROWS)
    for row in ROWS:
        picture(home / "image" / row.split(",")[0])
    return tmp_path


def test_names_and_scores(root):
    data = GFIQA20k(root, split="whole")
    data.setup()
    assert data.annotations.to_dict("list") == {
        "image": ["831481558_0.png", "5446868959_0.png"],
        "mos": [0.529923862, 0.004677644],
    }
    assert data.mos[0].item() == pytest.approx(0.529923862)


def test_trap_19998_faces_not_20000(root, monkeypatch):
    monkeypatch.undo()
    with pytest.raises(ValueError, match="2 rated pictures; the complete label file has 19,998"):
        read(GFIQA20k(root))


def test_list_of_a_third_party(tmp_path):
    write_csv(tmp_path / "GFIQA.txt", "dis_img_path,dis_type,score,variance,ratings", ["a,b,1,1,1"])
    with pytest.raises(FileNotFoundError, match=r"GFIQA\.txt is a third party's list"):
        read(GFIQA20k(tmp_path))


def test_other_columns(root):
    path = GFIQA20k(root).label_file()
    write_csv(path, "filename,score", ["a.png,0.5"])
    with pytest.raises(ValueError, match=r"mos_val_rating\.csv: no column img_name, mos"):
        read(GFIQA20k(root))
