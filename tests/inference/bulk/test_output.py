"""Files of scores through crashes between any two steps, full disks and second processes."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from clipiqa_plus.inference.bulk import score_files
from clipiqa_plus.inference.bulk.output import Row, ScoreFile
from clipiqa_plus.inference.scorer import Scorer
from tests.support.score_files import read

SETTINGS = {"preset": "p", "backbone": "b", "weights_sha256": "0" * 64}


class CrashError(BaseException):
    """What nothing in the package catches."""


def crash(monkeypatch: pytest.MonkeyPatch, step: int, after: bool) -> Callable[[], bool]:
    """Let the change of a file's name of that number fail, before or after it is done.

    Returns:
        Whether it came to that.
    """
    steps = 0

    def wrap(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(path: Any, *more: Any, **options: Any) -> Any:
            nonlocal steps
            if str(path).endswith(".lock"):  # the system lets go of it when a process ends
                return change(path, *more, **options)
            steps += 1
            if after or steps != step + 1:
                change(path, *more, **options)
            if steps == step + 1:
                raise CrashError
            return None

        return changed

    monkeypatch.setattr(os, "replace", wrap(os.replace))
    monkeypatch.setattr(Path, "unlink", wrap(Path.unlink))
    return lambda: steps > step


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_crash_at_any_step_of_a_repair_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, after: bool
) -> None:
    pictures = [Row(name, None) for name in "abcde"]  # anything with a name

    def run(out: Path, broken: str) -> None:
        with ScoreFile(out, ["score"], SETTINGS) as file:
            left = iter(pictures)
            again = file.resume(left)
            for picture in [*again, *left]:
                bad = picture.name in broken
                file.record(Row(picture.name, None if bad else [ord(picture.name) / 128]))
            file.finish()

    run(tmp_path / f"s{suffix}", "acd")
    for step in range(20):
        folder = tmp_path / str(step)
        folder.mkdir()
        for path in tmp_path.glob("s*"):
            shutil.copy(path, folder)
        with monkeypatch.context() as patch:
            crashed = crash(patch, step, after)
            with contextlib.suppress(CrashError):
                run(folder / f"s{suffix}", "d")
            reached = crashed()
        run(folder / f"s{suffix}", "d")
        table = read(folder / f"s{suffix}")
        assert list(table["image"]) == list("abce")
        assert list(table["score"]) == pytest.approx([ord(name) / 128 for name in "abce"])
        assert list(pd.read_csv(folder / "s.failed.csv")["image"]) == ["d"]
        assert not list(folder.glob(".*"))
        if not reached:
            break
    assert not reached
    assert step >= (2 if suffix == ".csv" else 4)  # that many changes of names there are


def test_a_second_process_is_refused(folder: Path, scorer: Scorer, tmp_path: Path) -> None:
    out = tmp_path / "out/s.csv"
    with ScoreFile(out, scorer.names, scorer.settings) as first:
        first.record(Row(str(folder / "00.png"), [0.5]))
        with pytest.raises(ValueError, match=r"s\.csv: another process is writing it"):
            score_files(scorer, [str(folder)], out, overwrite=True)
    assert len(read(out)) == 1
    assert score_files(scorer, [str(folder)], out).earlier == 1
    assert sorted(path.name for path in out.parent.iterdir()) == ["s.csv", "s.csv.json"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_full_disk_is_one_error_and_the_run_goes_on_later(
    folder: Path, scorer: Scorer, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"s{suffix}"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # no file grows beyond
    try:
        with pytest.raises(
            OSError, match=r"cannot be written \(.*free some disk space, then run the same command"
        ):
            score_files(scorer, [str(folder)], out, batch_size=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    done = score_files(scorer, [str(folder)], out, batch_size=1)
    assert 0 < done.earlier < 11
    assert len(set(read(out)["image"])) == 11


def test_a_folder_that_cannot_be_written_is_named_with_the_remedy(
    folder: Path, scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"s\.csv: cannot be written .*choose another folder"):
        score_files(scorer, [str(folder)], tmp_path / "file/s.csv")
    (tmp_path / "locked").mkdir(mode=0o500)
    if os.access(tmp_path / "locked", os.W_OK):
        pytest.skip("this user writes everywhere")
    with pytest.raises(PermissionError, match=r"s\.csv: cannot be written .*choose another folder"):
        score_files(scorer, [str(folder)], tmp_path / "locked/s.csv")


@pytest.mark.parametrize("name", ["s.csv", "s.jsonl", "s.parquet", "s.failed.csv", "s.csv.json"])
def test_a_damaged_file_is_named(folder: Path, scorer: Scorer, tmp_path: Path, name: str) -> None:
    out = tmp_path / (name if name.count(".") == 1 else "s.csv")
    (folder / "00.png").write_bytes(b"")
    score_files(scorer, [str(folder)], out)
    (tmp_path / name).write_bytes(b"image\n\n\xff\n")
    with pytest.raises(ValueError, match=rf"{name}: damaged or modified") as caught:
        score_files(scorer, [str(folder)], out)
    assert "--overwrite" in str(caught.value)
