"""Tar shards: the pictures of a folder of the same content; what is damaged is told."""

from __future__ import annotations

import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from clipiqa_plus.inference.bulk import score_files
from clipiqa_plus.inference.bulk.inputs import find_pictures, picture_named
from clipiqa_plus.inference.bulk.shards import members
from clipiqa_plus.inference.scorer import Scorer
from clipiqa_plus.report.gallery import write_gallery


def contents(folder: Path) -> list[tuple[str, bytes]]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return [(str(p.relative_to(folder)), p.read_bytes()) for p in files]


def all_members(shard: Path, compression: str = "") -> list[tarfile.TarInfo]:
    with tarfile.open(shard, f"r:{compression}") as archive:  # type: ignore[call-overload]
        return archive.getmembers()


@pytest.mark.parametrize(
    ("suffix", "compression"), [(".tar", ""), (".tar.gz", "gz"), (".tgz", "gz")]
)
def test_a_shard_scores_as_its_folder(
    folder: Path,
    scorer: Scorer,
    tmp_path: Path,
    make_shard: Callable[..., Path],
    suffix: str,
    compression: str,
) -> None:
    files = [*contents(folder), ("0007.cls", b"3"), ("0007.json", b"{}")]
    shard = make_shard(tmp_path / f"shards/s-000{suffix}", files, compression)
    score_files(scorer, [str(shard.parent)], tmp_path / "shard.csv", batch_size=4)
    score_files(scorer, [str(folder)], tmp_path / "folder.csv", batch_size=4)
    from_shard = pd.read_csv(tmp_path / "shard.csv")
    from_folder = pd.read_csv(tmp_path / "folder.csv").set_index("image")["score"]
    pictures = [name for name, _ in files if name.lower().endswith(".png") and "._" not in name]
    assert list(from_shard["image"]) == [f"{shard}/{name}" for name in pictures]
    expected = [from_folder[str(folder / name)] for name in pictures]
    # Batches differ: fp32 sums in another order.
    torch.testing.assert_close(
        torch.tensor(from_shard["score"]), torch.tensor(expected), atol=1e-6, rtol=0
    )


def test_a_shard_of_gnu_tar(folder: Path, tmp_path: Path) -> None:
    shard = tmp_path / "gnu.tar"
    (folder / ("long" * 40 + ".png")).hardlink_to(folder / "00.png")
    subprocess.run(["tar", "-cf", shard, "-C", folder, "--sort=name", "."], check=True)
    pictures = list(members(str(shard)))
    assert len(pictures) == 12
    linked = [picture for picture in pictures if picture.flaw]
    assert [picture.flaw for picture in linked] == ["a link or device in the shard, not a file"]
    for picture in pictures:
        if not picture.flaw:
            original = folder / picture.name.removeprefix(f"{shard}/")
            assert picture.open().read() == original.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["", "gz"])
def test_damage_is_listed_once_and_the_rest_is_scored(
    folder: Path,
    scorer: Scorer,
    tmp_path: Path,
    make_shard: Callable[..., Path],
    compression: str,
) -> None:
    files = [(f"{i}.png", (folder / "00.png").read_bytes()) for i in range(4)]
    files[1] = ("1.png", b"no picture")
    suffix = ".tar.gz" if compression else ".tar"
    whole = make_shard(tmp_path / f"in/b{suffix}", files, compression)
    cut = make_shard(tmp_path / f"in/a{suffix}", files, compression)
    end = all_members(cut, compression)[2].offset_data + 700
    if compression:
        end = cut.stat().st_size * 2 // 3
    cut.write_bytes(cut.read_bytes()[:end])
    (tmp_path / f"in/c{suffix}").write_bytes(b"no shard")
    (tmp_path / f"in/d{suffix}").write_bytes(b"")
    done = score_files(scorer, [str(tmp_path / "in")], tmp_path / "s.csv", batch_size=3)
    failed = pd.read_csv(tmp_path / "s.failed.csv").set_index("image")["reason"]
    for name in "acd":
        reason = failed[str(tmp_path / f"in/{name}{suffix}")]
        assert reason.startswith("damaged shard, read up to the damage (")
    assert failed[f"{whole}/1.png"].startswith("not a readable image")
    scored = list(pd.read_csv(tmp_path / "s.csv")["image"])
    assert scored[-3:] == [f"{whole}/{i}.png" for i in (0, 2, 3)]
    assert done.scored + done.failed == len(scored) + len(failed)
    again = score_files(scorer, [str(tmp_path / "in")], tmp_path / "s.csv", batch_size=3)
    assert (again.scored, again.failed) == (done.scored, done.failed)
    assert again.earlier == done.scored + done.failed


def test_a_picture_cut_by_the_end_of_its_shard(
    folder: Path, tmp_path: Path, make_shard: Callable[..., Path], scorer: Scorer
) -> None:
    data = (folder / "00.png").read_bytes()
    shard = make_shard(tmp_path / "s.tar", [("0.png", data), ("1.png", data)])
    shard.write_bytes(shard.read_bytes()[: all_members(shard)[1].offset_data + 100])
    score_files(scorer, [str(shard)], tmp_path / "s.csv")
    failed = pd.read_csv(tmp_path / "s.failed.csv")
    assert list(failed["image"]) == [f"{shard}/1.png", str(shard)]
    assert "the shard is truncated" in failed["reason"][0]


@pytest.mark.parametrize("damage", ["header", "end"])
def test_what_tarfile_takes_for_the_end_is_damage(
    folder: Path, tmp_path: Path, make_shard: Callable[..., Path], damage: str
) -> None:
    data = (folder / "00.png").read_bytes()
    shard = make_shard(tmp_path / "s.tar", [(f"{i}.png", data) for i in range(3)])
    header = all_members(shard)[1].offset
    whole = bytearray(shard.read_bytes())
    whole[header] ^= 1
    shard.write_bytes(whole if damage == "header" else whole[:header])
    assert len(all_members(shard)) == 1  # it says nothing
    first, flaw = members(str(shard))
    assert first.name == f"{shard}/0.png"
    assert f"at byte {header}" in flaw.flaw


@pytest.mark.slow
def test_listing_a_shard_takes_constant_memory(
    tmp_path: Path, make_shard: Callable[..., Path]
) -> None:
    shard = make_shard(tmp_path / "s.tar", [(f"{i}.png", b"") for i in range(5000)])
    tracemalloc.start()
    count = sum(1 for _ in find_pictures([str(shard)]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 5000
    assert peak < 500_000  # tarfile's own list of them takes some 5 MB


def test_the_gallery_finds_pictures_in_shards(
    folder: Path, scorer: Scorer, tmp_path: Path, make_shard: Callable[..., Path]
) -> None:
    data = (folder / "00.png").read_bytes()
    shard = make_shard(tmp_path / "a.tar/b.tar", [("x/0.png", data), ("1.png", data)])
    score_files(scorer, [str(shard)], tmp_path / "s.csv")
    page = write_gallery(tmp_path / "g.html", tmp_path / "s.csv", scorer.names, scorer.settings)
    assert page.read_text().count("data:image/jpeg;base64,") == 2
    assert picture_named(f"{shard}/2.png") is None
    assert picture_named(str(tmp_path / "none.png")) is None
