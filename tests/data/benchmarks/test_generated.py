import numpy as np
import pytest
from scipy.io import savemat

from clipiqa_plus.data.benchmarks import AGIQA1K, AGIQA3K, AIGCIQA2023, AIGIQA20K, CGIQA6K
from tests.support.benchmark_files import picture, read, real_labels, write_csv, write_sheets


class TestAGIQA3K:
    HEADER = "name,prompt,adj1,adj2,style,mos_quality,std_quality,mos_align,std_align"
    ROWS = (
        "AttnGAN_normal_000.jpg,statue of a man,,,,0.965602553,0.223270101,0.40889324,0.615607722",
        'sd1.5_lowcorr_001.jpg,"a tray of sushi, blurry, 4k",blurry,4k,,1.36,0.6,0.42,0.66',
        "xl2.2_normal_000.jpg,statue of a man,,,anime,4.488740784,0.5,4.286,0.4",
        "DALLE2_normal_000.jpg,statue of a man,,,,0.0,0.538696487,3.481534167,0.46101074",
    )

    @pytest.fixture(params=["", "AGIQA-3K", "images"])
    def root(self, tmp_path, incomplete, request):
        incomplete(AGIQA3K)
        write_csv(tmp_path / "data.csv", self.HEADER, self.ROWS)
        for row in self.ROWS:
            picture(tmp_path / request.param / row.split(",")[0])
        return tmp_path

    def test_trap_prompts_with_commas_and_generators_with_a_dot(self, root):
        data = AGIQA3K(root, split="whole")
        data.setup()
        table = data.annotations
        assert table["content"][1] == "a tray of sushi, blurry, 4k"
        assert [path.split("/")[-1] for path in data.paths] == list(table["image"])
        assert table["image"][1] == "sd1.5_lowcorr_001.jpg"

    def test_trap_quality_not_alignment(self, root):
        data = AGIQA3K(root, split="whole", targets=["mos", "alignment"])
        data.setup()
        assert data.mos_raw[2].tolist() == [4.488740784, 4.286]
        assert data.ratings["mos_std"][2].tolist() == pytest.approx([0.5 / 5, 0.4 / 5])

    def test_trap_one_prompt_under_several_generators(self, root):
        data = AGIQA3K(root, split="content", fractions=(0.5, 0.0, 0.5))
        data.setup()
        assert sorted(map(sorted, (data.rows("train"), data.rows("test")))) == [[0, 2, 3], [1]]

    def test_trap_2982_rows_not_3000(self, root, monkeypatch):
        monkeypatch.undo()
        with pytest.raises(ValueError, match="4 rated pictures; the complete label file has 2,982"):
            read(AGIQA3K(root))

    @real_labels("agiqa3k/data.csv")
    def test_real_label_file(self, labels):
        from clipiqa_plus.data.splits import make_split

        table = read(AGIQA3K(labels / "agiqa3k"))
        assert len(table) == 2982
        assert (table["mos"].min(), round(table["mos"].max(), 3)) == (0, 4.489)
        lowest, highest = table["alignment"].min(), table["alignment"].max()
        assert (round(lowest, 3), round(highest, 3)) == (0.021, 4.286)
        assert table["content"].str.contains(",").sum() == 2388
        assert round(table["mos"].corr(table["alignment"], method="spearman"), 2) == 0.74
        split = make_split(table, "random")
        assert (len(split.train), len(split.test)) == (2385, 597)


class TestAGIQA1K:
    HEADER = ("Image", "Prompt", "MOS")
    ROWS = (
        ("deepai_0_0_0_0.jpg", "bird, driving aircraft, city, anime style", 2.793411),
        ("dreamStudio_8_9_1_0.jpg", "alien, wearing shirt, wild, anime style", 0.608177),
        ("dreamStudio_8_9_1_1.jpg", "alien, wearing shirt, wild, realistic style", 0.441416),
        ("dreamStudio_8_9_1_1.jpg", "alien, wearing shirt, wild, realistic style", 2.084116),
    )

    def test_trap_double_row_is_dropped_and_told(self, tmp_path, incomplete):
        incomplete(AGIQA1K)
        write_sheets(tmp_path / "AIGC_MOS_Zscore.xlsx", {"Sheet1": [self.HEADER, *self.ROWS]})
        with pytest.warns(UserWarning, match=r"twice; its row with MOS 0\.441 is dropped"):
            table = read(AGIQA1K(tmp_path))
        assert table["mos"].tolist() == [2.793411, 0.608177, 2.084116]

    def test_any_other_double_row_is_an_error(self, tmp_path, incomplete):
        incomplete(AGIQA1K)
        rows = [self.HEADER, *self.ROWS[:2], self.ROWS[0]]
        write_sheets(tmp_path / "AIGC_MOS_Zscore.xlsx", {"Sheet1": rows})
        with pytest.raises(ValueError, match=r"row 3 \(deepai_0_0_0_0\.jpg\): image name repeats"):
            read(AGIQA1K(tmp_path))

    def test_trap_other_table_disagrees_and_has_a_typo(self, tmp_path):
        write_csv(tmp_path / "AIGC_all.csv", "Image,Score", ["dreamStudio_8_9_1_.jpg,2.04"])
        with pytest.raises(FileNotFoundError, match=r"AIGC_all\.csv disagrees with the official"):
            read(AGIQA1K(tmp_path))

    @real_labels("agiqa1k/AIGC_MOS_Zscore.xlsx")
    def test_real_label_file(self, labels):
        with pytest.warns(UserWarning, match="twice"):
            table = read(AGIQA1K(labels / "agiqa1k"))
        assert len(table) == 1079
        assert (table["mos"].min(), table["mos"].max()) == (0, 5)
        assert table["image"].str.split("_").str[0].value_counts().to_dict() == {
            "deepai": 720,
            "dreamStudio": 359,
        }


class TestAIGCIQA2023:
    COUNT = 405  # a few of the second generator

    def scores(self):
        rng = np.random.default_rng(1)
        return rng.uniform(26, 74, (3, self.COUNT))

    @pytest.fixture(params=["mat", "text"])
    def root(self, tmp_path, incomplete, request):
        incomplete(AIGCIQA2023)
        folder = "Image/allimg" if request.param == "mat" else "allimg"
        for number, values in enumerate(self.scores(), start=1):
            if request.param == "mat":
                path = tmp_path / "DATA" / "MOS" / f"mosz{number}.mat"
                path.parent.mkdir(parents=True, exist_ok=True)
                savemat(path, {"MOSz": values[:, None]})
            else:
                write_csv(tmp_path / f"moz{number}.txt", None, map(repr, values.tolist()))
        for n in range(self.COUNT):
            picture(tmp_path / folder / f"{n}.png", (4, 4))
        return tmp_path

    def test_three_scores_in_the_order_of_the_numbers(self, root):
        targets = ["mos", "authenticity", "correspondence"]
        data = AIGCIQA2023(root, split="whole", targets=targets)
        data.setup()
        # pandas before 3 may read the last of 53 bits of a text wrong.
        np.testing.assert_allclose(data.mos_raw.numpy().T, self.scores(), rtol=2**-51)
        assert [path.split("/")[-1] for path in data.paths[[0, 9, 10]]] == [
            "0.png",
            "9.png",
            "10.png",
        ]

    def test_trap_one_prompt_under_several_generators(self, root):
        table = read(AIGCIQA2023(root))
        # By hand: four pictures of each of 100 prompts, then the next generator.
        assert list(table["content"][[0, 3, 4, 399, 400, 404]]) == [
            "000",
            "000",
            "001",
            "099",
            "000",
            "001",
        ]
        data = AIGCIQA2023(root, split="content")
        data.setup()
        parts = [set(table["content"].iloc[data.rows(part)]) for part in ("train", "test")]
        assert not parts[0] & parts[1]

    def test_label_files_of_different_lengths(self, tmp_path, incomplete):
        incomplete(AIGCIQA2023)
        for number, rows in ((1, 8), (2, 8), (3, 7)):
            write_csv(tmp_path / f"moz{number}.txt", None, ["50.0"] * rows)
        with pytest.raises(ValueError, match=r"three label files have \[7, 8\] scores"):
            read(AIGCIQA2023(tmp_path))

    def test_another_variable(self, tmp_path, incomplete):
        incomplete(AIGCIQA2023)
        (tmp_path / "DATA" / "MOS").mkdir(parents=True)
        savemat(tmp_path / "DATA" / "MOS" / "mosz1.mat", {"MOS": [[1.0]]})
        with pytest.raises(ValueError, match=r"mosz1\.mat: no variable MOSz; it has MOS"):
            read(AIGCIQA2023(tmp_path))


class TestAIGIQA20K:
    HEADER = ("name", "prompt", "mos")
    TRAIN = (
        ("DALLE2_0000.png", "a gopnik on the moon, sharp focus", 3.6638868235),
        ("SD1.4_1218.png", "a krampus ghost", 2.116725933),
        ("LCM_0007.png", "a krampus ghost", 0.1222897815),
    )
    VAL = (("DALLE2_0025.png", "oil painting"),)
    TEST = (("MJ_0001.png", None), ("IF_0002.png", "2077"))
    SCORES = ("MJ_0001.png,,1.5", "IF_0002.png,2077,4.5", "DALLE2_0025.png,oil painting,4.25")

    @pytest.fixture(params=["xlsx", "csv"])
    def root(self, tmp_path, incomplete, request):
        incomplete(AIGIQA20K)
        for part, rows in (("train", self.TRAIN), ("val", self.VAL), ("test", self.TEST)):
            header = self.HEADER if part == "train" else self.HEADER[:2]
            if request.param == "xlsx":
                write_sheets(tmp_path / f"info_{part}.xlsx", {"Sheet1": [header, *rows]})
            else:
                lines = [",".join(f'"{c}"' if c else "" for c in map(str, r)) for r in rows]
                lines = [line.replace('"None"', "") for line in lines]
                write_csv(tmp_path / f"info_{part}.csv", ",".join(header), lines)
            for name, *_ in rows:
                picture(tmp_path / part / name)
        return tmp_path

    def test_official_parts_with_the_complete_list(self, root):
        write_csv(root / "data.csv", "name,prompt,mos", self.SCORES)
        data = AIGIQA20K(root)
        data.setup()
        assert [list(data.rows(part)) for part in ("train", "val", "test")] == [
            [0, 1, 2],
            [3],
            [4, 5],
        ]
        assert data.mos_raw[:, 0].tolist() == [
            3.6638868235,
            2.116725933,
            0.1222897815,
            4.25,
            1.5,
            4.5,
        ]
        assert data.paths[4] == "test/MJ_0001.png"
        assert list(data.annotations["content"][3:]) == ["oil painting", "", "2077"]

    def test_trap_parts_without_scores_are_left_out_and_told(self, root):
        data = AIGIQA20K(root)
        with pytest.warns(UserWarning, match=r"the 2 pictures of info_test have no scores"):
            data.setup()
        assert [len(data.rows(part)) for part in ("train", "val", "test")] == [3, 0, 0]
        with pytest.raises(ValueError, match="the official split has no test part"):
            data.test_dataloader()

    def test_trap_prompts_that_several_pictures_share(self, root):
        data = AIGIQA20K(root, split="content", fractions=(0.5, 0.0, 0.5))
        with pytest.warns(UserWarning, match="left out"):
            data.setup()
        assert sorted(map(sorted, (data.rows("train"), data.rows("test")))) == [[0], [1, 2]]

    def test_complete_list_without_a_picture(self, root):
        write_csv(root / "info_merge.csv", "name,prompt,mos", self.SCORES[:2])
        with pytest.raises(ValueError, match=r"no score for DALLE2_0025\.png of info_val \(1 such"):
            read(AIGIQA20K(root))

    def test_trap_copy_without_a_header(self, tmp_path, incomplete):
        incomplete(AIGIQA20K)
        write_csv(tmp_path / "info_train.csv", None, ["DALLE2_0000.png,a cat,3.66"] * 2)
        with pytest.raises(ValueError, match=r"info_train\.csv: no column name, prompt, mos"):
            read(AIGIQA20K(tmp_path))


class TestCGIQA6K:
    def test_trap_scores_with_a_trailing_blank(self, tmp_path, incomplete):
        incomplete(CGIQA6K)
        rows = ["game_0000.jpg,2.82 ", "movie_2266.jpg,4.20 "]
        write_csv(tmp_path / "mos.csv", "Image,MOS", rows)
        for name in ("game_0000.jpg", "movie_2266.jpg"):
            picture(tmp_path / "database" / name)
        data = CGIQA6K(tmp_path, split="whole")
        data.setup()
        assert data.mos_raw[:, 0].tolist() == [2.82, 4.2]

    @pytest.mark.parametrize("rows", [5_999, 5_993])
    def test_trap_six_thousand_or_the_5994_in_circulation(self, tmp_path, rows):
        lines = [f"game_{i:04d}.jpg,2.5" for i in range(6_000)]
        for complete in (6_000, 5_994):
            write_csv(tmp_path / "mos.csv", "Image,MOS", lines[:complete])
            assert len(read(CGIQA6K(tmp_path))) == complete
        write_csv(tmp_path / "mos.csv", "Image,MOS", lines[:rows])
        with pytest.raises(ValueError, match="complete label file has 6,000 or 5,994"):
            read(CGIQA6K(tmp_path))

    @real_labels("cgiqa6k/rebuilt/mos.csv")
    def test_rebuilt_label_file_of_5994_rows(self, labels):
        table = read(CGIQA6K(labels / "cgiqa6k" / "rebuilt"))
        assert len(table) == 5994
        assert (table["mos"].min(), table["mos"].max()) == (0.52, 4.49)
