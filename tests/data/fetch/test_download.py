import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipiqa_plus.data.fetch import download as module
from clipiqa_plus.data.fetch.download import download, sha256_of
from tests.support.mirror_server import Mirror, serve

CONTENT = random.Random(0).randbytes(200_003)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve(CONTENT) as server:
        yield server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "file.bin"


def part_of(target: Path, content: bytes) -> Path:
    part = target.with_name("file.bin.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(content)
    return part


def test_sha256_of_is_the_published_test_vector(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "abc") == expected


def test_download_fetches_once(mirror: Mirror, target: Path) -> None:
    assert download([mirror.url()], SHA256, target) == target
    assert target.read_bytes() == CONTENT
    assert not target.with_name("file.bin.part").exists()
    download([mirror.url()], SHA256, target)
    assert mirror.requests == [("good", None)]


def test_broken_connections_are_resumed_where_they_broke(mirror: Mirror, target: Path) -> None:
    download([mirror.url("cut")], SHA256, target)
    assert target.read_bytes() == CONTENT
    (_, first), (_, second), (_, third), *_ = mirror.requests
    assert first is None
    # The mirror sends half of the rest each time: 200,003 -> 100,001 + 50,001 + ...
    assert (second, third) == ("bytes=100001-", "bytes=150002-")


def test_part_of_an_earlier_run_is_resumed(mirror: Mirror, target: Path) -> None:
    part_of(target, CONTENT[:1234])
    download([mirror.url()], SHA256, target)
    assert target.read_bytes() == CONTENT
    assert mirror.requests == [("good", "bytes=1234-")]


def test_mirror_that_ignores_ranges_starts_over(mirror: Mirror, target: Path) -> None:
    part_of(target, CONTENT[:1234])
    download([mirror.url("norange")], SHA256, target)
    assert target.read_bytes() == CONTENT
    assert len(mirror.requests) == 1


@pytest.mark.parametrize(
    "leftover", [CONTENT + b"more", bytes(len(CONTENT)), bytes(1000), b""], ids=len
)
def test_wrong_part_does_no_harm(mirror: Mirror, target: Path, leftover: bytes) -> None:
    part_of(target, leftover)
    download([mirror.url()], SHA256, target)
    assert target.read_bytes() == CONTENT
    assert len(mirror.requests) <= 2


def test_whole_part_is_used_as_it_is(mirror: Mirror, target: Path) -> None:
    part_of(target, CONTENT)
    download([mirror.url()], SHA256, target)
    assert target.read_bytes() == CONTENT
    assert mirror.requests == [("good", f"bytes={len(CONTENT)}-")]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["absent", "wrong", "page", "wrong-cut", "norange-cut", "stall"])
@pytest.mark.parametrize("leftover", [b"", CONTENT[:1234]], ids=["fresh", "resumed"])
def test_next_mirror_takes_over(
    mirror: Mirror, target: Path, fault: str, leftover: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    if leftover:
        part_of(target, leftover)
    started = time.monotonic()
    download([mirror.url(fault), mirror.url()], SHA256, target)
    assert time.monotonic() - started < 20  # the stalled mirror would hold the line for 30 s
    assert target.read_bytes() == CONTENT
    assert {fault for fault, _ in mirror.requests} == {fault, "good"}


def test_web_page_does_not_cost_the_part(mirror: Mirror, target: Path) -> None:
    part_of(target, CONTENT[:1234])
    download([mirror.url("page"), mirror.url()], SHA256, target)
    assert mirror.requests[-1] == ("good", "bytes=1234-")


def test_failure_tells_everything_and_leaves_nothing_whole(mirror: Mirror, target: Path) -> None:
    with serve(CONTENT) as gone:
        pass  # its port now refuses connections
    urls = [mirror.url("wrong"), mirror.url("page"), gone.url(), mirror.url("absent")]
    with pytest.raises(FileNotFoundError) as caught:
        download(urls, SHA256, target, size=len(CONTENT), remedy="or ask a friend.")
    message = str(caught.value)
    for fact in [*urls, SHA256, str(target), "file.bin (200,003 bytes)", "or ask a friend."]:
        assert fact in message
    assert "a different file" in message
    assert "web page" in message
    assert "refused" in message
    assert message.count("HTTP Error 404") == 1  # a port may hold these digits too
    assert getattr(caught.value.__cause__, "code", None) == 404  # the last mirror's own error
    assert not target.exists()
    assert not target.with_name("file.bin.part").exists()  # it held the wrong mirror's bytes


def test_wrong_file_in_place_is_replaced_only_by_the_right_one(
    mirror: Mirror, target: Path
) -> None:
    target.parent.mkdir()
    target.write_bytes(b"mine")
    with pytest.raises(FileNotFoundError):
        download([mirror.url("absent")], SHA256, target)
    assert target.read_bytes() == b"mine"
    download([mirror.url()], SHA256, target)
    assert target.read_bytes() == CONTENT


def test_interrupted_run_is_resumed(
    mirror: Mirror, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(path: Path) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "sha256_of", interrupt)
        with pytest.raises(KeyboardInterrupt):
            download([mirror.url()], SHA256, target)
    assert not target.exists()
    download([mirror.url()], SHA256, target)  # would hang if the lock were still held
    assert target.read_bytes() == CONTENT


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file, not a folder")
    with pytest.raises(PermissionError, match=r"cache cannot be written.*Take another\."):
        download([], SHA256, tmp_path / "cache" / "file.bin", remedy="Take another.")


@pytest.mark.slow
def test_two_processes_download_once(mirror: Mirror, target: Path) -> None:
    mirror.pause = 2.0  # the second process arrives while the first is half-way
    code = (
        "import sys, pathlib; from clipiqa_plus.data.fetch.download import download; "
        "download([sys.argv[1]], sys.argv[2], pathlib.Path(sys.argv[3]))"
    )
    command = [sys.executable, "-c", code, mirror.url(), SHA256, str(target)]
    root = Path(module.__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": str(root)}
    processes = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    assert target.read_bytes() == CONTENT
    assert mirror.requests == [("good", None)]
