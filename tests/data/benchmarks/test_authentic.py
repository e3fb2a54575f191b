import json

import numpy as np
import pytest
from scipy.io import savemat
from scipy.stats import spearmanr

from clipiqa_plus.data.benchmarks import BID, CID2013, CLIVE, PIQ23, SPAQ, UHDIQA
from tests.support.benchmark_files import cells, picture, read, real_labels, write_csv, write_sheets


class TestCLIVE:
    # The order of the distributed file: training pictures, then neither numeric nor sorted.
    NAMES = (*(f"t{i}.bmp" for i in range(1, 8)), "100.bmp", "109.JPG", "10.bmp", "39.JPG", "3.bmp")
    MOS = np.array([63.96, 25.3, 48.9, 35.9, 66.5, 54.6, 77.9, 32.56, 66.36, 40.5, 70.1, 12.25])

    @pytest.fixture
    def root(self, tmp_path, incomplete):
        incomplete(CLIVE)
        data = tmp_path / "Data"
        data.mkdir()
        savemat(
            data / "AllImages_release.mat", {"AllImages_release": cells(self.NAMES, column=True)}
        )
        savemat(data / "AllMOS_release.mat", {"AllMOS_release": self.MOS[None]})
        savemat(data / "AllStdDev_release.mat", {"AllStdDev_release": self.MOS[None] / 4})
        for name in self.NAMES[7:]:
            picture(tmp_path / "Images" / name)
        for name in self.NAMES[:7]:
            picture(tmp_path / "Images" / "trainingImages" / name)
        return tmp_path

    def test_trap_training_pictures_are_left_out(self, root):
        table = read(CLIVE(root))
        assert list(table["image"]) == list(self.NAMES[7:])

    def test_trap_name_and_score_are_paired_by_row(self, root):
        table = read(CLIVE(root)).set_index("image")
        assert table["mos"].to_dict() == dict(zip(self.NAMES[7:], self.MOS[7:], strict=True))
        assert table["mos_std"]["3.bmp"] == 12.25 / 4

    def test_trap_mixed_extensions_whose_case_matters(self, root):
        (root / "Images" / "109.JPG").rename(root / "Images" / "109.jpg")
        (root / "Images" / "100.bmp").rename(root / "Images" / "100.BMP")
        data = CLIVE(root, fractions=(0.6, 0.0, 0.4))
        data.setup()
        assert list(data.paths) == [
            f"Images/{name}" for name in ("100.BMP", "109.jpg", "10.bmp", "39.JPG", "3.bmp")
        ]
        assert data.reader()(1).shape == (6, 8, 3)
        # The sample ids, and so the split, stay those of the label file.
        assert data.annotations["image"][0] == "100.bmp"

    def test_trap_third_party_lists_are_named(self, tmp_path):
        (tmp_path / "LIVE_Challenge.txt").write_text("dis_img_path,dis_type,score\n")
        (tmp_path / "livec.json").write_text(json.dumps([]))
        with pytest.raises(FileNotFoundError, match=r"counts the 7 .* list without 100\.bmp"):
            read(CLIVE(tmp_path))

    def test_trap_list_without_one_picture(self, root, monkeypatch):
        monkeypatch.setattr(CLIVE, "expected_rows", (6,))
        with pytest.raises(ValueError, match="5 rated pictures; the complete label file has 6"):
            read(CLIVE(root))

    def test_archive_nested_below_root(self, root):
        nested = root / "ChallengeDB_release"
        nested.mkdir()
        for folder in ("Data", "Images"):
            (root / folder).rename(nested / folder)
        data = CLIVE(root, fractions=(0.6, 0.0, 0.4))
        data.setup()
        assert data.home == nested
        assert not data.left_out

    def test_files_of_two_releases(self, root):
        savemat(root / "Data" / "AllMOS_release.mat", {"AllMOS_release": self.MOS[None, :-1]})
        with pytest.raises(ValueError, match=r"'AllMOS_release': 11, .* do not belong together"):
            read(CLIVE(root))

    def test_missing_and_broken_mat(self, root):
        (root / "Data" / "AllMOS_release.mat").write_bytes(b"<html>" * 100)
        with pytest.raises(ValueError, match=r"AllMOS_release\.mat: not a readable MATLAB file"):
            read(CLIVE(root))
        (root / "Data" / "AllMOS_release.mat").unlink()
        with pytest.raises(FileNotFoundError, match=r"no Data/AllMOS_release\.mat in"):
            read(CLIVE(root))

    @real_labels("clive/rebuilt/Data/AllMOS_release.mat", "clive/livec.json")
    def test_rebuilt_label_files(self, labels):
        table = read(CLIVE(labels / "clive" / "rebuilt"))
        assert len(table) == 1162
        assert (round(table["mos"].min(), 2), round(table["mos"].max(), 2)) == (3.42, 92.43)
        assert table["image"].str.endswith(".bmp").sum() == 535
        assert table["image"].str.endswith(".JPG").sum() == 627
        rows = json.loads((labels / "clive" / "livec.json").read_text())
        listed = {row["img_path"].split("/")[1]: row["gt_score"] for row in rows[7:]}
        assert table.set_index("image")["mos"].to_dict() == listed


class TestSPAQ:
    HEADER = (
        "Image name",
        "MOS",
        "Brightness",
        "Colorfulness",
        "Contrast",
        "Noisiness",
        "Sharpness",
    )
    ROWS = (
        ("00001.jpg", 48.86, 47.43, 55.57, 55.71, 37.86, 42.57),
        ("00002.jpg", 62.5, 55.38, 67.13, 53.13, 57.5, 47.5),
        ("00003.jpg", 77.25, 62.38, 72.63, 65.75, 72.25, 82.71),
        ("00004.jpg", 67, 68.43, 69.43, 67, 67.86, 63.29),
        ("00005.jpg", 22.71, 54.29, 62.14, 51, 38.43, 15.57),
    )
    FILE = "Annotations/MOS and Image attribute scores.xlsx"

    @pytest.fixture
    def root(self, tmp_path, incomplete):
        incomplete(SPAQ)
        write_sheets(tmp_path / self.FILE, {"Sheet1": [self.HEADER, *self.ROWS]})
        for row in self.ROWS:
            picture(tmp_path / "TestImage" / row[0], (12, 8))
        return tmp_path

    def test_mos_and_five_attributes(self, root):
        targets = ["mos", *SPAQ.attributes]
        data = SPAQ(root, targets=targets, num_workers=0, split="whole", resize=4)
        data.setup()
        batch = next(iter(data.test_dataloader()))
        assert batch["mos_raw"].tolist() == [list(row[1:]) for row in self.ROWS]
        assert batch["mos"][0].tolist() == pytest.approx([x / 100 for x in self.ROWS[0][1:]])
        assert tuple(batch["image"].shape) == (5, 3, 4, 6)

    def test_trap_noisiness_is_cleanliness(self, root):
        # Higher is better, as for every other target: it is normalised without a flip.
        data = SPAQ(root, targets=["noisiness"], split="whole")
        data.setup()
        assert data.mos[:, 0].tolist() == pytest.approx([row[5] / 100 for row in self.ROWS])

    def test_trap_exif_workbook_has_another_brightness(self, root):
        write_sheets(
            root / self.FILE, {"Source EXIF tags": [("Image name", "Brightness"), ("a.jpg", 3.2)]}
        )
        with pytest.raises(ValueError, match=r"no column MOS, Colorfulness.* it has Image name"):
            read(SPAQ(root))

    def test_trap_sentinel_exposure_time_is_not_read(self, root):
        exif = [("Image name", "Exposure time"), ("00001.jpg", 1_000_000)]
        write_sheets(root / "Annotations" / "EXIF_tags.xlsx", {"Source EXIF tags": exif})
        assert read(SPAQ(root)).drop(columns="image").max().max() < 100

    def test_trap_archive_that_needs_repair_is_told(self, root):
        (root / "TestImage" / "00002.jpg").unlink()
        with pytest.raises(FileNotFoundError, match=r"1 of 5 pictures .*zip -FF"):
            SPAQ(root).setup()

    def test_trap_list_without_four_rows(self, root, monkeypatch):
        monkeypatch.setattr(SPAQ, "expected_rows", (9,))
        with pytest.raises(ValueError, match="5 rated pictures; the complete label file has 9"):
            read(SPAQ(root))

    def test_trap_truncated_picture_is_an_error_not_grey(self, root):
        path = root / "TestImage" / "00003.jpg"
        path.write_bytes(path.read_bytes()[:-120])
        data = SPAQ(root, split="whole")
        data.setup()
        with pytest.raises(ValueError, match=r"00003\.jpg: not a readable image"):
            data.reader()(2)

    def test_repackaging_nested_in_dataset(self, root):
        nested = root / "Dataset"
        nested.mkdir()
        for folder in ("Annotations", "TestImage"):
            (root / folder).rename(nested / folder)
        SPAQ(root, fractions=(0.6, 0.0, 0.4)).setup()

    def test_not_a_workbook(self, root):
        (root / self.FILE).write_text("<html>sign in</html>")
        with pytest.raises(ValueError, match=r"scores\.xlsx: not the expected workbook"):
            read(SPAQ(root))

    @real_labels(f"spaq/{FILE}")
    def test_real_label_file(self, labels):
        data = SPAQ(labels / "spaq")
        table = read(data)
        assert len(table) == 11125
        assert (table["mos"].min(), table["mos"].max()) == (2, 96)
        attributes = table[list(SPAQ.attributes)]
        assert attributes.min().min() >= 0.2
        assert attributes.max().max() <= 98
        assert spearmanr(table["noisiness"], table["mos"]).statistic == pytest.approx(
            0.893, abs=5e-4
        )


class TestBID:
    HEADER = ("Image Number", "Average Subjective Grade", "Number of Grades", "Grade #1")
    ROWS = ((1, 4.51664, 13, 4.1), (3, 1.300189, 10, 0.9), (4, 2.359893, 11, 2.2))

    @pytest.mark.parametrize("folder", ["ImageDatabase", "."])
    def test_trap_numbers_with_gaps_and_upper_case_extension(self, tmp_path, incomplete, folder):
        incomplete(BID)
        write_sheets(
            tmp_path / "DatabaseGrades.xlsx", {"Plan1": [self.HEADER, *self.ROWS], "Plan2": []}
        )
        for number in (1, 3, 4):
            picture(tmp_path / folder / f"DatabaseImage{number:04d}.JPG")
        data = BID(tmp_path, split="whole")
        data.setup()
        assert list(data.annotations["image"]) == [
            "DatabaseImage0001.JPG",
            "DatabaseImage0003.JPG",
            "DatabaseImage0004.JPG",
        ]
        assert data.annotations["mos"].tolist() == [4.51664, 1.300189, 2.359893]

    def test_number_that_is_none(self, tmp_path, incomplete):
        incomplete(BID)
        rows = [self.HEADER, self.ROWS[0], ("3b", 1.3, 10, 0.9)]
        write_sheets(tmp_path / "DatabaseGrades.xlsx", {"Plan1": rows})
        with pytest.raises(ValueError, match=r"xlsx: row 2: Image Number is '3b'"):
            read(BID(tmp_path))

    @real_labels("bid/DatabaseGrades.xls", "bid/bid_all.txt")
    def test_trap_real_label_file_is_a_legacy_xls(self, labels):
        table = read(BID(labels / "bid"))
        assert len(table) == 586
        assert (round(table["mos"].min(), 3), round(table["mos"].max(), 3)) == (0.164, 4.920)
        numbers = set(table["image"].str[13:17].astype(int))
        assert set(range(1, 591)) - numbers == {2, 346, 413, 439}
        listed = {
            line.split("\t")[0].split("/")[1]: float(line.split("\t")[1])
            for line in (labels / "bid" / "bid_all.txt").read_text().splitlines()
        }
        got = table.set_index("image")["mos"].to_dict()
        assert got == pytest.approx(listed, abs=1e-6)  # the list is rounded to 6 decimals


class TestCID2013:
    FILE = "CID2013 data - version 12112014.xlsx"
    HEADER = ("Source_ID", "Image set specific  MOS", "Realigned MOS", "Sharpness")
    ROWS = (
        ("IS_I_C01_D01", 12.5, 3.34364303351907, 1),
        ("IS_I_C01_D02", 80.1, 71.1818902079248, 2),
        ("IS_IV_C08_D10", 5.5, -9.55, 3),
    )

    @pytest.fixture
    def root(self, tmp_path, incomplete):
        incomplete(CID2013)
        write_sheets(
            tmp_path / self.FILE, {"Info": [["x"]], "CID2013 MOS": [self.HEADER, *self.ROWS]}
        )
        for name in ("IS1/co1/IS_I_C01_D01", "IS1/co1/IS_I_C01_D02", "IS4/co8/IS_IV_C08_D10"):
            picture(tmp_path / f"{name}.jpg")
        return tmp_path

    def test_trap_source_id_has_no_extension_and_hides_the_folder(self, root):
        data = CID2013(root)
        data.setup()
        assert list(data.annotations["image"])[2] == "IS4/co8/IS_IV_C08_D10.jpg"
        assert list(data.rows("test")) == [0, 1, 2]
        assert list(data.annotations["content"]) == ["IS1", "IS1", "IS4"]

    def test_trap_realigned_scores_go_below_zero(self, root):
        data = CID2013(root)
        data.setup()
        assert data.mos_raw[:, 0].tolist() == [3.34364303351907, 71.1818902079248, -9.55]
        assert 0 <= data.mos.min() < data.mos.max() <= 1

    def test_trap_474_pictures_not_480(self, root, monkeypatch):
        monkeypatch.undo()
        with pytest.raises(ValueError, match="3 rated pictures; the complete label file has 474"):
            read(CID2013(root))

    def test_workbook_without_the_sheet(self, root):
        write_sheets(root / self.FILE, {"MOS": [self.HEADER, *self.ROWS]})
        with pytest.raises(ValueError, match="no sheet 'CID2013 MOS'; it has MOS"):
            read(CID2013(root))

    @real_labels("cid2013/CID2013.txt")
    def test_workbook_rebuilt_from_a_third_partys_list(self, labels, tmp_path):
        lines = (labels / "cid2013" / "CID2013.txt").read_text().splitlines()[1:]
        listed = {
            line.split(",")[0][len("CID2013/") :]: float(line.split(",")[2]) for line in lines
        }
        rows = [(name.split("/")[2][:-4], 0.0, mos, 0) for name, mos in listed.items()]
        write_sheets(tmp_path / self.FILE, {"CID2013 MOS": [self.HEADER, *rows]})
        table = read(CID2013(tmp_path))
        assert len(table) == 474
        assert table.set_index("image")["mos"].to_dict() == listed
        assert (round(table["mos"].min(), 2), round(table["mos"].max(), 2)) == (-9.55, 87.88)


class TestUHDIQA:
    HEADER = '"image_name","quality_mos","set","subset","orig_width","user_name","page_url"'
    ROWS = (
        '"1.jpg",0.76,"training","",5515,"congerdesign","https://a/1,2/"',
        '"2.jpg",0.7585,"training","",4850,"x","https://b/"',
        '"4300.jpg",0.2865,"validation","",4850,"y","https://c/"',
        '"5300.jpg",0.889,"test","",4850,"z","https://d/"',
    )

    @pytest.fixture
    def root(self, tmp_path, incomplete):
        incomplete(UHDIQA)
        write_csv(tmp_path / "uhd-iqa-metadata.csv", self.HEADER, self.ROWS)
        for folder, name in (
            ("training", "1"),
            ("training", "2"),
            ("validation", "4300"),
            ("test", "5300"),
        ):
            picture(tmp_path / folder / f"{name}.jpg", (38, 20))
        return tmp_path

    def test_trap_names_are_unique_but_live_in_three_folders(self, root):
        data = UHDIQA(root)
        data.setup()
        assert list(data.paths) == [
            "training/1.jpg",
            "training/2.jpg",
            "validation/4300.jpg",
            "test/5300.jpg",
        ]
        assert [list(data.rows(part)) for part in ("train", "val", "test")] == [[0, 1], [2], [3]]

    def test_trap_scores_below_the_training_range_are_in_range(self, root):
        data = UHDIQA(root)
        data.setup()
        assert data.mos[2].item() == pytest.approx(0.2865)

    def test_trap_orig_width_is_not_the_files_width(self, root):
        data = UHDIQA(root)
        data.setup()
        assert data.reader()(0).shape == (20, 38, 3)

    def test_challenge_package_trains_only(self, tmp_path, monkeypatch):
        monkeypatch.setattr(UHDIQA, "expected_rows", (2,))
        write_csv(tmp_path / "uhd-iqa-training-metadata.csv", self.HEADER, self.ROWS[:2])
        for name in ("1.jpg", "2.jpg"):
            picture(tmp_path / "challenge" / "training" / name)
        data = UHDIQA(tmp_path)
        data.setup()
        assert len(data.rows("train")) == 2
        with pytest.raises(ValueError, match="official split has no test part"):
            data.test_dataloader()

    @real_labels("uhd_iqa/uhd-iqa-training-metadata.csv")
    def test_real_label_file_of_the_training_part(self, labels):
        table = read(UHDIQA(labels / "uhd_iqa"))
        assert table["split"].value_counts().to_dict() == {"train": 4269}
        assert (table["mos"].min(), table["mos"].max()) == (0.587, 0.8365)

    @real_labels("uhd_iqa/UHD-IQA.txt")
    def test_metadata_rebuilt_from_a_third_partys_list(self, labels, tmp_path):
        lines = (labels / "uhd_iqa" / "UHD-IQA.txt").read_text(encoding="utf-8").splitlines()[1:]
        fields = [line.split(",") for line in lines]
        rows = [
            f'"{path.split("/")[2]}",{score},"{path.split("/")[1]}",""'
            for path, _, score, *_ in fields
        ]
        write_csv(tmp_path / "uhd-iqa-metadata.csv", self.HEADER[:41], rows)
        table = read(UHDIQA(tmp_path))
        sizes = {"train": 4269, "val": 904, "test": 900}
        assert table["split"].value_counts().to_dict() == sizes
        assert (table["mos"].min(), table["mos"].max()) == (0.2865, 0.889)


class TestPIQ23:
    HEADER = "IMAGE PATH,JOD,JOD STD,IMAGE,SCENE,ATTRIBUTE,SCENE IDX,CONDITION"
    FILES = (
        ("66_Indoor_Scene_0.jpg", "Indoor_Scene_0", -3.720674450398623),
        ("29_Indoor_Scene_0.JPG", "Indoor_Scene_0", -3.5),
        ("1 of 2_Lowlight_Scene_1.jpeg", "Lowlight_Scene_1", 2.5),
        ("3_Lowlight_Scene_1.tiff", "Lowlight_Scene_1", 1.5),
    )

    @pytest.fixture
    def root(self, tmp_path, incomplete):
        incomplete(PIQ23)
        for sign, attribute in ((1, "Overall"), (-1, "Details")):
            rows = [
                f"{attribute}\\{name},{sign * jod},0.4,{name},{scene},{attribute},0,Indoor"
                for name, scene, jod in self.FILES
            ]
            write_csv(tmp_path / f"Scores_{attribute}.csv", self.HEADER, rows)
            for name, _, _ in self.FILES:
                picture(tmp_path / attribute / name, (8, 6) if sign > 0 else (4, 4))
        parts = ("Train", "Test", "Train", "Test")
        device = [f"{name},{p}" for (name, _, _), p in zip(self.FILES, parts, strict=True)]
        write_csv(tmp_path / "Test split" / "Device Split.csv", "IMAGE,SPLIT", device)
        scene = ["Indoor_Scene_0,Train,2", "Lowlight_Scene_1,Test,2"]
        write_csv(tmp_path / "Test split" / "Scene Split.csv", "SCENE,SPLIT,NB IMAGES", scene)
        return tmp_path

    def test_trap_back_slashes_extensions_and_blanks_in_names(self, root):
        data = PIQ23(root)
        data.setup()
        assert list(data.annotations["image"]) == [f"Overall/{name}" for name, _, _ in self.FILES]
        assert [data.reader()(row).shape for row in range(4)] == [(6, 8, 3)] * 4

    def test_trap_attributes_have_other_crops_under_equal_names(self, root):
        data = PIQ23(root, attribute="Details")
        data.setup()
        assert data.reader()(0).shape == (4, 4, 3)
        assert data.annotations["mos"][0] == 3.720674450398623
        assert not set(data.annotations["image"]) & set(read(PIQ23(root))["image"])

    def test_device_and_scene_split(self, root):
        device, scene = PIQ23(root), PIQ23(root, official="scene")
        for data in (device, scene):
            data.setup()
        assert [list(device.rows(part)) for part in ("train", "test")] == [[0, 2], [1, 3]]
        assert [list(scene.rows(part)) for part in ("train", "test")] == [[0, 1], [2, 3]]

    def test_trap_scores_compare_only_within_a_scene(self, root):
        assert PIQ23.within_content
        assert list(read(PIQ23(root))["content"]) == [scene for _, scene, _ in self.FILES]

    def test_split_file_of_another_release(self, root):
        write_csv(root / "Test split" / "Scene Split.csv", "SCENE,SPLIT", ["Indoor_Scene_0,Train"])
        with pytest.raises(ValueError, match=r"Scene Split\.csv: no part for 'Lowlight_Scene_1'"):
            read(PIQ23(root, official="scene"))

    @real_labels("piq23/Scores_Overall.csv", "piq23/Test split/Device Split.csv")
    @pytest.mark.parametrize(
        ("official", "sizes"), [("device", (3604, 1512)), ("scene", (3630, 1486))]
    )
    def test_real_label_files(self, labels, official, sizes):
        table = read(PIQ23(labels / "piq23", official=official))
        assert len(table) == 5116
        assert table["content"].nunique() == 50
        assert tuple((table["split"] == part).sum() for part in ("train", "test")) == sizes
        assert (round(table["mos"].min(), 2), round(table["mos"].max(), 2)) == (-7.13, 4.97)
        if official == "scene":
            assert table.groupby("split")["content"].nunique().to_dict() == {
                "test": 15,
                "train": 35,
            }
