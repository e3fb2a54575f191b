import csv

import numpy as np
import pytest

from clipiqa_plus.data.benchmarks import TID2013
from tests.support.benchmark_files import picture, read, real_labels, write_csv

PARTS = ("train", "val", "test")


class TestTID2013:
    ROWS = (
        "5.51429 I01_01_1.bmp",
        "5.56757 i01_01_2.bmp",
        "5.91667 I02_11_1.BMP",
        "4.10000 i02_11_2.bmp",
        "3.20000 I25_13_1.BMP",
        "2.20000 i25_13_5.bmp",
    )

    @pytest.fixture
    def root(self, tmp_path, incomplete):
        incomplete(TID2013)
        write_csv(tmp_path / "mos_with_names.txt", None, self.ROWS)
        for name in (
            "I01_01_1.bmp",
            "i01_01_2.bmp",
            "I02_11_1.bmp",
            "i02_11_2.bmp",
            "I25_13_1.bmp",
            "i25_13_5.bmp",
        ):
            picture(tmp_path / "distorted_images" / name)
        for name in ("I01.BMP", "I02.BMP", "i25.bmp"):
            picture(tmp_path / "reference_images" / name)
        return tmp_path

    def test_names_scores_and_parts_of_names(self, root):
        table = read(TID2013(root))
        assert table["mos"].tolist() == [5.51429, 5.56757, 5.91667, 4.1, 3.2, 2.2]
        assert list(table["distortion"]) == ["01", "01", "11", "11", "13", "13"]
        assert list(table["level"]) == [1, 2, 1, 2, 1, 5]

    def test_trap_upper_case_extension_in_the_label_file_only(self, root):
        data = TID2013(root)
        data.setup()
        assert data.annotations["image"][2] == "I02_11_1.BMP"
        assert data.paths[2] == "distorted_images/I02_11_1.bmp"
        assert data.reader()(2).shape == (6, 8, 3)

    def test_trap_references_in_mixed_case_are_not_rated(self, root):
        data = TID2013(root)
        data.setup()
        assert not [path for path in data.paths if path.startswith("reference_images")]

    @pytest.mark.parametrize("kind", ["content", "kfold_content"])
    def test_trap_one_reference_under_two_cases_does_not_leak(self, root, kind):
        table = read(TID2013(root))
        assert list(table["content"]) == ["I01", "I01", "I02", "I02", "I25", "I25"]
        for repeat in range(3):
            data = TID2013(root, split=kind, folds=3, repeat=repeat, fractions=(0.67, 0.0, 0.33))
            data.setup()
            parts = [{int(row) // 2 for row in data.rows(part)} for part in PARTS]
            assert not parts[0] & parts[2]
            assert set.union(*parts) == {0, 1, 2}

    def test_trap_repackaged_with_lower_case_names(self, root):
        folder = root / "distorted_images"
        for path in list(folder.iterdir()):
            path.rename(folder / path.name.lower())
        data = TID2013(root)
        data.setup()
        assert not data.left_out
        assert data.annotations["image"][0] == "I01_01_1.bmp"

    def test_trap_third_party_list_with_lower_case_names(self, root):
        (root / "mos_with_names.txt").rename(root / "TID2013.txt")
        with pytest.raises(FileNotFoundError, match=r"TID2013\.txt is a third party's list"):
            read(TID2013(root))

    @pytest.mark.parametrize(
        "line", ["TID2013/I01_01_1.bmp 5.51429", "5.51429", "5.5 I01_01_1.bmp extra"]
    )
    def test_copy_with_other_columns(self, root, line):
        write_csv(root / "mos_with_names.txt", None, [line] * 2)
        with pytest.raises(ValueError, match=r"mos_with_names\.txt: "):
            read(TID2013(root))

    @real_labels("tid2013/rebuilt/mos_with_names.txt", "tid2013/TID2013.MOS.csv")
    def test_rebuilt_label_file(self, labels):
        table = read(TID2013(labels / "tid2013" / "rebuilt"))
        assert len(table) == 3000
        assert table["content"].nunique() == 25
        assert (table["mos"].min(), table["mos"].max()) == (0.24242, 7.21429)
        assert table["image"].str.startswith("I").sum() == 75
        assert table["image"].str.endswith(".BMP").sum() == 50
        assert table.groupby("content").size().unique().tolist() == [120]
        with (labels / "tid2013" / "TID2013.MOS.csv").open() as file:
            listed = {row["dist_img"].lower(): float(row["mos"]) for row in csv.DictReader(file)}
        assert dict(zip(table["image"].str.lower(), table["mos"], strict=True)) == listed

    @real_labels("tid2013/rebuilt/mos_with_names.txt")
    def test_rebuilt_label_file_splits_by_reference(self, labels):
        from clipiqa_plus.data.splits import make_split

        table = read(TID2013(labels / "tid2013" / "rebuilt"))
        folded = table["image"].str[:3].str.lower().to_numpy()
        for repeat in range(10):
            split = make_split(table, "content", seed=0, repeat=repeat)
            assert (len(split.train), len(split.test)) == (2400, 600)
            assert not set(folded[split.train]) & set(folded[split.test])

    def ratings(self):
        """Ratings 0 to 9 of three references with 36, 41 and 31 raters."""
        rng = np.random.default_rng(7)
        raters = [36, 36, 41, 41, 31, 31]
        return [np.clip(rng.normal(5, 1.2, n).round(), 0, 9) for n in raters]

    def with_errors(self, root, ratings):
        """Scores and standard errors of ratings, written with five decimals as distributed."""
        names = [row.split()[1] for row in self.ROWS]
        means = [f"{r.mean():.5f}" for r in ratings]
        rows = [f"{mean} {name}" for mean, name in zip(means, names, strict=True)]
        write_csv(root / "mos_with_names.txt", None, rows)
        errors = [f"{r.std() / len(r) ** 0.5:.5f}" for r in ratings]
        return write_csv(root / "mos_std.txt", None, errors)

    def test_trap_mos_std_holds_standard_errors(self, root):
        ratings = self.ratings()
        self.with_errors(root, ratings)
        table = read(TID2013(root))
        assert table["n_ratings"].tolist() == [len(r) for r in ratings]
        # Five decimals of the standard error, times about sqrt(n).
        expected = [r.std(ddof=1) for r in ratings]
        np.testing.assert_allclose(table["mos_std"], expected, rtol=0, atol=5e-5)

    def test_several_numbers_that_fit_are_decided_by_the_reference(self, root):
        ratings = self.ratings()
        ratings[1] = np.full(36, 6.0)  # all agree: any number of raters fits
        self.with_errors(root, ratings)
        table = read(TID2013(root))
        assert table["n_ratings"][1] == 36
        assert table["mos_std"][1] == 0

    def test_deviations_instead_of_standard_errors(self, root):
        path = self.with_errors(root, self.ratings())
        write_csv(path, None, [f"{r.std():.5f}" for r in self.ratings()])
        with pytest.raises(ValueError, match=r"mos_std\.txt: row \d: .* is not the standard error"):
            read(TID2013(root))

    @pytest.mark.parametrize("lines", [["0.1"] * 5, ["a"] * 6])
    def test_another_edition_of_the_standard_errors(self, root, lines):
        write_csv(root / "mos_std.txt", None, lines)
        with pytest.raises(ValueError, match=r"mos_std\.txt: \d lines for the 6 scores"):
            read(TID2013(root))

    @real_labels("tid2013/rebuilt/mos_std.txt")
    def test_real_standard_errors_fit_whole_ratings_in_every_row(self, labels):
        table = read(TID2013(labels / "tid2013" / "rebuilt"))
        numbers = table["n_ratings"]
        assert (numbers.min(), numbers.max()) == (30, 45)
        by_reference = numbers.groupby(table["content"])
        assert (by_reference.max() - by_reference.min()).max() <= 4
        total = table["mos"] * numbers
        assert (total - total.round()).abs().max() < 5.1e-6 * 45
        assert table["mos_std"].between(0, 2).all()
