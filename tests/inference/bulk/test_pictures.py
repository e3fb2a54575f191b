"""The limit of a picture's size: nothing above it is scored silently."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clipiqa_plus.commands.main import main
from clipiqa_plus.inference.bulk import SizeLimit, score_files
from clipiqa_plus.inference.bulk.pictures import Picture, decode
from clipiqa_plus.inference.scorer import Scorer, load
from clipiqa_plus.report.gallery import write_gallery
from tests.support.models import small_clip


@pytest.fixture
def pair(tmp_path: Path, make_picture: Callable[..., Path]) -> Path:
    make_picture(tmp_path / "in/large.png", 120, 90)
    make_picture(tmp_path / "in/small.png", 60, 50)
    return tmp_path / "in"


def test_larger_pictures_are_failures_that_say_so(
    pair: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s.csv"
    arguments = ["score", str(pair), "--backbone", "demo", "--out", str(out)]
    assert main([*arguments, "--max-pixels", "3000", "--oversize", "error"]) == 1
    assert list(pd.read_csv(out)["image"]) == [str(pair / "small.png")]
    failed = pd.read_csv(tmp_path / "s.failed.csv")
    assert list(failed["reason"]) == ["120x90 pixels; the limit is 3000"]
    settings = json.loads((tmp_path / "s.csv.json").read_text())
    assert (settings["max_pixels"], settings["oversize"]) == (3000, "error")
    capsys.readouterr()
    assert main(arguments) == 1  # another limit would mix scores of two kinds
    assert "max_pixels: 3000 in the file, None now" in capsys.readouterr().err


@pytest.mark.slow
def test_larger_pictures_are_scored_in_tiles_by_default(
    tmp_path: Path, make_picture: Callable[..., Path], scorer: Scorer
) -> None:
    make_picture(tmp_path / "in/large.png", 520, 390)
    expected = float(scorer(str(tmp_path / "in/large.png")))
    limit = SizeLimit(3000)
    before = scorer.backbone.piece_pixels
    try:
        score_files(scorer, [str(tmp_path / "in")], tmp_path / "s.csv", limit=limit)
        assert scorer.backbone.piece_pixels == 3000
    finally:
        scorer.backbone.piece_pixels = before
    table = pd.read_csv(tmp_path / "s.csv")
    assert list(table["score"]) == pytest.approx([expected], abs=1e-5)
    assert "resized_from" not in table
    settings = json.loads((tmp_path / "s.csv.json").read_text())
    assert (settings["max_pixels"], settings["oversize"]) == (3000, "tile")


def test_a_vit_lists_them_with_the_remedy(pair: Path, tmp_path: Path) -> None:
    vit = load(backbone=small_clip(vit=True))
    score_files(vit, [str(pair)], tmp_path / "s.csv", limit=SizeLimit(5000))
    failed = pd.read_csv(tmp_path / "s.failed.csv")
    assert list(failed["reason"]) == [
        "120x90 pixels; the limit is 5000, and a ViT has no tiles: --oversize resize, or a higher "
        "--max-pixels"
    ]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_larger_pictures_are_resized_and_marked(
    pair: Path, tmp_path: Path, scorer: Scorer, suffix: str
) -> None:
    limit = SizeLimit(3000, "resize")
    score_files(scorer, [str(pair)], tmp_path / f"s{suffix}", limit=limit)
    out = tmp_path / f"s{suffix}"
    table = (pd.read_csv(out) if suffix == ".csv" else pd.read_parquet(out)).fillna("")
    assert list(table["resized_from"]) == ["120x90", ""]
    smaller = Image.open(pair / "large.png").resize((63, 47), Image.Resampling.BICUBIC)
    # 63x47 is the largest size of 4:3 within 3000 pixels; by itself, not in a batch of two.
    expected = [float(scorer(smaller)), float(scorer(str(pair / "small.png")))]
    assert list(table["score"]) == pytest.approx(expected, abs=1e-6)
    settings = json.loads((tmp_path / f"s{suffix}.json").read_text())
    assert (settings["max_pixels"], settings["oversize"]) == (3000, "resize")
    page = write_gallery(tmp_path / "g.html", out, scorer.names, settings).read_text()
    assert "resized before scoring: pictures above 3,000 pixels" in page


def test_without_a_limit_nothing_is_added(pair: Path, tmp_path: Path, scorer: Scorer) -> None:
    score_files(scorer, [str(pair)], tmp_path / "s.csv")
    assert "resized_from" not in pd.read_csv(tmp_path / "s.csv")
    assert "max_pixels" not in json.loads((tmp_path / "s.csv.json").read_text())


def test_a_decompression_bomb_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)
    decoded = decode(Picture("bomb.png", str(tmp_path / "bomb.png")), 1)
    assert decoded.image is None
    assert "exceeds limit of 1400 pixels" in decoded.reason


@pytest.mark.parametrize(
    ("pixels", "oversize", "message"),
    [
        (None, "resize", "give max_pixels"),
        (None, "error", "give max_pixels"),
        (0, "error", "give 1 to"),
        (10**9, "error", "give 1 to 178956970"),
        (1000, "shrink", "give tile, error, resize"),
    ],
)
def test_limits_that_make_no_sense(pixels: int | None, oversize: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SizeLimit(pixels, oversize)  # type: ignore[arg-type]
