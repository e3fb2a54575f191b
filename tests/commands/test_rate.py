"""``clipiqa rate``: from a folder and two seeds to a page, and from its CSV to a table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.commands.main import main
from clipiqa_plus.prompts.ensembles import combine_prompts
from clipiqa_plus.prompts.files import save_prompts
from clipiqa_plus.prompts.sources import ContextPrompts
from tests.support.models import write_weights
from tests.support.rating_page import task_of


@pytest.fixture
def seeds(tmp_path: Path, make_picture: Callable[..., Path]) -> list[str]:
    """Two prompt files, and twelve pictures below ``photos``."""
    clip = FrozenCLIP.from_name(str(write_weights(tmp_path / "small.safetensors")))
    files = []
    for seed in range(2):
        prompts = ContextPrompts(clip)
        with torch.no_grad():
            prompts.ctx.normal_(generator=torch.Generator().manual_seed(seed))
        prompts.steps += 1
        path = tmp_path / f"seed{seed}" / "prompts.safetensors"
        files.append(str(save_prompts(path, prompts, clip, reduction="mean")))
    for i in range(12):
        make_picture(tmp_path / "photos" / f"{i}.png", seed=i)
    return files


def suggested(tmp_path: Path, prompts: list[str], *options: str) -> list[str]:
    named = [
        "--backbone",
        str(tmp_path / "small.safetensors"),
        "--out",
        str(tmp_path / "rate.html"),
    ]
    folder = str(tmp_path / "photos")
    return ["rate", "suggest", folder, "--prompts", *prompts, *named, "--device", "cpu", *options]


@pytest.mark.parametrize("kind", ["stars", "pairs"])
def test_from_a_folder_to_a_table(
    tmp_path: Path, seeds: list[str], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(suggested(tmp_path, seeds, "--kind", kind, "--count", "3")) == 0
    assert "by 2 members" in capsys.readouterr().out
    page = tmp_path / "rate.html"
    task = task_of(page)
    assert 1 <= len(task["items"]) <= 3
    rows = []
    for item in task["items"]:
        sides = ["image"] if kind == "stars" else ["first", "second"]
        row = {"page": task["id"], "rater": "anna", "stars": 4, "vote": "first"}
        for side, at in zip(sides, item, strict=True):
            picture = task["pictures"][at]
            row |= {side: picture["name"], f"{side}_sha256": picture["sha256"]}
        rows.append(row)
    pd.DataFrame(rows).to_csv(tmp_path / "saved.csv", index=False)
    folder, out = str(tmp_path / "photos"), str(tmp_path / "ratings.csv")
    command = ["rate", "import", str(tmp_path / "saved.csv"), "--page", str(page)]
    assert main([*command, "--root", folder, "--out", out]) == 0
    assert "next: clipiqa train --config" in capsys.readouterr().out
    assert len(pd.read_csv(out)) == len(task["items"])
    assert main([*command, "--root", folder, "--out", out]) == 1
    assert "--overwrite replaces it" in capsys.readouterr().err


@pytest.mark.slow
def test_an_ensemble_has_members_of_its_own(
    tmp_path: Path, seeds: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    both = str(combine_prompts(seeds, tmp_path / "both.safetensors"))
    assert main(suggested(tmp_path, [both])) == 0
    assert "by 2 members" in capsys.readouterr().out
    alone = task_of(tmp_path / "rate.html")["id"]
    assert main(suggested(tmp_path, seeds, "--overwrite")) == 0
    assert task_of(tmp_path / "rate.html")["id"] == alone


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("one", "a single prompt cannot disagree with itself"),
        ("exists", "--overwrite replaces it"),
        ("none", "0 pictures; choose at least 1"),
        ("folder", "no such folder"),
    ],
)
def test_bad_input(
    tmp_path: Path, seeds: list[str], change: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options: list[str] = []
    if change == "exists":
        (tmp_path / "rate.html").write_text("")
    if change == "none":
        options = ["--count", "0"]
    if change == "folder":
        (tmp_path / "photos").rename(tmp_path / "elsewhere")
    prompts = seeds[:1] if change == "one" else seeds
    assert main(suggested(tmp_path, prompts, *options)) == 1
    told = capsys.readouterr().err
    assert message in told
    assert "encoding" not in told
    assert change == "exists" or not (tmp_path / "rate.html").exists()
