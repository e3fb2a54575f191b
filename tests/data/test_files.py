import os

import pytest

from clipiqa_plus.data.files import Files


@pytest.fixture
def root(tmp_path):
    for name in ("Images/100.bmp", "Images/3.JPG", "Images/deep/t1.bmp", "a.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "true"),
    [
        ("Images/100.bmp", "Images/100.bmp"),
        ("images/100.BMP", "Images/100.bmp"),
        ("IMAGES/3.jpg", "Images/3.JPG"),
        ("images/DEEP/T1.bmp", "Images/deep/t1.bmp"),
        ("A.TXT", "a.txt"),
        ("Images/4.jpg", None),
        ("Pictures/100.bmp", None),
        ("Images/deep", None),
    ],
)
def test_names_are_found_whatever_their_case(root, asked, true):
    assert Files(root).find(asked) == true


def test_first_folder_that_has_the_picture_gives_it(root):
    found = Files(root).resolve(["100.bmp", "t1.bmp", "x"], ["none", "images", "images/deep"])
    assert list(found) == ["Images/100.bmp", "Images/deep/t1.bmp", None]


def test_each_folder_is_listed_once(root, monkeypatch):
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(str(path)) or scandir(path))
    files = Files(root)
    files.resolve([f"{i}.bmp" for i in range(1_000)], ["Images", "none"])
    assert sorted(listed) == [str(root), str(root / "Images")]


def test_exact_case_goes_first_and_two_inexact_ones_are_an_error(root):
    (root / "Images" / "100.BMP").touch()
    if len(os.listdir(root / "Images")) == 3:
        pytest.skip("this file system does not tell case apart")
    assert Files(root).find("Images/100.BMP") == "Images/100.BMP"
    assert Files(root).find("Images/100.bmp") == "Images/100.bmp"
    with pytest.raises(ValueError, match=r"100\.BMP and 100\.bmp, differing only in case"):
        Files(root).find("Images/100.Bmp")


def test_listing_of_files_and_folders(root):
    files = Files(root)
    assert files.files("images") == ["100.bmp", "3.JPG"]
    assert files.folders("images") == ["deep"]
    assert files.folders() == ["Images"]
    assert files.folder("IMAGES/DEEP") == "Images/deep"
    assert files.files("none") == files.folders("none") == []
