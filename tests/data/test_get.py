"""Fetching a data set whole or not at all."""

import contextlib
import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from clipiqa_plus.data.benchmarks import BENCHMARKS, CLIVE, CSIQ, KADID10k
from clipiqa_plus.data.fetch import git
from clipiqa_plus.data.fetch.sources import Archive, GitRepository
from clipiqa_plus.data.get import get
from tests.support.benchmark_files import zipped
from tests.support.mirror_server import serve
from tests.support.small_biq2021 import FILES, small

__all__ = ["small"]


def fetch_alone(root: Path) -> None:
    """Fetch in a process group of its own, which can be killed together with its git."""
    os.setsid()
    git.BATCH = 3
    get("biq2021", root)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.mark.slow
def test_a_repository_becomes_the_layout_that_check_expects(small, tmp_path: Path) -> None:
    result = get("biq2021", tmp_path / "data/biq2021")
    assert result.ok
    assert result.parts == {"train": 18, "val": 2, "test": 2}
    assert files_of(tmp_path / "data/biq2021") == FILES
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["biq2021"]
    shutil.rmtree(tmp_path / "server")
    assert get("biq2021", tmp_path / "data/biq2021").ok  # nothing is fetched twice


@pytest.mark.slow
def test_killed_at_any_moment_it_resumes(small, tmp_path: Path) -> None:
    root = tmp_path / "data" / "biq2021"
    moments = random.Random(0)
    kills = 0
    for _ in range(10):
        process = multiprocessing.get_context("fork").Process(target=fetch_alone, args=(root,))
        process.start()
        time.sleep(moments.uniform(0.02, 0.3))
        if process.is_alive():
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.join()
        with contextlib.suppress(ProcessLookupError):  # its git processes die a moment later
            while True:
                os.killpg(process.pid, 0)
                time.sleep(0.01)
        assert not root.exists() or files_of(root) == FILES  # never half of it
    assert kills > 0
    assert get("biq2021", root).ok
    assert files_of(root) == FILES


def test_an_archive_is_checked_unpacked_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(KADID10k, "count", 2)
    rows = "dist_img,ref_img,dmos,var\nI01_01_01.png,I01.png,3,0.5\nI02_01_01.png,I02.png,4,0.5\n"
    files = {"kadid10k/dmos.csv": rows.encode(), "kadid10k/images/I01_01_01.png": b"a"}
    whole = files | {"kadid10k/images/I02_01_01.png": b"b"}
    content = zipped(tmp_path / "kadid10k.zip", whole).read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    with serve(content) as server:
        for fault, size in (("good", len(content)), ("cut", None)):
            archive = Archive(server.url(fault, "kadid10k.zip"), size, sha256)
            monkeypatch.setattr(KADID10k, "fetch_from", (archive,))
            assert get("kadid10k", tmp_path / fault).ok
            assert files_of(tmp_path / fault) == whole
        # A wrong checksum keeps nothing.
        archive = Archive(server.url("wrong", "kadid10k.zip"), None, sha256)
        monkeypatch.setattr(KADID10k, "fetch_from", (archive,))
        with pytest.raises(FileNotFoundError, match="it sent a different file: its SHA-256 is"):
            get("kadid10k", tmp_path / "wrong")
        assert not (tmp_path / "wrong").exists()
        left = [name for name in files_of(tmp_path / "wrong.part") if "lock" not in name]
        assert left == []
        # Without a published hash a damaged archive is found by its own.
        archive = Archive(server.url("wrong", "kadid10k.zip"))
        monkeypatch.setattr(KADID10k, "fetch_from", (archive,))
        with pytest.raises(ValueError, match="damaged archive"):
            get("kadid10k", tmp_path / "wrong")
    half = zipped(tmp_path / "half.zip", files).read_bytes()
    with serve(half) as server:  # the archive at the address was changed
        monkeypatch.setattr(KADID10k, "fetch_from", (Archive(server.url("good", "k.zip")),))
        with pytest.raises(ValueError, match=r"is incomplete: .*1 of 2 pictures are"):
            get("kadid10k", tmp_path / "half")
        assert not (tmp_path / "half").exists()


def test_a_single_file_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve(b"no workbook") as server:
        monkeypatch.setattr(CSIQ, "fetch_from", (Archive(server.url(path="csiq.DMOS.xlsx")),))
        with pytest.raises(ValueError, match="not the expected workbook"):
            get("csiq", tmp_path / "csiq")
        assert (tmp_path / "csiq.part" / "csiq.DMOS.xlsx").read_bytes() == b"no workbook"


def test_half_a_data_set_is_left_alone(small, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"not empty and not the complete data set .*--root"):
        get("biq2021", tmp_path / "data")
    assert files_of(tmp_path / "data") == {"notes.txt": b"mine"}


def test_a_full_disk_is_seen_before_anything_is_fetched(
    small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=19_999))
    with pytest.raises(OSError, match=r"needs 0\.0 GB, but only 0\.0 GB are free; free some"):
        get("biq2021", tmp_path / "data")
    assert files_of(tmp_path / "data.part") == {}


def test_sets_behind_a_form_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cannot be downloaded automatically\. Ask for"):
        get("clive", tmp_path / "clive")
    assert CLIVE.fetch_from == ()


def test_every_address_is_complete() -> None:
    for benchmark in BENCHMARKS.values():
        for source in benchmark.fetch_from:
            assert source.url.startswith("https://")
            if isinstance(source, GitRepository):
                assert len(source.commit) == 40
