"""Which pictures of two folders belong together."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipiqa_plus.evaluation.before_after.folders import match_folders


def files(folder: Path, *names: str) -> str:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return str(folder)


def test_pictures_are_paired_by_path_whatever_the_ending(tmp_path: Path) -> None:
    before = files(tmp_path / "in", "a.jpg", "x/b.png", "x/only.png", "c.jpg", "c.png", "notes.txt")
    after = files(tmp_path / "out", "a.png", "x/b.png", "y/b.png", "c.jpg", "c.png")
    found = match_folders(before, after)
    assert found.pictures["picture"].tolist() == ["a", "c.jpg", "c.png", "x/b"]
    assert found.pictures["before"].tolist()[0] == f"{before}/a.jpg"
    assert found.pictures["after"].tolist()[0] == f"{after}/a.png"
    assert found.unmatched == [f"{before}/x/only.png", f"{after}/y/b.png"]


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    before, after = files(tmp_path / "in", "a.jpg"), files(tmp_path / "out", "b.jpg")
    with pytest.raises(ValueError, match=r"no picture is in both .*in \(such as a\) .*such as b\)"):
        match_folders(before, after)
    with pytest.raises(ValueError, match="are the same folder"):
        match_folders(before, before)
    with pytest.raises(NotADirectoryError, match="none: no such folder; give two folders"):
        match_folders(before, str(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: no pictures there"):
        match_folders(before, str(tmp_path / "empty"))
