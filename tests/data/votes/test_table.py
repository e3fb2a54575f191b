"""Files of votes: forms that are read, and one error with file and row for each defect."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clipiqa_plus.data.votes import read_votes


def write(folder: Path, text: str, name: str = "votes.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_csv_and_json_give_the_same_votes(tmp_path: Path) -> None:
    csv = write(tmp_path, "first,second,vote,rater\na.png,b.png,better,7\nc.png,a.png,Same,8\n")
    rows = [
        {"first": "a.png", "second": "b.png", "vote": "first", "rater": 7},
        {"first": "c.png", "second": "a.png", "vote": "same", "rater": 8},
    ]
    found = read_votes(csv)
    assert found["vote"].tolist() == ["first", "same"]
    assert found["n"].tolist() == [1, 1]
    as_json = read_votes(write(tmp_path, json.dumps(rows), "votes.json"))
    assert as_json[["first", "second", "vote", "rater"]].equals(
        found[["first", "second", "vote", "rater"]]
    )
    other = write(tmp_path, "A,B,choice,n\n001,002,worse,3\n", "other.csv")
    named = read_votes(other, {"first": "A", "second": "B", "vote": "choice"})
    assert named.loc[0].to_dict() == {"first": "001", "second": "002", "vote": "second", "n": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("first,second\na,b\n", "no column vote; there are first, second"),
        ("first,second,vote\n", "there are no votes"),
        ("first,second,vote\na,b,first\na,,second\n", "row 2: second is empty"),
        ("first,second,vote\na,b,left\n", "row 1: vote is 'left'; a vote is one of first, better"),
        ("first,second,vote\na,b,first\nc,c,same\n", "row 2: c is compared with itself"),
        ("first,second,vote,n\na,b,first,0\n", "row 1: n is '0'; the number of votes is a whole"),
        ("first,second,vote,split\na,b,first,dev\n", "row 1: split is 'dev'; it is train, val"),
        (
            "first,second,vote,rater\na,b,first,x\na,b,second,y\nb,a,same,x\nb,a,first,x\n",
            "rows 1 and 4: rater x prefers a to b, and b to a",
        ),
    ],
)
def test_defects_name_file_and_row(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_votes(write(tmp_path, text))
    assert str(tmp_path / "votes.csv") in str(error.value)


def test_raters_may_differ_and_repeat_themselves(tmp_path: Path) -> None:
    text = "first,second,vote,rater\na,b,first,x\nb,a,second,x\na,b,second,y\na,b,second,\n"
    assert len(read_votes(write(tmp_path, text))) == 4


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file of votes"):
        read_votes(tmp_path / "none.json")
    with pytest.raises(ValueError, match="votes are a list of objects"):
        read_votes(write(tmp_path, '{"a": 1}', "votes.json"))
    with pytest.raises(ValueError, match="not readable JSON"):
        read_votes(write(tmp_path, "[", "votes.json"))
