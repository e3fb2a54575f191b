"""Fetching a commit from a repository on this computer that serves like a public host."""

from pathlib import Path

import pytest

from clipiqa_plus.data.fetch import git as module
from clipiqa_plus.data.fetch.git import fetch_commit
from clipiqa_plus.data.fetch.sources import GitRepository
from tests.support.git_server import repository

FILES = {f"Images/a ({n}) [x].jpg": bytes([n]) * 50 for n in range(7)} | {"scores.csv": b"1,2"}


@pytest.fixture
def source(tmp_path: Path) -> GitRepository:
    url, commit = repository(tmp_path / "server", {**FILES, "train.m": b"code"})
    return GitRepository(url, commit, ("Images", "scores.csv"))


def test_wanted_files_arrive_and_nothing_else(source: GitRepository, tmp_path: Path) -> None:
    fetch_commit(source, tmp_path / "data")
    here = {p.relative_to(tmp_path / "data").as_posix(): p for p in (tmp_path / "data").rglob("*")}
    assert {name: p.read_bytes() for name, p in here.items() if p.is_file()} == FILES


def test_a_stopped_fetch_asks_only_for_what_is_missing(
    source: GitRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    calls: list[tuple[str, ...]] = []
    git = module._git

    def counting(source: GitRepository, folder: Path, *arguments: str) -> str:
        if arguments[0] == "checkout":
            calls.append(arguments[3:])
            if len(calls) == 3:
                raise KeyboardInterrupt
        return git(source, folder, *arguments)

    monkeypatch.setattr(module, "_git", counting)
    with pytest.raises(KeyboardInterrupt):
        fetch_commit(source, tmp_path / "data")
    (tmp_path / "data" / ".git" / "index.lock").touch()  # as a killed git leaves it
    changed = tmp_path / "data" / calls[0][0]
    changed.write_bytes(b"half")
    fetch_commit(source, tmp_path / "data")
    asked = [name for names in calls[3:] for name in names]
    assert sorted(asked) == sorted({*FILES} - {*calls[0], *calls[1]} | {calls[0][0]})
    assert changed.read_bytes() == FILES[calls[0][0]]


def test_defects_are_one_error(source: GitRepository, tmp_path: Path) -> None:
    gone = GitRepository((tmp_path / "nowhere").as_uri(), source.commit)
    with pytest.raises(FileNotFoundError, match=r"nowhere .*git fetch failed: .*run the same"):
        fetch_commit(gone, tmp_path / "a")
    other = GitRepository(source.url, "0" * 40)
    with pytest.raises(FileNotFoundError, match=r"commit 0000000000.*git fetch failed"):
        fetch_commit(other, tmp_path / "b")


def test_git_must_be_there(
    source: GitRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="git is not installed"):
        fetch_commit(source, tmp_path / "data")
