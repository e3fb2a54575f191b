import csv

import numpy as np
import pytest
from scipy.io import savemat

from clipiqa_plus.data.benchmarks import CSIQ, LIVE, PIPAL, KADID10k
from tests.support.benchmark_files import cells, picture, read, real_labels, write_csv, write_sheets

PARTS = ("train", "val", "test")


class TestKADID10k:
    HEADER = "dist_img,ref_img,dmos,var"
    ROWS = (
        "I01_01_01.png,I01.png,4.57,0.496",
        "I01_01_02.png,I01.png,4.33,0.869",
        "I02_25_03.png,I02.png,2.67,0.789",
        "I81_25_05.png,I81.png,1,0",
    )

    @pytest.fixture(params=["", "kadid10k"])
    def root(self, tmp_path, incomplete, request):
        incomplete(KADID10k)
        home = tmp_path / request.param
        write_csv(home / "dmos.csv", self.HEADER, self.ROWS)
        for row in self.ROWS:
            for name in row.split(",")[:2]:
                picture(home / "images" / name)
        return tmp_path

    def test_trap_dmos_is_no_dmos(self, root):
        data = KADID10k(root, fractions=(0.7, 0.0, 0.3))
        data.setup()
        # Higher is better, so the order of the normalised scores is that of the file.
        assert data.mos[:, 0].tolist() == pytest.approx([0.8925, 0.8325, 0.4175, 0])

    def test_trap_references_in_the_same_folder_are_not_rated(self, root):
        table = read(KADID10k(root))
        assert list(table["image"]) == [row.split(",")[0] for row in self.ROWS]
        assert list(table["content"]) == ["I01", "I01", "I02", "I81"]
        assert list(table["distortion"]) == ["01", "01", "25", "25"]
        assert list(table["level"]) == [1, 2, 3, 5]

    def test_trap_the_range_is_one_to_five(self, root):
        assert KADID10k.mos_range == (1.0, 5.0)
        home = KADID10k(root).home
        write_csv(home / "dmos.csv", self.HEADER, ["I01_01_01.png,I01.png,0.8,0.496"])
        with pytest.raises(ValueError, match=r"row 1 \(I01_01_01\.png\): mos 0\.8 is outside"):
            read(KADID10k(root))

    def test_name_of_another_data_set(self, root):
        home = KADID10k(root).home
        write_csv(home / "dmos.csv", self.HEADER, [*self.ROWS, "I01.png,I01.png,4,0"])
        with pytest.raises(ValueError, match=r"dmos\.csv: row 5: 'I01\.png' is not a picture name"):
            read(KADID10k(root))

    @real_labels("kadid10k/dmos.csv")
    def test_real_label_file(self, labels):
        table = read(KADID10k(labels / "kadid10k"))
        assert len(table) == 10125
        assert table["content"].nunique() == 81
        assert (table["mos"].min(), table["mos"].max()) == (1.0, 4.93)
        means = table.groupby("level")["mos"].mean().round(2)
        assert means.tolist() == [4.08, 3.52, 3.06, 2.50, 2.01]
        assert (table["mos_std"].min(), table["mos_std"].max()) == (0, 1.593)
        # Most scores are means of 30 ratings.
        total = (table["mos"] * 30).round()
        thirtieths = (total / 30 - table["mos"]).abs() <= 0.0051
        assert round(thirtieths.mean(), 2) == 0.96
        # `var` is their deviation and no variance: the squares of whole ratings add up to whole
        # numbers, but for half a unit of the third decimal of each deviation.
        slack = 30 * 2 * table["mos_std"] * 0.0005 + 1e-6
        for power, share in ((2, 0.98), (1, 0.2)):
            squares = 30 * (table["mos_std"] ** power + (total / 30) ** 2)
            whole = (squares - squares.round()).abs() <= slack
            assert (whole[thirtieths].mean() > share) == (power == 2)


class TestCSIQ:
    HEADER = ("image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos")
    ROWS = (
        (1600, 1, "noise", 1, 0.061219, 0.061989),
        (1600, 5, "jpeg 2000", 2, 0.1, 0.5),
        ("woman", 2, "jpeg", 3, 0.1, 0.4),
        ("woman", 4, "fnoise", 5, 0.1, 1),
        ("snow_leaves", 3, "blur", 4, 0.1, 0),
        ("woman", 6, "contrast", 4, 0.225652, 0.468556),
    )
    NAMES = (
        "awgn/1600.AWGN.1.png",
        "jpeg2000/1600.jpeg2000.2.png",
        "jpeg/woman.JPEG.3.png",
        "fnoise/woman.fnoise.5.png",
        "blur/snow_leaves.BLUR.4.png",
        "contrast/woman.contrast.4.png",
    )

    def workbook(self, path, rows):
        blank = (None,) * 3
        table = [[], [], [], (*blank, *self.HEADER), *((*blank, *row) for row in rows)]
        write_sheets(path, {"z_crit": [["N"]], "all_by_image": table, "all_by_distortion": [[]]})

    @pytest.fixture(params=["csiq.DMOS.xlsx", "csiq.beta.xlsx"])
    def root(self, tmp_path, incomplete, request):
        incomplete(CSIQ)
        self.workbook(tmp_path / request.param, self.ROWS)
        for name in self.NAMES:
            picture(tmp_path / "dst_imgs" / name)
        return tmp_path

    def test_trap_three_vocabularies(self, root):
        data = CSIQ(root, fractions=(0.7, 0.0, 0.3))
        data.setup()
        assert list(data.annotations["image"]) == list(self.NAMES)
        assert not data.left_out

    def test_lower_is_better(self, root):
        data = CSIQ(root, fractions=(0.7, 0.0, 0.3))
        data.setup()
        assert data.mos[:, 0].tolist() == pytest.approx([1 - row[5] for row in self.ROWS])
        assert data.mos_raw[:, 0].tolist() == [row[5] for row in self.ROWS]

    def test_trap_picture_1600_is_a_number(self, root):
        contents = ["1600", "1600", "woman", "woman", "snow_leaves", "woman"]
        assert list(read(CSIQ(root))["content"]) == contents

    def test_trap_padding_rows_are_skipped(self, root):
        self.workbook(root / "csiq.DMOS.xlsx", [*self.ROWS[:3], (None,) * 6, *self.ROWS[3:], ()])
        assert list(read(CSIQ(root))["image"]) == list(self.NAMES)

    def test_trap_866_pictures_and_lists_without_blur(self, root, monkeypatch):
        monkeypatch.undo()
        with pytest.raises(ValueError, match="6 rated pictures; the complete label file has 866"):
            read(CSIQ(root))

    def test_trap_community_label_file(self, tmp_path):
        (tmp_path / "csiq_label.txt").write_text("1600.AWGN.1.png 0.061989\n")
        with pytest.raises(FileNotFoundError, match=r"csiq_label\.txt is a community list"):
            read(CSIQ(tmp_path))

    def test_trap_scores_made_higher_better_elsewhere_are_not_read(self, tmp_path):
        # The list that stores 1 - DMOS is a text file; only the workbook counts.
        (tmp_path / "csiq_train_clip.txt").write_text("dst_imgs/awgn/1600.AWGN.1.png\t0.938\n")
        with pytest.raises(FileNotFoundError, match=r"no csiq\.DMOS\.xlsx or csiq\.beta\.xlsx"):
            read(CSIQ(tmp_path))

    def test_unknown_distortion(self, root):
        self.workbook(root / "csiq.DMOS.xlsx", [*self.ROWS, ("woman", 7, "AWGN!", 1, 0, 0)])
        with pytest.raises(ValueError, match=r"xlsx: row 7: dst_type is 'AWGN!'; it must be one"):
            read(CSIQ(root))

    @real_labels("csiq/csiq.beta.xlsx", "csiq/csiq_label.txt")
    def test_real_label_file_of_the_predecessor_workbook(self, labels):
        table = read(CSIQ(labels / "csiq"))
        assert len(table) == 866
        assert table["content"].nunique() == 30
        assert (table["mos"].min(), table["mos"].max()) == (0, 1)
        assert (table["distortion"] == "contrast").sum() == 116
        lines = (labels / "csiq" / "csiq_label.txt").read_text().splitlines()
        listed = {line.split()[0]: float(line.split()[1]) for line in lines}
        got = dict(zip(table["image"].str.split("/").str[1], table["mos"], strict=True))
        assert got == pytest.approx(listed, abs=1e-6)  # the list is rounded to 6 decimals


class TestLIVE:
    SIZES = (("jp2k", 227), ("jpeg", 233), ("wn", 174), ("gblur", 174), ("fastfading", 174))

    def mats(self, root, **changes):
        rng = np.random.default_rng(0)
        orgs = np.zeros(982, dtype=np.uint8)
        orgs[rng.permutation(982)[:203]] = 1
        dmos = np.where(orgs == 1, 0, rng.uniform(-2.64, 111.77, 982))
        names = [f"{('Rapids', 'bikes', 'house')[i % 3]}.bmp" for i in range(982)]
        values = {"dmos_new": dmos[None], "dmos": dmos[None] / 2, "orgs": orgs[None]}
        values |= {"dmos_std": abs(dmos[None]) / 4, "refnames_all": cells(names)} | changes
        root.mkdir(exist_ok=True)
        for file, keys in {
            "dmos_realigned.mat": ("dmos_new", "dmos_std", "orgs"),
            "dmos.mat": ("dmos", "orgs"),
            "refnames_all.mat": ("refnames_all",),
        }.items():
            savemat(root / file, {key: values[key] for key in keys})
        return values

    def test_trap_reference_copies_are_left_out(self, tmp_path):
        values = self.mats(tmp_path)
        table = read(LIVE(tmp_path))
        assert len(table) == 779
        order = [f"{folder}/img{i}.bmp" for folder, n in self.SIZES for i in range(1, n + 1)]
        rated = values["orgs"][0] == 0
        assert list(table["image"]) == [n for n, r in zip(order, rated, strict=True) if r]
        assert table["mos"].tolist() == values["dmos_new"][0][rated].tolist()
        assert table["mos_std"].tolist() == values["dmos_std"][0][rated].tolist()
        assert set(table["content"]) == {"rapids", "bikes", "house"}

    def test_trap_two_label_sets(self, tmp_path):
        self.mats(tmp_path)
        realigned, original = (read(LIVE(tmp_path, scores=s)) for s in ("realigned", "original"))
        assert (original["mos"] * 2).tolist() == pytest.approx(realigned["mos"].tolist())
        (tmp_path / "dmos_realigned.mat").unlink()
        with pytest.raises(FileNotFoundError, match=r"no dmos_realigned\.mat .*release2/dmos_real"):
            read(LIVE(tmp_path))

    def test_trap_scores_below_zero_and_above_100_and_lower_is_better(self, tmp_path):
        self.mats(tmp_path)
        for folder, n in self.SIZES:
            for i in range(1, n + 1):
                path = tmp_path / folder / f"img{i}.bmp"
                path.parent.mkdir(exist_ok=True)
                path.touch()
        data = LIVE(tmp_path, fractions=(0.67, 0.0, 0.33))
        data.setup()
        assert 0 <= data.mos.min() < data.mos.max() <= 1
        assert data.mos[:, 0].argmax() == data.mos_raw[:, 0].argmin()

    def test_trap_blur_folder_is_gblur(self, tmp_path):
        self.mats(tmp_path)
        (tmp_path / "blur").mkdir()
        data = LIVE(tmp_path)
        with pytest.raises(FileNotFoundError, match="folders there: blur"):
            data.check_pictures()
        assert data.annotations["image"].str.startswith("gblur/").sum() > 100

    def test_trap_altered_mat_with_779_marks(self, tmp_path):
        self.mats(tmp_path, orgs=np.zeros((1, 779), dtype=np.uint8))
        with pytest.raises(ValueError, match=r"realigned\.mat: orgs has 779 .* has 982"):
            read(LIVE(tmp_path))

    def test_trap_altered_reference_names(self, tmp_path):
        self.mats(tmp_path, refnames_all=cells(["a.bmp"] * 779))
        with pytest.raises(ValueError, match=r"refnames_all\.mat: refnames_all has 779 .* 982"):
            read(LIVE(tmp_path))

    def test_trap_scores_turned_around_elsewhere_are_not_read(self, tmp_path):
        (tmp_path / "live_train_clip.txt").write_text("jp2k/img2.bmp\t96.26\n")
        with pytest.raises(FileNotFoundError, match=r"no refnames_all\.mat in"):
            read(LIVE(tmp_path))

    def test_archive_nested_below_root(self, tmp_path):
        self.mats(tmp_path / "databaserelease2")
        assert LIVE(tmp_path).home.name == "databaserelease2"

    @real_labels("live/rebuilt/dmos_realigned.mat", "live/LIVE2.DMOS.csv")
    def test_rebuilt_label_files(self, labels):
        table = read(LIVE(labels / "live" / "rebuilt"))
        assert len(table) == 779
        assert table["content"].nunique() == 29
        assert (round(table["mos"].min(), 2), round(table["mos"].max(), 2)) == (-2.64, 111.77)
        sizes = {"jp2k": 169, "jpeg": 175, "wn": 145, "gblur": 145, "fastfading": 145}
        assert table["distortion"].value_counts().to_dict() == sizes
        with (labels / "live" / "LIVE2.DMOS.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert list(table["image"]) == [f"{r['dst_type']}/{r['dist_img']}" for r in rows]
        assert table["mos"].tolist() == [float(r["dmos_new"]) for r in rows]
        assert list(table["content"]) == [r["refnames_all"].lower()[:-4] for r in rows]

    @real_labels("live/altered_copy/dmos_realigned.mat")
    def test_trap_altered_copy_in_circulation(self, labels):
        with pytest.raises(ValueError, match="orgs has 779 values; the original file has 982"):
            read(LIVE(labels / "live" / "altered_copy"))


class TestPIPAL:
    # Reference ids have gaps.
    TRAIN = ("A0001", "A0002", "A0003", "A0006", "A0060", "A0248")

    def lines(self, reference, separator=","):
        return [
            f"{reference}_{kind:02d}_{i:02d}.bmp{separator}{1400 + 10 * kind + i}.5{i}"
            for kind in (0, 6)
            for i in (0, 2)
        ]

    @pytest.fixture
    def root(self, tmp_path, incomplete):
        incomplete(PIPAL)
        for reference in self.TRAIN:
            write_csv(tmp_path / "Train_Label" / f"{reference}.txt", None, self.lines(reference))
            picture(tmp_path / "Train_Ref" / f"{reference}.bmp")
        return tmp_path

    def pictures(self, root, folders):
        for i, reference in enumerate(self.TRAIN):
            for line in self.lines(reference):
                picture(root / folders[i % len(folders)] / line.split(",")[0])

    def test_trap_reference_ids_have_gaps(self, root):
        table = read(PIPAL(root))
        assert sorted(set(table["content"])) == list(self.TRAIN)
        assert len(table) == 24

    def test_trap_scores_are_raw_elo(self, root):
        table = read(PIPAL(root))
        assert table["mos"].tolist()[:4] == [1400.50, 1402.52, 1460.50, 1462.52]
        assert PIPAL.mos_range == (800.0, 1900.0)

    @pytest.mark.parametrize(
        "folders",
        [
            ("Distortion_1", "Distortion_2", "Distortion_3", "Distortion_4"),
            ("Dist_Imgs",),
            ("Train_Distort",),
        ],
    )
    def test_trap_all_distortion_folders_are_searched(self, root, folders):
        self.pictures(root, folders)
        data = PIPAL(root)
        data.setup()
        assert {path.split("/")[0] for path in data.paths} == set(folders)
        assert data.annotations["image"][0] == "A0001_00_00.bmp"

    def test_trap_concatenated_copies_use_comma_and_blank(self, tmp_path, incomplete):
        incomplete(PIPAL)
        train = [line for reference in self.TRAIN for line in self.lines(reference, ", ")]
        write_csv(tmp_path / "pipal22_train.txt", None, train)
        val = ["A0005_10_00.bmp, 1238.7325", "A0019_10_74.bmp, 868.2988"]
        write_csv(tmp_path / "pipal21_val.txt", None, val)
        both = read(PIPAL(tmp_path, subset="both"))
        assert both["split"].value_counts().to_dict() == {"train": 24, "val": 2}
        assert both["mos"].tolist()[-2:] == [1238.7325, 868.2988]
        assert list(read(PIPAL(tmp_path, subset="val"))["content"]) == ["A0005", "A0019"]

    def test_half_of_the_label_files(self, root, monkeypatch):
        monkeypatch.undo()
        with pytest.raises(ValueError, match="24 rated pictures; the complete label file has 23,2"):
            read(PIPAL(root))

    def test_one_distortion_folder_missing(self, root):
        self.pictures(root, ("Distortion_1", "Distortion_2", "Distortion_3"))
        for path in (root / "Distortion_2").iterdir():
            path.unlink()
        (root / "Distortion_2").rmdir()
        with pytest.raises(
            FileNotFoundError, match=r"8 of 24 pictures .*Distortion_2 \(no such folder\)"
        ):
            PIPAL(root).setup()

    @real_labels("pipal/pipal22_train.txt", "pipal/pipal21_val.txt")
    def test_concatenated_copies_of_the_label_files(self, labels):
        table = read(PIPAL(labels / "pipal", subset="both"))
        train, val = (table[table["split"] == part] for part in ("train", "val"))
        assert (len(train), train["content"].nunique()) == (23200, 200)
        assert (train["mos"].min(), train["mos"].max()) == (916.7136, 1835.9856)
        assert (len(val), val["content"].nunique()) == (1000, 25)
        assert (val["mos"].min(), val["mos"].max()) == (868.2988, 1857.0)
        assert not set(train["content"]) & set(val["content"])

    @real_labels("pipal/rebuilt/Train_Label/A0001.txt", "pipal/pipal22_train.txt")
    def test_distributed_form_cut_from_the_copy(self, labels, incomplete):
        incomplete(PIPAL)
        cut = read(PIPAL(labels / "pipal" / "rebuilt"))
        whole = read(PIPAL(labels / "pipal"))
        assert len(cut) == 5 * 116
        assert cut.equals(whole[whole["content"].isin(set(cut["content"]))].reset_index(drop=True))
