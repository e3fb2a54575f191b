import numpy as np
import pytest

from clipiqa_plus.data.benchmarks import KonIQ10k, KonIQPlusPlus
from tests.support.benchmark_files import picture, read, real_labels, write_csv

HEADER = "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,set"
ROWS = [
    "10004473376.jpg,0.0,0.0,0.238095238095,0.695238095238,0.0666666666667,105,77.3836206897,0.527277894494,training",
    "10007357496.jpg,0.0,0.03125,0.46875,0.489583333333,0.0104166666667,96,68.7285714286,0.580003024795,test",
    "10007903636.jpg,0.0104166666667,0.0,0.208333333333,0.760416666667,0.0208333333333,96,78.6285714286,0.527219618675,training",
    "10009096245.jpg,0.0,0.1,0.5,0.3,0.1,100,66.2,0.804030252207,validation",
]


@pytest.fixture
def small(monkeypatch):
    """Lets four rows pass for the whole data set."""
    for kind in (KonIQ10k, KonIQPlusPlus):
        monkeypatch.setattr(kind, "count", 4)
        monkeypatch.setattr(kind, "official_sizes", (2, 1, 1))


@pytest.fixture
def root(tmp_path, small):
    write_csv(tmp_path / "koniq10k_distributions_sets.csv", HEADER, ROWS)
    for row in ROWS:
        picture(tmp_path / "1024x768" / row.split(",")[0], (16, 12))
    return tmp_path


def test_names_scores_and_official_split(root):
    data = KonIQ10k(root, num_workers=0, batch_size=2)
    data.setup()
    table = data.annotations
    assert list(table["image"]) == [row.split(",")[0] for row in ROWS]
    # Exactly the decimal of the file, not a neighbour of it.
    assert table["mos"].tolist() == [77.3836206897, 68.7285714286, 78.6285714286, 66.2]
    assert [list(data.rows(part)) for part in ("train", "val", "test")] == [[0, 2], [3], [1]]
    batch = next(iter(data.test_dataloader()))
    assert tuple(batch["image"].shape) == (1, 3, 12, 16)
    assert batch["mos"].item() == pytest.approx(0.687285714286, abs=1e-7)  # MOS / 100, float32
    assert batch["mos_raw"].item() == 68.7285714286


def test_both_resolutions_are_read_and_none_stands_in_for_the_other(root):
    with pytest.raises(FileNotFoundError, match=r"searched below .* in 512x384 \(no such folder\)"):
        KonIQ10k(root, resolution="512x384").setup()
    for row in ROWS:
        picture(root / "512x384" / row.split(",")[0], (8, 6))
    data = KonIQ10k(root, resolution="512x384")
    data.setup()
    assert data.reader()(0).shape == (6, 8, 3)


def test_same_split_at_both_resolutions(root):
    for row in ROWS:
        picture(root / "512x384" / row.split(",")[0], (8, 6))
    digests = set()
    for resolution in ("1024x768", "512x384"):
        data = KonIQ10k(root, resolution=resolution, split="random", fractions=(0.5, 0, 0.5))
        data.setup()
        digests.add(data.split.digest)
    assert len(digests) == 1


@pytest.mark.parametrize("nest", ["koniq10k", "KonIQ-10k"])
def test_root_may_be_the_folder_above(root, nest):
    above = root / "above"
    (above / nest).mkdir(parents=True)
    for name in ("1024x768", "koniq10k_distributions_sets.csv"):
        (root / name).rename(above / nest / name)
    data = KonIQ10k(above)
    data.setup()
    assert data.home.name == nest


def test_trap_mos_means_two_things_the_websites_table_is_refused(tmp_path, small):
    header = "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,MOS_zscore"
    row = "10004473376.jpg,0,0,25,73,7,105,3.82857142857143,0.527278278,79.91"
    write_csv(tmp_path / "koniq10k_scores_and_distributions.csv", header, [row])
    with pytest.raises(FileNotFoundError, match="website's table: it has no official split"):
        read(KonIQ10k(tmp_path))
    # The same table under the split file's name.
    write_csv(tmp_path / "koniq10k_distributions_sets.csv", header, [row])
    with pytest.raises(ValueError, match=r"sets\.csv: no column set; it has image_name, c1"):
        read(KonIQ10k(tmp_path))
    # A split file whose MOS somebody replaced by the 1-5 one: found by its range.
    rows = [r.replace(r.split(",")[7], "3.8") for r in ROWS]
    write_csv(tmp_path / "koniq10k_distributions_sets.csv", HEADER, rows)
    with pytest.raises(ValueError, match=r"MOS reaches only 3\.8: these are the 1-5 scores"):
        read(KonIQ10k(tmp_path))


def test_trap_rating_counts_or_fractions_do_not_matter(root):
    counted = [r.replace("0.238095238095,0.695238095238,0.0666666666667", "25,73,7") for r in ROWS]
    write_csv(root / "koniq10k_distributions_sets.csv", HEADER, counted)
    assert KonIQ10k(root).annotations["mos"][0] == 77.3836206897


def test_counts_and_deviations_come_with_the_scores(root):
    data = KonIQ10k(root)
    data.setup()
    assert data.ratings["counts"].tolist() == [
        [0, 0, 25, 73, 7],
        [0, 3, 45, 47, 1],
        [1, 0, 20, 73, 2],
        [0, 10, 50, 30, 10],
    ]
    assert data.ratings["n_ratings"].tolist() == [105, 96, 96, 100]
    # From the file's scale of 1 to 5 to the MOS's of 0 to 100, and to 0 to 1.
    assert data.annotations["mos_std"][0] == 25 * 0.527277894494
    assert data.ratings["mos_std"][0].item() == pytest.approx(0.527277894494 / 4)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.527277894494", "0.53", r"row 1 \(10004473376\.jpg\): the counts have the standard dev"),
        ("0.527277894494", "-0.53", r"row 1 \(10004473376\.jpg\): mos_std -13.25 is negative"),
        ("0.695238095238", "0.69", r"sets\.csv: row 1 .*c1 to c5 times c_total are no whole numb"),
        ("0.695238095238,", ",", r"row 1 \(10004473376\.jpg\): count_4 is empty"),
        (",105,", ",104.5,", r"row 1 \(10004473376\.jpg\)"),
    ],
)
def test_ratings_that_do_not_fit(root, old, new, message):
    write_csv(
        root / "koniq10k_distributions_sets.csv", HEADER, [ROWS[0].replace(old, new), *ROWS[1:]]
    )
    with pytest.raises(ValueError, match=message):
        read(KonIQ10k(root))


def test_trap_csv_is_a_saved_web_page(tmp_path):
    page = "<!DOCTYPE html>\n<html><body>koniq10k_distributions_sets.csv</body></html>"
    (tmp_path / "koniq10k_distributions_sets.csv").write_text(page)
    with pytest.raises(ValueError, match=r"sets\.csv: this is a saved web page"):
        read(KonIQ10k(tmp_path))


def test_trap_repackaged_list_with_rows_missing(root):
    write_csv(root / "koniq10k_distributions_sets.csv", HEADER, ROWS[:3])
    with pytest.raises(ValueError, match="3 rated pictures; the complete label file has 4"):
        read(KonIQ10k(root))


def test_trap_mixed_sets_are_not_the_official_split(root):
    mixed = [ROWS[0].replace("training", "test"), *ROWS[1:]]
    write_csv(root / "koniq10k_distributions_sets.csv", HEADER, mixed)
    with pytest.raises(ValueError, match=r"sizes \(1, 1, 2\); the official sizes are \(2, 1, 1\)"):
        read(KonIQ10k(root))


def test_trap_broken_line_is_an_error_in_current_pandas(root):
    write_csv(root / "koniq10k_distributions_sets.csv", HEADER, [ROWS[0], ROWS[1] + ",x,y"])
    with pytest.raises(ValueError, match=r"sets\.csv: not a readable table .*line 3"):
        read(KonIQ10k(root))


def test_half_unpacked_archive(root):
    (root / "1024x768" / "10007357496.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 4 pictures .*10007357496\.jpg.*3 files"):
        KonIQ10k(root).setup()


def test_missing_pictures_are_left_out_only_when_asked_and_listed(root):
    (root / "1024x768" / "10004473376.jpg").unlink()
    data = KonIQ10k(root, max_missing=1)
    with pytest.warns(UserWarning, match=r"1 of 4 pictures are missing .* excluded"):
        data.setup()
    assert data.left_out == ["10004473376.jpg"]
    skipped = {part: list(data.skipped(part)) for part in ("train", "val", "test")}
    assert [name for names in skipped.values() for name in names] == ["10004473376.jpg"]
    assert all(len(data.rows(p)) + len(skipped[p]) == len(getattr(data.split, p)) for p in skipped)
    assert list(data.rows("train")) == [2]
    # The split itself is that of the complete label file.
    assert list(data.split.train) == [0, 2]


def test_score_outside_the_scale(root):
    write_csv(
        root / "koniq10k_distributions_sets.csv", HEADER, [r.replace("66.2", "166") for r in ROWS]
    )
    with pytest.raises(ValueError, match=r"sets\.csv\): row 4 \(10009096245\.jpg\): mos 166 is"):
        read(KonIQ10k(root))


def test_no_root(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*none.* Get koniq10k_1024x768"):
        KonIQ10k(tmp_path / "none").setup()


@real_labels("koniq10k/koniq10k_distributions_sets.csv")
def test_real_label_file(labels):
    table = KonIQ10k(labels / "koniq10k").annotations
    assert len(table) == 10_073
    assert table["image"].is_unique
    assert (round(table["mos"].min(), 2), round(table["mos"].max(), 2)) == (3.91, 88.39)
    assert table["split"].value_counts().to_dict() == {"train": 7058, "val": 1000, "test": 2015}
    # That reading raises no error is the test that counts and deviations agree. z-scores have a
    # scale of their own: a grade is 27.8 points of MOS, not 25 as between the ends of both scales.
    counts = table[[f"count_{grade}" for grade in range(1, 6)]].to_numpy()
    grade = counts @ np.arange(1, 6) / counts.sum(axis=1)
    assert np.polyfit(grade, table["mos"], 1)[0] == pytest.approx(27.8, abs=0.05)


class TestKonIQPlusPlus:
    HEADER = "filename,artifacts,blur,contrast,colors"

    def rows(self):
        return [f"{row.split(',')[0]},0.1,0.2,0.3,0.{i}" for i, row in enumerate(ROWS)][::-1]

    def test_defects_are_joined_by_file_name(self, root):
        write_csv(root / "koniq++database.csv", self.HEADER, self.rows())
        data = KonIQPlusPlus(root)
        data.setup()
        assert data.annotations["colors"].tolist() == [0.0, 0.1, 0.2, 0.3]
        assert data.annotations["mos"].tolist() == KonIQ10k(root).annotations["mos"].tolist()
        assert list(data.rows("train")) == [0, 2]

    def test_trap_old_file_is_koniq10ks_split_file(self, root):
        write_csv(root / "koniq++database.csv", HEADER, ROWS)
        with pytest.raises(ValueError, match="no column filename, artifacts, blur"):
            read(KonIQPlusPlus(root))

    def test_trap_key_is_filename(self, root):
        write_csv(
            root / "koniq++database.csv", self.HEADER.replace("filename", "image_name"), self.rows()
        )
        with pytest.raises(ValueError, match="no column filename"):
            read(KonIQPlusPlus(root))

    def test_trap_release_with_other_pictures(self, root):
        write_csv(root / "koniq++database.csv", self.HEADER, self.rows()[:3])
        with pytest.raises(ValueError, match=r"1 pictures are either only in .*10004473376\.jpg"):
            read(KonIQPlusPlus(root))
