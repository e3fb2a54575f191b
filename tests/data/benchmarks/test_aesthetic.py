from typing import ClassVar

import numpy as np
import pytest

from clipiqa_plus.data.benchmarks import AVA, PARA
from clipiqa_plus.data.splits import make_split
from tests.support.benchmark_files import picture, read, real_labels, write_csv

# The first five lines of the distributed file.
ROWS = (
    "1 953619 0 1 5 17 38 36 15 6 5 1 1 22 1396",
    "2 953958 10 7 15 26 26 21 10 8 1 2 1 21 1396",
    "3 954184 0 0 4 8 41 56 10 3 4 0 0 0 1396",
    "4 954113 0 1 4 6 48 37 23 5 2 2 15 21 1396",
    "5 953980 0 3 6 15 57 39 6 1 1 1 22 38 1396",
)
IDS = tuple(row.split()[1] for row in ROWS)


@pytest.fixture
def root(tmp_path, incomplete):
    incomplete(AVA)
    write_csv(tmp_path / "AVA.txt", None, ROWS)
    lists = tmp_path / "aesthetics_image_lists"
    write_csv(lists / "generic_test.jpgl", None, ["629797", IDS[1], IDS[4]])
    write_csv(lists / "animal_test.jpgl", None, [IDS[1]])
    for name in IDS:
        picture(tmp_path / "images" / f"{name}.jpg")
    return tmp_path


def test_score_is_the_mean_of_ten_counts(root):
    table = read(AVA(root))
    # By hand for the first line: sum of k * count over sum of counts.
    first = 0 * 1 + 1 * 2 + 5 * 3 + 17 * 4 + 38 * 5 + 36 * 6 + 15 * 7 + 6 * 8 + 5 * 9 + 1 * 10
    assert table["mos"][0] == first / 124
    assert table["n_ratings"][0] == 124
    counts = [int(n) for n in ROWS[0].split()[2:12]]
    ratings = [grade for grade, n in enumerate(counts, start=1) for _ in range(n)]
    assert table["mos_std"][0] == pytest.approx(np.std(ratings, ddof=1), rel=1e-12)
    data = AVA(root)
    data.setup()
    assert data.ratings["counts"][0].tolist() == counts
    assert data.ratings["mos_std"][0, 0].item() == pytest.approx(np.std(ratings, ddof=1) / 9)
    assert table["challenge"].tolist() == [1396] * 5


def test_official_split(root):
    data = AVA(root)
    data.setup()
    assert [list(data.rows(part)) for part in ("train", "val", "test")] == [[0, 2, 3], [], [1, 4]]


def test_trap_missing_pictures_are_left_out_and_reported(root):
    (root / "images" / f"{IDS[1]}.jpg").unlink()
    data = AVA(root)
    with pytest.warns(
        UserWarning, match=r"1 of 5 pictures are missing \(953958\.jpg\) and excluded"
    ):
        data.setup()
    assert data.left_out == ["953958.jpg"]
    assert list(data.rows("test")) == [4]


def test_trap_half_unpacked_archive_is_no_few_missing_pictures(root, monkeypatch):
    monkeypatch.setattr(AVA, "missing_allowed", 1)
    for name in IDS[:2]:
        (root / "images" / f"{name}.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="2 of 5 pictures are missing"):
        AVA(root).setup()


def test_trap_join_on_the_id_not_on_the_index(root):
    write_csv(root / "AVA.txt", None, [f"9{row}" for row in ROWS])
    assert list(read(AVA(root))["image"]) == [f"{name}.jpg" for name in IDS]


def test_trap_category_lists_are_subsets_of_the_generic_one(root):
    (root / "aesthetics_image_lists" / "generic_test.jpgl").unlink()
    with pytest.raises(FileNotFoundError, match=r"no aesthetics_image_lists/generic_test\.jpgl"):
        read(AVA(root))
    assert "split" not in read(AVA(root, split="random"))


def test_trap_scale_is_one_to_ten_not_a_hundred(root):
    data = AVA(root)
    data.setup()
    assert data.mos[0].item() == pytest.approx((data.mos_raw[0].item() - 1) / 9)


def test_trap_table_with_named_counts(root):
    header = "image_id,score2,score3,score4,score5,score6,score7,score8,score9,score10,score11"
    write_csv(root / "AVA.txt", header, ["773931,0,5,27,45,82,44,12,5,1,2"])
    with pytest.raises(ValueError, match=r"AVA\.txt: row 1: index is .*whole number"):
        read(AVA(root))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("6 1 0 0 0 0 0 0 0 0 0 0 1 22 1396", r"row 6: rating counts \[0, 0.* give no mean"),
        ("6 1 0 0 -1 2 0 0 0 0 0 0 1 22 1396", r"row 6: rating counts .* give no mean"),
        ("6 1 0 0 0.5 2 0 0 0 0 0 0 1 22 1396", r"row 6: count_3 is .*0\.5"),
        ("6 1 0 0 1 2", r"row 6: count_5 is 'nan'"),
        ("6 1 0 0 0 0 0 0 0 1 0 0 1 22 1396 7", r"AVA\.txt: not a readable table"),
    ],
)
def test_broken_lines(root, row, message):
    write_csv(root / "AVA.txt", None, [*ROWS, row])
    with pytest.raises(ValueError, match=message):
        read(AVA(root))


@pytest.mark.slow
def test_255530_rows_parse_and_split_by_whole_arrays(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    rows = np.empty((255_530, 15), dtype=np.int64)
    rows[:, 0] = np.arange(1, 255_531)
    rows[:, 1] = 100 + 3 * rng.permutation(255_530)
    rows[:, 2:12] = rng.integers(0, 60, (255_530, 10)) + 1
    rows[:, 12:] = rng.integers(0, 1400, (255_530, 3))
    write_csv(tmp_path / "AVA.txt", None, (" ".join(map(str, row)) for row in rows.tolist()))
    lists = tmp_path / "aesthetics_image_lists"
    write_csv(lists / "generic_test.jpgl", None, map(str, rows[:19_930, 1]))
    table = read(AVA(tmp_path))
    official = make_split(table, "official")
    assert (len(official.train), len(official.test)) == (235_600, 19_930)
    random = make_split(table, "random", fractions=(0.9, 0.05, 0.05))
    assert (len(random.train), len(random.val), len(random.test)) == (229_977, 12_776, 12_777)
    expected = (rows[:, 2:12] * np.arange(1, 11)).sum(1) / rows[:, 2:12].sum(1)
    np.testing.assert_allclose(table["mos"], expected, rtol=1e-15)  # one rounding of a quotient


@real_labels("ava/AVA.txt", "ava/aesthetics_image_lists/generic_test.jpgl")
def test_five_real_lines_and_the_real_test_list(labels, incomplete):
    incomplete(AVA)
    table = read(AVA(labels / "ava"))
    assert list(table["image"]) == [f"{name}.jpg" for name in IDS]
    assert set(table["split"]) <= {"train", "test"}


@real_labels("ava/relic_test.csv")
def test_real_counts_of_a_third_partys_table(labels, tmp_path, incomplete):
    incomplete(AVA)
    lines = (labels / "ava" / "relic_test.csv").read_text().splitlines()[1:]
    rows = []
    for i, line in enumerate(lines):
        name, *fields = line.split(",")
        rows.append(f"{i + 1} {name} {' '.join(fields)}")
    write_csv(tmp_path / "AVA.txt", None, rows)
    table = read(AVA(tmp_path, split="random"))
    assert len(table) == 12_768
    assert table["mos"].between(2.07, 8.41).all()


class TestPARA:
    """Rows as in the public README: nine counts of half grades, means and deviations."""

    ATTRIBUTES = ("composition", "color", "dof", "light", "content")
    RATINGS: ClassVar = {
        "iaa_pub1_.jpg": [3, 3.5, 3.5, 4, 2.5],
        "iaa_pub2_.jpg": [1, 1.5, 1, 2, 1, 1.5],
        "iaa_pub71_.jpg": [5, 4.5, 4, 4.5, 5],
    }
    QUALITY: ClassVar = {"iaa_pub1_.jpg": 3.8, "iaa_pub2_.jpg": 1.4, "iaa_pub71_.jpg": 4.55}

    def row(self, name, session):
        ratings = np.array(self.RATINGS[name])
        counts = [int((ratings == 1 + k / 2).sum()) for k in range(9)]
        means = [f"{ratings.mean():.6f}", f"{ratings.std(ddof=1):.6f}"]
        quality = [self.QUALITY[name], 0.31]
        others = [v for k, _ in enumerate(self.ATTRIBUTES) for v in (3 + k / 10, 0.4)]
        return ",".join(map(str, [name, session, "portrait", *counts, *means, *quality, *others]))

    @pytest.fixture(params=["", "PARA"])
    def root(self, tmp_path, incomplete, request):
        incomplete(PARA)
        home = tmp_path / request.param
        grades = [f"aestheticScore_{1 + k / 2:.1f}" for k in range(9)]
        scores = ("aesthetic", "quality", *self.ATTRIBUTES)
        columns = [f"{a}Score_{what}" for a in scores for what in ("mean", "std")]
        header = ",".join(["imageName", "sessionId", "semantic", *grades, *columns])
        places = {
            "Train": [("iaa_pub1_.jpg", "session1"), ("iaa_pub2_.jpg", "session1")],
            "Test": [("iaa_pub71_.jpg", "session2")],
        }
        for part, pictures in places.items():
            path = home / "annotation" / f"PARA-Giaa{part}.csv"
            write_csv(path, header, [self.row(*p) for p in pictures])
            for name, session in pictures:
                picture(home / "imgs" / session / name)
        return tmp_path

    def test_quality_is_the_score_and_the_lists_are_the_split(self, root):
        data = PARA(root, targets=["mos", "aesthetic", "interest"])
        data.setup()
        assert list(data.annotations["image"]) == [
            "session1/iaa_pub1_.jpg",
            "session1/iaa_pub2_.jpg",
            "session2/iaa_pub71_.jpg",
        ]
        assert data.mos_raw[0].tolist() == [3.8, 3.3, 3.4]
        assert data.ratings["mos_std"][0].tolist() == pytest.approx(
            [0.31 / 4, np.std(self.RATINGS["iaa_pub1_.jpg"], ddof=1) / 4, 0.1], abs=1e-6
        )
        assert data.ratings["n_ratings"].tolist() == [5, 6, 5]
        assert "counts" not in data.ratings  # they are of beauty
        assert [list(data.rows(part)) for part in ("train", "test")] == [[0, 1], [2]]

    def test_beauty_with_its_counts(self, root):
        data = PARA(root, score="aesthetic")
        data.setup()
        expected = [np.mean(ratings) for ratings in self.RATINGS.values()]
        assert data.mos_raw[:, 0].tolist() == pytest.approx(expected, abs=1e-6)
        assert data.ratings["counts"][1].tolist() == [3, 2, 1, 0, 0, 0, 0, 0, 0]

    def test_counts_that_do_not_fit_the_mean(self, root):
        path = PARA(root).label_file()
        path.write_text(path.read_text().replace("portrait,0,0", "portrait,4,0"))
        with pytest.raises(ValueError, match=r"row 1 \(session1/iaa_pub1_\.jpg\): the counts have"):
            read(PARA(root, score="aesthetic"))

    def test_file_without_the_counts(self, root):
        path = PARA(root).label_file()
        path.write_text(path.read_text().replace("aestheticScore_1.5", "other"))
        with pytest.raises(ValueError, match=r"no column aestheticScore_1\.5; it has imageName"):
            read(PARA(root))
