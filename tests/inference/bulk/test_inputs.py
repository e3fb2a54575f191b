"""What is listed: every picture once, under a name that is harmless everywhere."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from clipiqa_plus.inference.bulk import score_files
from clipiqa_plus.inference.bulk.inputs import find_files
from clipiqa_plus.inference.scorer import Scorer
from clipiqa_plus.report.gallery import write_gallery
from tests.support.score_files import read

MakePicture = Callable[..., Path]


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def test_what_several_sources_name_is_listed_once(
    here: Path, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = set(find_files(["."]))
    assert len(whole) == 11
    for sources in (
        [".", "./00.png", str(here), "b", "b/c/../01.png", "**/*.png"],
        ["b/", "./", "b"],
        ["00.png", "00.png", ".", "*.png"],
    ):
        found = list(find_files(sources))
        assert len(found) == 11, sources
        assert {os.path.realpath(path) for path in found} == {os.path.realpath(p) for p in whole}
    listed = f"00.png\n./00.png\n{here}/00.png\nb/01.png\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed.encode())))
    assert list(find_files(["-", "b/01.png", "03.png"])) == ["00.png", "b/01.png", "03.png"]
    # What a folder does not list itself is taken where it is named.
    make_picture(here / "b/.hidden/x.png")
    (here / "b/x.raw").touch()
    named = list(find_files([".", "b/.hidden/x.png", "b/x.raw", "b/.hidden"]))
    assert named[11:] == ["b/.hidden/x.png", "b/x.raw"]
    (here / "linked.png").symlink_to("00.png")  # another name in a folder is another row
    assert len(list(find_files(["."]))) == 12


def test_links_that_lead_in_circles(here: Path, scorer: Scorer, tmp_path: Path) -> None:
    (here / "b/loop").symlink_to(here)
    (here / "self.png").symlink_to("self.png")
    (here / "gone.png").symlink_to("nowhere.png")
    assert len(list(find_files(["**/*.png", "**/*.PNG"]))) == 11
    done = score_files(scorer, ["."], tmp_path / "s.csv")
    assert (done.scored, done.failed) == (11, 2)
    reasons = pd.read_csv(tmp_path / "s.failed.csv").set_index("image")["reason"]
    assert "symbolic links" in reasons["./self.png"]
    assert reasons["./gone.png"] == "no such file"


def test_pipes_and_devices_are_not_waited_for(here: Path, scorer: Scorer, tmp_path: Path) -> None:
    os.mkfifo(here / "pipe.png")
    (here / "zero.png").symlink_to("/dev/zero")
    done = score_files(scorer, [".", "pipe.png"], tmp_path / "s.csv")
    assert (done.scored, done.failed) == (11, 2)
    reasons = set(pd.read_csv(tmp_path / "s.failed.csv")["reason"])
    assert reasons == {"not a readable image (a folder, pipe or device, not a file)"}


NAMES = [
    "=cmd('calc').png",
    "+1.png",
    "-x.png",
    "@SUM(1).png",
    "<script>alert(1)</script>.png".replace("/", "\u2215"),
    '"><img src=x onerror=alert(1)>.png',
    "[bold]x[/bold].png".replace("/", "\u2215"),
    'quote", and comma.png',
    "NA.png",
    " space .png",
    "back\\nslash.png",
    "tab\there.png",
    "\u2028line.png",
    "bell\x07\x1b[31mred.png",
    "é中.png",
]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_names_of_every_kind(
    tmp_path: Path,
    make_picture: MakePicture,
    monkeypatch: pytest.MonkeyPatch,
    scorer: Scorer,
    suffix: str,
) -> None:
    folder = tmp_path / "in"
    for index, name in enumerate(NAMES):
        make_picture(folder / name, 40, 40, index)
    plain = make_picture(tmp_path / "plain.png", 40, 40, 0)
    for bad in (b"not\xffutf8.png", b"line\nbreak.png", b"carriage\rreturn.png"):
        os.link(plain, os.path.join(os.fsencode(folder), bad))
    monkeypatch.chdir(folder)
    listed = sorted(os.listdir("."))
    out = tmp_path / f"s{suffix}"
    sources = [os.path.join(".", name) for name in listed[:5]] + ["*.png"]
    done = score_files(scorer, sources, out)
    assert (done.scored, done.failed) == (len(NAMES), 3)
    if suffix == ".csv":
        with out.open(newline="", encoding="utf-8") as file:
            images = [row["image"] for row in csv.DictReader(file)]
    else:
        images = list(read(out)["image"])
    assert sorted(os.path.normpath(image) for image in images) == sorted(NAMES)
    assert all(Path(image).is_file() for image in images)  # the name is a path still
    assert not [image for image in images if image[0] in "=+-@"]  # no formula to a spreadsheet
    failed = pd.read_csv(tmp_path / "s.failed.csv")
    assert len(failed) == 3
    assert {reason.partition(";")[0] for reason in failed["reason"]} == {
        "the name has a line break or is not UTF-8"
    }
    assert score_files(scorer, sources, out).earlier == len(NAMES) + 3
    page = write_gallery(tmp_path / "g.html", out, scorer.names, scorer.settings).read_text()
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert page.count('<img src="data:image/jpeg') == len(NAMES)


def test_a_name_that_is_nearly_right(here: Path, scorer: Scorer, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"b/01\.pgn: .*Did you mean b/01\.png\?"):
        score_files(scorer, ["b/01.pgn"], tmp_path / "s.csv")
    with pytest.raises(FileNotFoundError, match=r"no file matches it$"):
        score_files(scorer, ["nowhere/at/all"], tmp_path / "s.csv")
