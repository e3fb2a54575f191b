"""Ratings saved from a page: what they become, and one error with file and row for each defect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clipiqa_plus.data import TableData, VoteData
from clipiqa_plus.evaluation.rating import import_ratings
from tests.support.rating_page import COUNT, rating_page, task_of


def stars(page: Path, grades: list[int], rater: str, file: str) -> Path:
    task = task_of(page)
    rows = [
        {
            "page": task["id"],
            "rater": rater,
            "image": picture["name"],
            "image_sha256": picture["sha256"],
            "stars": grade,
        }
        for picture, grade in zip(task["pictures"], grades, strict=False)
    ]
    pd.DataFrame(rows).to_csv(page.parent / file, index=False)
    return page.parent / file


def votes(page: Path, said: list[str], rater: str, file: str) -> Path:
    task = task_of(page)
    rows: list[dict[str, Any]] = []
    for (first, second), vote in zip(task["items"], said, strict=False):
        a, b = task["pictures"][first], task["pictures"][second]
        named = {"first": a["name"], "first_sha256": a["sha256"]}
        named |= {"second": b["name"], "second_sha256": b["sha256"]}
        rows.append({"page": task["id"], "rater": rater, **named, "vote": vote})
    pd.DataFrame(rows).to_csv(page.parent / file, index=False)
    return page.parent / file


def test_stars_become_a_table_that_trains(tmp_path: Path) -> None:
    page = rating_page(tmp_path, "stars")
    one = [1, 2, 3, 4, 5, 1, 2, 3]
    two = [2, 2, 5, 4, 4, 1]  # stopped before the end
    files = [stars(page, one, "anna", "a.csv"), stars(page, two, "", "b.csv")]
    kind, table = import_ratings([*files, files[0]], page, tmp_path / "photos")
    assert kind == "stars"
    names = [picture["name"] for picture in task_of(page)["pictures"]]
    found = table.set_index("image").loc[names]
    both = [(a, b) for a, b in zip(one, two, strict=False)]
    assert found["mos"].tolist() == [np.mean(pair) for pair in both] + one[6:]
    expected = [np.std(pair, ddof=1) for pair in both] + [0, 0]
    assert found["mos_std"].tolist() == pytest.approx(expected)
    assert found["n_ratings"].tolist() == [2] * 6 + [1, 1]
    table.to_csv(tmp_path / "ratings.csv", index=False)
    data = TableData(str(tmp_path / "ratings.csv"), (1, 5), root=tmp_path / "photos")
    data.setup()
    assert data.ratings["counts"].sum() == 14


def test_choices_become_votes_that_train(tmp_path: Path) -> None:
    page = rating_page(tmp_path, "pairs")
    said = ["first", "second", "same", "first"]
    files = [votes(page, said, "anna", "a.csv"), votes(page, said[::-1], "ben", "b.csv")]
    kind, table = import_ratings(files, page, tmp_path / "photos")
    assert kind == "pairs"
    assert table["vote"].tolist() == said + said[::-1]
    table.to_csv(tmp_path / "votes.csv", index=False)
    data = VoteData(str(tmp_path / "votes.csv"), root=tmp_path / "photos", split="whole")
    data.setup()
    assert len(data.part_votes("test")) == COUNT


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("stars", "6", "row 2: '6' stars; a grade is a whole number, 1 to 5"),
        ("stars", "2.5", "row 2: '2.5' stars"),
        ("page", "0" * 16, "row 2: from page 0000000000000000"),
        ("image", "other.png", "row 2: other.png is not on the page"),
        ("image_sha256", "ab", "row 2: the hash of"),
    ],
)
def test_defects_name_file_and_row(tmp_path: Path, column: str, value: str, message: str) -> None:
    page = rating_page(tmp_path, "stars")
    file = stars(page, [3] * COUNT, "anna", "a.csv")
    table = pd.read_csv(file, dtype=str)
    table.loc[1, column] = value
    table.to_csv(file, index=False)
    with pytest.raises(ValueError, match=f"a.csv: {message}"):
        import_ratings([file], page, tmp_path / "photos")


def test_contradictions_and_changed_pictures(tmp_path: Path) -> None:
    page = rating_page(tmp_path, "stars")
    files = [stars(page, [3] * COUNT, "anna", name) for name in ("a.csv", "b.csv")]
    table = pd.read_csv(files[1])
    table.loc[2, "stars"] = 4
    table.to_csv(files[1], index=False)
    with pytest.raises(ValueError, match=r"b.csv: row 3: anna gives .* 4 stars, but 3 in .*a.csv"):
        import_ratings(files, page, tmp_path / "photos")
    (tmp_path / "photos" / table.loc[4, "image"]).write_bytes(b"another")
    with pytest.raises(ValueError, match=r"a.csv: row 5: .* has changed since"):
        import_ratings(files[:1], page, tmp_path / "photos")
    (tmp_path / "photos" / table.loc[0, "image"]).unlink()
    with pytest.raises(FileNotFoundError, match=r"a.csv: row 1: .* does not exist"):
        import_ratings(files[:1], page, tmp_path / "photos")


def test_a_rater_who_prefers_both(tmp_path: Path) -> None:
    page = rating_page(tmp_path, "pairs")
    files = [votes(page, ["first"], "anna", "a.csv"), votes(page, ["second"], "anna", "b.csv")]
    with pytest.raises(ValueError, match=r"rows 1 and 2: rater anna prefers"):
        import_ratings(files, page, tmp_path / "photos")


def test_other_files_are_refused(tmp_path: Path) -> None:
    page = rating_page(tmp_path, "stars")
    (tmp_path / "a.csv").write_text("image,mos\na,1\n")
    with pytest.raises(ValueError, match=r"a.csv: no column page, rater"):
        import_ratings([tmp_path / "a.csv"], page, tmp_path / "photos")
    (tmp_path / "other.html").write_text("<html></html>")
    with pytest.raises(ValueError, match="not a page of 'clipiqa rate suggest'"):
        import_ratings([tmp_path / "a.csv"], tmp_path / "other.html", tmp_path)
