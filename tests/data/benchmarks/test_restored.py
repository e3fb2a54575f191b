import pytest

from clipiqa_plus.data.benchmarks import SRIQABench
from tests.support.benchmark_files import picture, read, write_csv


@pytest.fixture(params=[",", " "], ids=["commas", "blanks"])
def root(tmp_path, incomplete, request):
    incomplete(SRIQABench)
    home = tmp_path / "SRIQA-Bench"
    scores = {
        "online50": {"SeeSRx4": 100.00000000000001, "Original": 81.67, "SinSRx4": 0.0},
        "realworld_3": {"Original": 100.0, "SinSRx4": 12.5, "SeeSRx4": 0.0},
    }
    for content, by_method in scores.items():
        rows = [f"{content}_{m}.png{request.param}{s!r}" for m, s in by_method.items()]
        write_csv(home / "MOS" / f"{content}.txt", None, rows)
        for method in by_method:
            folder = home / "images" / method.removesuffix("x4")
            picture(folder / f"{content}_{method}.png")
    picture(home / "LRImages" / "online50_Original.png", (4, 4))
    return tmp_path


def test_one_label_file_for_each_content(root):
    data = SRIQABench(root)
    data.setup()
    table = data.annotations
    assert list(table["content"]) == ["online50"] * 3 + ["realworld_3"] * 3
    assert table["mos"].tolist() == [100, 81.67, 0, 100, 12.5, 0]
    assert list(data.rows("test")) == list(range(6))


def test_scores_are_compared_within_a_content(root):
    data = SRIQABench(root)
    data.setup()
    assert SRIQABench.within_content
    assert data.ratings["group"].tolist() == [0, 0, 0, 1, 1, 1]


def test_trap_small_pictures_with_the_names_of_the_originals(root):
    data = SRIQABench(root)
    data.setup()
    assert data.paths[1] == "images/Original/online50_Original.png"
    assert data.reader()(1).shape == (6, 8, 3)


def test_trap_scores_turned_upside_down_for_training(tmp_path):
    write_csv(tmp_path / "normalize_SRIQA_mos.txt", None, ["a_Original.png,a_Original.png,0"])
    with pytest.raises(FileNotFoundError, match="upside down"):
        read(SRIQABench(tmp_path))


def test_pictures_of_another_content(root):
    path = root / "SRIQA-Bench" / "MOS" / "online50.txt"
    path.write_text(path.read_text() + "online7_SeeSRx4.png,3\n")
    with pytest.raises(ValueError, match=r"online50\.txt: online7_SeeSRx4\.png is not a picture"):
        read(SRIQABench(root))


def test_three_columns_of_another_list(root):
    path = root / "SRIQA-Bench" / "MOS" / "online50.txt"
    write_csv(path, None, ["online50_Original.png online50_SeeSRx4.png 100.0"] * 2)
    with pytest.raises(ValueError, match=r"online50\.txt: not a readable table"):
        read(SRIQABench(root))


def test_trap_1100_pictures(root, monkeypatch):
    monkeypatch.undo()
    with pytest.raises(ValueError, match="6 rated pictures; the complete label file has 1,100"):
        read(SRIQABench(root))
