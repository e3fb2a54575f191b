"""Scores of many files: complete, in order, once each, whatever happens meanwhile."""

from __future__ import annotations

import html
import io
import json
import multiprocessing
import os
import random
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.commands.main import main
from clipiqa_plus.inference.bulk import score_files
from clipiqa_plus.inference.bulk.inputs import find_pictures
from clipiqa_plus.inference.scorer import Scorer, load
from clipiqa_plus.prompts.scales import PAIRS
from clipiqa_plus.report.gallery import write_gallery
from tests.support.score_files import read
from tests.support.scoring_process import load_small, run


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_scores_are_the_scorers_in_order(
    folder: Path, scorer: Scorer, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"scores{suffix}"
    done = score_files(scorer, [str(folder)], out, batch_size=4)
    assert (done.scored, done.failed, done.earlier) == (11, 0, 0)
    table = read(out)
    expected = sorted(p for p in folder.rglob("*") if p.suffix.lower() == ".png")
    expected = [p for p in expected if not p.name.startswith(".")]
    assert sorted(table["image"]) == [str(p) for p in expected]
    assert list(table["image"]) == [p.name for p in find_pictures([str(folder)])]
    scores = scorer(list(table["image"]))[:, 0]
    # Batches differ: fp32 sums in another order.
    torch.testing.assert_close(
        torch.tensor(table["score"], dtype=torch.float32), scores, atol=1e-6, rtol=0
    )
    assert set(table["preset"]) == {"clipiqa"}
    assert set(table["backbone"]) == {scorer.backbone.name}
    assert set(table["weights"]) == {scorer.backbone.fingerprint[:12]}
    settings = json.loads((tmp_path / f"scores{suffix}.json").read_text())
    assert settings["weights_sha256"] == scorer.backbone.fingerprint
    if suffix == ".parquet":
        facts = json.loads(pq.read_schema(out).metadata[b"clipiqa_plus"])
        assert facts["pairs"] == [["Good photo.", "Bad photo."]]
        assert not list(tmp_path.glob(".scores*"))


def test_several_scores_have_a_column_each(folder: Path, clip: FrozenCLIP, tmp_path: Path) -> None:
    scorer = load("clipiqa-attributes", backbone=clip)
    score_files(scorer, [str(folder)], tmp_path / "s.csv")
    assert list(read(tmp_path / "s.csv").columns[1:-3]) == list(PAIRS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "place", "devices"),
    [
        (".csv", "", ()),
        (".jsonl", "", ()),
        (".parquet", "", ()),
        (".jsonl", "shards", ()),
        (".csv", "shards", ("cpu", "cpu")),
    ],
)
def test_killed_at_random_moments_every_file_once(
    tmp_path: Path,
    make_picture: Callable[..., Path],
    make_shard: Callable[..., Path],
    suffix: str,
    place: str,
    devices: tuple[str, ...],
) -> None:
    damaged = (0, 7, 8, 33, 59)
    pictures = [make_picture(tmp_path / f"in/{i:03}.png", 40, 40, i) for i in range(60)]
    for index in damaged:
        pictures[index].write_bytes(b"damaged")
    if place:
        files = [(path.name, path.read_bytes()) for path in pictures]
        shards = [make_shard(tmp_path / f"shards/{i}.tar", files[i::2]) for i in range(2)]
        names = [
            f"{shard}/{path.name}" for i, shard in enumerate(shards) for path in pictures[i::2]
        ]
    else:
        names = [str(path) for path in pictures]
    out = tmp_path / f"scores{suffix}"
    rows = tmp_path / f".{out.name}.jsonl" if suffix == ".parquet" else out
    source = str(tmp_path / (place or "in"))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.scoring_process"])
    moments = random.Random(suffix)
    kills = 0
    for _ in range(1 if devices else 3):  # several processes take seconds to begin
        before = rows.stat().st_size if rows.exists() else 0
        child = context.Process(target=run, args=([source], str(out), devices))
        child.start()
        while child.is_alive() and (rows.stat().st_size if rows.exists() else 0) <= before:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.05))
        child.kill()
        child.join()
        kills += child.exitcode == -9
    assert kills  # else nothing was tested
    if rows.exists():
        with rows.open("ab") as file:
            file.write(b"cut in the mid")
    elif suffix == ".parquet":
        return  # the third run was over before it could be killed
    done = score_files(load_small(), [source], out, batch_size=4)
    assert (done.scored, done.failed) == (55, 5)
    assert done.earlier > 0
    bad = [name for name in names if int(name[-7:-4]) in damaged]
    assert list(pd.read_csv(tmp_path / "scores.failed.csv")["image"]) == bad
    assert list(read(out)["image"]) == [name for name in names if name not in bad]


def test_unreadable_files_are_listed_with_the_reason(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make_picture: Callable[..., Path],
) -> None:
    (folder / "00.png").write_bytes((folder / "00.png").read_bytes()[:60])
    (folder / "03.png").write_bytes(b"")
    make_picture(folder / "tiny.png", 8, 50)
    make_picture(folder / "line\nbreak.png")
    (folder / "b/01.png").unlink()
    out = tmp_path / "scores.csv"
    paths = [str(folder), str(folder / "03.png")]
    arguments = ["score", *paths, "--backbone", "demo", "--out", str(out)]
    assert main(arguments) == 1
    assert "4 not scored, see" in capsys.readouterr().err
    reasons = pd.read_csv(tmp_path / "scores.failed.csv").set_index("image")["reason"]
    assert "not a readable image" in reasons[str(folder / "00.png")]
    assert list(reasons.index).count(str(folder / "03.png")) == 1  # named twice, listed once
    assert reasons[str(folder / "tiny.png")].startswith("8x50 pixels")
    assert "line break" in reasons[f"{folder}/line\\nbreak.png"]
    assert len(read(out)) == 8
    assert main(arguments) == 1  # nothing left to do, and still not all have a score
    assert len(read(out)) == 8


def test_lists_and_globs(
    folder: Path, scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = f"{folder}/b/01.png\n\n{folder}/missing.png\r\n{folder}/00.png\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(os.fsencode(listed))))
    done = score_files(scorer, ["-"], tmp_path / "a.csv")
    assert (done.scored, done.failed) == (2, 1)
    assert "no such file" in (tmp_path / "a.failed.csv").read_text()
    assert [Path(p).name for p in read(tmp_path / "a.csv")["image"]] == ["01.png", "00.png"]
    names = [Path(p.name).name for p in find_pictures([f"{folder}/**/*[02].png"])]
    assert names == ["00.png", "10.png", "02.png"]
    with pytest.raises(FileNotFoundError, match=r"\*\.jpg: no such file or folder"):
        score_files(scorer, [f"{folder}/*.jpg"], tmp_path / "b.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no pictures there"):
        score_files(scorer, [str(tmp_path / "empty")], tmp_path / "b.csv")
    assert not list(tmp_path.glob("b.*"))


def test_resuming_something_else_is_an_error(
    folder: Path, scorer: Scorer, clip: FrozenCLIP, tmp_path: Path
) -> None:
    out = tmp_path / "scores.csv"
    score_files(scorer, [str(folder)], out)
    before = out.read_bytes()
    with pytest.raises(
        ValueError, match=r"other settings \(preset: clipiqa in the file, clipiqa-pyiqa"
    ):
        score_files(load("clipiqa-pyiqa", backbone=clip), [str(folder)], out)
    with pytest.raises(ValueError, match="another list of pictures"):
        score_files(scorer, [f"{folder}/b"], out)
    with pytest.raises(ValueError, match="this list ends where the file has"):
        score_files(scorer, [f"{folder}/00.png"], out)
    assert out.read_bytes() == before
    (tmp_path / "foreign.csv").write_text("image,score\n")
    with pytest.raises(ValueError, match=r"foreign\.csv: exists"):
        score_files(scorer, [str(folder)], tmp_path / "foreign.csv")
    with pytest.raises(ValueError, match=r"scores\.txt: give a name that ends in \.csv"):
        score_files(scorer, [str(folder)], tmp_path / "scores.txt")
    again = load("clipiqa-pyiqa", backbone=clip)
    assert score_files(again, [f"{folder}/b"], out, overwrite=True).earlier == 0
    assert set(read(out)["preset"]) == {"clipiqa-pyiqa"}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_picture_added_at_the_end_is_scored(
    folder: Path, scorer: Scorer, tmp_path: Path, make_picture: Callable[..., Path], suffix: str
) -> None:
    out = tmp_path / f"s{suffix}"
    score_files(scorer, [str(folder)], out)
    first = read(out)
    score_files(scorer, [str(folder)], out)
    pd.testing.assert_frame_equal(read(out), first)  # nothing to do, nothing changed
    make_picture(folder / "zz.png")
    done = score_files(scorer, [str(folder)], out)
    assert (done.scored, done.earlier) == (12, 11)
    pd.testing.assert_frame_equal(read(out)[:11], first)
    assert read(out)["image"][11] == str(folder / "zz.png")


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_repaired_pictures_are_tried_again_and_come_into_their_place(
    folder: Path, scorer: Scorer, tmp_path: Path, suffix: str
) -> None:
    score_files(scorer, [str(folder)], tmp_path / f"whole{suffix}", batch_size=1)
    names = ["00.png", "03.png", "09.png", "b/c/08.png"]  # the first, two in a row, and the last
    whole = {name: (folder / name).read_bytes() for name in names}
    for name in names:
        (folder / name).write_bytes(b"damaged")
    out = tmp_path / f"s{suffix}"
    done = score_files(scorer, [str(folder)], out, batch_size=1)
    assert (done.scored, done.failed) == (7, 4)
    for name in names[1:]:
        (folder / name).write_bytes(whole[name])
    done = score_files(scorer, [str(folder)], out, batch_size=1)
    assert (done.scored, done.failed, done.earlier) == (10, 1, 11)
    expected = read(tmp_path / f"whole{suffix}")
    pd.testing.assert_frame_equal(read(out), expected[1:].reset_index(drop=True))
    assert list(pd.read_csv(tmp_path / "s.failed.csv")["image"]) == [str(folder / "00.png")]
    (folder / "00.png").write_bytes(whole["00.png"])
    done = score_files(scorer, [str(folder)], out, batch_size=1)
    assert (done.scored, done.failed) == (11, 0)
    pd.testing.assert_frame_equal(read(out), expected)
    assert not (tmp_path / "s.failed.csv").exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_gallery_shows_the_best_and_the_worst_first(
    folder: Path, scorer: Scorer, tmp_path: Path, suffix: str
) -> None:
    (folder / "00.png").rename(folder / "<b>0.png")
    out = tmp_path / f"s{suffix}"
    score_files(scorer, [str(folder)], out)
    page = write_gallery(tmp_path / "g.html", out, scorer.names, scorer.settings, most=3)
    text = page.read_text()
    names = [html.unescape(name) for name in re.findall(r'<li data-name="([^"]*)"', text)]
    table = list(read(out).sort_values("score", ascending=False)["image"])
    # The three highest, the fourth, sixth and eighth in between, the three lowest of eleven.
    assert names == [table[i] for i in (0, 1, 2, 3, 5, 7, 8, 9, 10)]
    assert text.count("data:image/jpeg;base64,") == 9
    assert "<b>0.png" not in text
    assert "11 pictures scored by <strong>clipiqa</strong>" in text
    assert "http:" not in text  # it needs no network
    assert "https:" not in text
