from typing import ClassVar

import pytest
from scipy.io import savemat

from clipiqa_plus.data.benchmarks import LIVEMD, MDID
from tests.support.benchmark_files import cells, picture, read, write_csv


class TestLIVEMD:
    NAMES: ClassVar = {
        "blurjpeg": ["girl_blur1.bmp", "girl_blur3_jpeg2.bmp", "sea_jpeg1.bmp"],
        "blurnoise": ["girl_blur1.bmp", "sea_blur2_noise3.bmp", "sea_noise1.bmp"],
    }
    SCORES: ClassVar = {
        "blurjpeg": [21.5789, 54.0526, 8.5263],
        "blurnoise": [25.0556, 62.6667, 14.4444],
    }

    @pytest.fixture(
        params=[
            ("", "Part 1", "Part 2"),
            ("To_Release", "Part 1", "Part 2"),
            ("LIVEmultidistortiondatabase/To_Release", "Part1", "Part2"),
        ],
        ids=["plain", "archive", "repackaged"],
    )
    def root(self, tmp_path, incomplete, request):
        incomplete(LIVEMD)
        nested, *parts = request.param
        for part, folder in zip(parts, self.NAMES, strict=True):
            home = tmp_path / nested / part
            home.mkdir(parents=True)
            names = cells(self.NAMES[folder], column=True)
            savemat(home / "Imagelists.mat", {"distimgs": names, "refimgs": cells(["girl.bmp"])})
            savemat(home / "Scores.mat", {"DMOSscores": [self.SCORES[folder]]})
            for name in (*self.NAMES[folder], "girl.bmp"):
                picture(home / folder / name)
        return tmp_path

    def test_trap_equal_names_in_both_parts(self, root):
        data = LIVEMD(root, split="whole")
        data.setup()
        table = data.annotations
        expected = [f"{folder}/{name}" for folder, names in self.NAMES.items() for name in names]
        assert list(table["image"]) == expected
        assert table["mos"].tolist() == [s for scores in self.SCORES.values() for s in scores]
        parts = [path.split("/")[-3].replace(" ", "") for path in data.paths]
        assert parts == ["Part1"] * 3 + ["Part2"] * 3
        assert [path.split("/", 1)[1] for path in data.paths] == expected

    def test_reference_and_distortions_from_the_name(self, root):
        table = read(LIVEMD(root))
        assert list(table["content"]) == ["girl", "girl", "sea", "girl", "sea", "sea"]
        kinds = ["blur", "blurjpeg", "jpeg", "blur", "blurnoise", "noise"]
        assert list(table["distortion"]) == kinds

    def test_every_score_is_a_mean_of_whole_differences(self, root):
        table = read(LIVEMD(root))
        assert table["n_ratings"].tolist() == [19] * 3 + [18] * 3
        total = table["mos"] * table["n_ratings"]
        assert (total - total.round()).abs().max() < 19 * 5.1e-5  # four decimals

    def test_lower_is_better(self, root):
        data = LIVEMD(root, split="whole")
        data.setup()
        assert data.mos[0].item() == pytest.approx(1 - 0.215789)

    def test_a_part_with_fewer_scores(self, root):
        data = LIVEMD(root)
        path = data.home / data.label_file().parent / "Scores.mat"
        savemat(path, {"DMOSscores": [[1.0, 2.0]]})
        with pytest.raises(ValueError, match=r"Scores\.mat: 2 scores for the 3 pictures"):
            read(data)

    def test_references_among_the_pictures(self, root):
        data = LIVEMD(root)
        names = cells(["girl.bmp"], column=True)
        savemat(data.label_file(), {"distimgs": names})
        savemat(data.label_file().parent / "Scores.mat", {"DMOSscores": [[1.0]]})
        with pytest.raises(ValueError, match=r"'girl\.bmp' is not a picture name"):
            read(data)


class TestMDID:
    @pytest.fixture
    def root(self, tmp_path, incomplete):
        incomplete(MDID)
        write_csv(tmp_path / "MDID" / "mos.txt", None, [f"{k / 25:.4f}" for k in range(161)])
        for k in range(161):
            name = f"img{k // 80 + 1:02d}_{k % 80 + 1:02d}.bmp"
            picture(tmp_path / "MDID" / "distortion_images" / name)
        return tmp_path

    def test_eighty_pictures_of_each_reference(self, root):
        data = MDID(root, split="whole")
        data.setup()
        table = data.annotations
        assert table["image"][[0, 79, 80, 160]].tolist() == [
            "img01_01.bmp",
            "img01_80.bmp",
            "img02_01.bmp",
            "img03_01.bmp",
        ]
        assert table["content"].value_counts().to_dict() == {"img01": 80, "img02": 80, "img03": 1}
        assert data.mos[80].item() == pytest.approx(80 / 25 / 8)

    def test_trap_1600_lines(self, root, monkeypatch):
        monkeypatch.undo()
        with pytest.raises(ValueError, match="161 rated pictures; the complete label"):
            read(MDID(root))

    @pytest.mark.parametrize("line", ["2.5 0.4", "img01_01.bmp"])
    def test_other_columns(self, root, line):
        write_csv(root / "MDID" / "mos.txt", None, [line] * 3)
        with pytest.raises(ValueError, match=r"mos\.txt: "):
            read(MDID(root))
