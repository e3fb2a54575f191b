import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from clipiqa_plus.data.labels import name_parts, read_csv, read_mat, read_sheet, whole_numbers
from tests.support.benchmark_files import cells, write_csv, write_sheets


def test_csv_with_byte_order_mark_and_blanks(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("\ufeffname, the   score\na.jpg, 1.5\n", encoding="utf-8")
    assert read_csv(path, ["name", "the score"]).to_dict("list") == {
        "name": ["a.jpg"],
        "the score": [1.5],
    }


@pytest.mark.parametrize("start", ["<!DOCTYPE html>", "\n <html lang='en'>", "<HTML>"])
def test_saved_web_page(tmp_path, start):
    (tmp_path / "a.csv").write_text(start + "<body>name,mos</body>")
    with pytest.raises(ValueError, match=r"a\.csv: this is a saved web page.* Get it there"):
        read_csv(tmp_path / "a.csv", ["name"], "Get it there")


def test_empty_binary_and_short_csv(tmp_path):
    for content in (b"", b"\xff\xd8\xff\xe0" * 50, b"name,mos\n"):
        (tmp_path / "a.csv").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.csv: "):
            read_csv(tmp_path / "a.csv", ["name", "score"])


def test_line_with_too_many_fields_is_an_error_even_without_a_header(tmp_path):
    path = write_csv(tmp_path / "a.txt", None, ["1 a", "2 b c"])
    with pytest.raises(ValueError, match=r"a\.txt: not a readable table"):
        read_csv(path, ["x", "y"], header=None, sep=" ")


def test_sheet_whose_header_is_not_in_the_corner(tmp_path):
    rows = [[], [None, None, "a", "the  b"], [None, None, 1, "x"], [None] * 4, [None, None, 2, "y"]]
    path = write_sheets(tmp_path / "a.xlsx", {"one": rows})
    table = read_sheet(path, "one", ["a", "the b"])
    assert table["a"].tolist() == [1, 2]
    assert table["the b"].tolist() == ["x", "y"]


def test_empty_sheet(tmp_path):
    path = write_sheets(tmp_path / "a.xlsx", {"one": []})
    with pytest.raises(ValueError, match=r"a\.xlsx: no column a"):
        read_sheet(path, 0, ["a"])


def test_mat_with_numbers_and_cells(tmp_path):
    savemat(tmp_path / "a.mat", {"x": np.eye(2), "names": cells(["a ", "", "bc"])})
    values = read_mat(tmp_path / "a.mat", ["x", "names"])
    assert values["x"].tolist() == [1, 0, 0, 1]
    assert values["names"].tolist() == ["a", "", "bc"]
    with pytest.raises(ValueError, match=r"a\.mat: no variable y; it has x, names"):
        read_mat(tmp_path / "a.mat", ["x", "y"])


def test_name_parts_ignore_case_and_name_the_row(tmp_path):
    names = pd.Series(["I01_2.bmp", "i02_3.BMP"])
    parts = name_parts(names, r"(?P<ref>I\d\d)_(?P<level>\d)\.bmp", tmp_path)
    assert parts.to_dict("list") == {"ref": ["I01", "i02"], "level": ["2", "3"]}
    with pytest.raises(ValueError, match=r"row 2: 'I1' is not a picture name .* \(1 such rows\)"):
        name_parts(pd.Series(["I01_2.bmp", "I1"]), r"(?P<ref>I\d\d)_\d\.bmp", tmp_path)


@pytest.mark.parametrize("bad", ["x", 1.5, None])
def test_whole_numbers(tmp_path, bad):
    column = whole_numbers(pd.Series([1.0, 2.0], name="n"), tmp_path)
    assert column.dtype == np.int64
    with pytest.raises(ValueError, match=r"row 2: n is '.*'; it must be a whole number"):
        whole_numbers(pd.Series([1, bad], name="n", dtype=object), tmp_path)
