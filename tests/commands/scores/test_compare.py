"""clipiqa compare: two folders of the same pictures, end to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter

import clipiqa_plus as ciq
from clipiqa_plus.commands.main import main

N = 8


@pytest.fixture
def sides(tmp_path: Path, make_picture: Callable[..., Path]) -> tuple[Path, Path]:
    """A folder of pictures, and the same blurred, as PNG and as JPEG."""
    before, after = tmp_path / "before", tmp_path / "after"
    after.mkdir()
    for i in range(N):
        path = make_picture(before / f"{i}.png", seed=i)
        with Image.open(path) as image:
            blurred = image.filter(ImageFilter.GaussianBlur(2 if i else 0))
            blurred.save(after / f"{i}.{'jpg' if i % 2 else 'png'}")
    return before, after


@pytest.mark.slow
def test_two_folders_compared(
    sides: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = map(str, sides)
    out = tmp_path / "out"
    command = ["compare", before, after, "--backbone", "demo", "--out", str(out)]
    command += ["--device", "cpu", "--workers", "1"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    pictures, summary = pd.read_csv(out / "pictures.csv"), pd.read_csv(out / "summary.csv")
    assert len(pictures) == N
    row, name = summary.iloc[0], summary["score"][0]
    for side in ("before", "after"):
        alone = [ciq.score(path, backbone="demo") for path in pictures[side]]
        # A batch sums in another order; 100 x cosine amplifies it.
        np.testing.assert_allclose(pictures[f"{name}_{side}"], alone, atol=1e-5)
    change = pictures[f"{name}_after"] - pictures[f"{name}_before"]
    np.testing.assert_allclose(pictures[f"{name}_difference"], change, atol=1e-12)
    assert row["difference"] == pytest.approx(change.mean())
    assert row["win_rate"] == pytest.approx(((change > 0) + (change == 0) / 2).mean())
    assert row["ties"] == 1  # picture 0 is unchanged
    record = json.loads((out / "comparison.json").read_text())
    assert record["left_out"] == 0
    assert (record["settings"]["before"], record["settings"]["preset"]) == (before, "clipiqa")
    assert f"{name}: after is" in printed
    page = (out / "report.html").read_text()
    assert "http://" not in page
    assert "https://" not in page
    assert page.count('class="slider"') == N - 1
    assert main(command) == 1
    assert "a finished comparison; replace it with --overwrite" in capsys.readouterr().err
    (out / "mine.txt").touch()
    assert main([*command, "--overwrite"]) == 0
    assert (out / "mine.txt").exists()


def test_pictures_that_do_not_match_are_listed(
    sides: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = sides
    (after / "0.png").unlink()
    (after / "2.png").write_bytes(b"damaged")
    (after / "new.png").write_bytes((after / "4.png").read_bytes())
    out = tmp_path / "out"
    command = ["compare", str(before), str(after), "--backbone", "demo", "--out", str(out)]
    assert main([*command, "--device", "cpu", "--workers", "1"]) == 1
    told = capsys.readouterr().err
    assert f"3 pictures left out, see {out}/left_out.csv" in told
    for path, reason in (
        (before / "0.png", "in one folder only"),
        (after / "new.png", "in one folder only"),
        (after / "2.png", "not a readable image"),
    ):
        assert f"{path}: {reason}" in told
    left_out = pd.read_csv(out / "left_out.csv")
    assert len(left_out) == 3
    assert pd.read_csv(out / "pictures.csv")["picture"].tolist() == [1, 3, 4, 5, 6, 7]
