"""Tables of scores whose preset and size are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import clipiqa_plus as ciq
from clipiqa_plus.commands.main import main
from clipiqa_plus.data.images import read_rgb
from clipiqa_plus.data.transforms import resize
from clipiqa_plus.inference.explain import find_in, read_table


@pytest.fixture
def photos(tmp_path: Path, make_picture: Callable[..., Path]) -> Path:
    for i in range(6):
        make_picture(tmp_path / f"photos/{'ab'[i % 2]}/{i}.png", 260 + 20 * i, 240, seed=i)
    return tmp_path / "photos"


def scored(photos: Path, preset: str, short: int | None) -> pd.DataFrame:
    scorer = ciq.load(preset, backbone="demo", device="cpu")
    paths = sorted(photos.rglob("*.png"))
    scores = torch.cat([scorer(resize(read_rgb(path), short)) for path in paths])[:, 0]
    return pd.DataFrame({"img": [path.name for path in paths], "q": scores.numpy().round(4)})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "short", "size", "scale"),
    [("clipiqa-pyiqa", None, "native", 1), ("clipiqa", 224, "short side 224", 100)],
)
def test_a_foreign_table_is_explained(
    photos: Path,
    tmp_path: Path,
    preset: str,
    short: int | None,
    size: str,
    scale: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = scored(photos, preset, short)
    table.assign(q=table["q"] * scale).to_csv(tmp_path / "s.csv", index=False, sep=";")
    out = tmp_path / "compared.csv"
    command = ["explain", str(tmp_path / "s.csv"), "--pictures", str(photos), "--out", str(out)]
    command += ["--backbone", "demo", "--device", "cpu", "--sizes", "native", "short side 224"]
    assert main(command) == 0
    printed = capsys.readouterr()
    said = f"result: The scores are those of {preset} at {size}"
    assert said + (", multiplied by 100." if scale == 100 else ".") in printed.out
    compared = pd.read_csv(out)
    first = compared.iloc[0]
    assert (first["preset"], first["size"]) == (preset, size)
    assert first["mean"] < 1e-4  # the table has four digits
    assert first["SRCC"] > 0.99
    assert len(compared) == 2 * (1 + 1 + 11 + 1)  # eleven attributes beside the quality
    for missing in ("clipiqa+", "clipiqa+-rn50-512", "qualiclip", "qualiclip+"):
        assert f"not tried: {missing}: " in printed.err
    assert "QualiCLIP.pth is not at hand: --fetch downloads it from https://" in printed.err


@pytest.mark.slow
def test_scores_of_something_else_are_said_to_be(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [path.name for path in sorted(photos.rglob("*.png"))]
    scores = np.random.default_rng(0).uniform(0, 1, len(names))
    pd.DataFrame({"image": names, "score": scores}).to_csv(tmp_path / "s.csv", index=False)
    command = ["explain", str(tmp_path / "s.csv"), "--pictures", str(photos), "--sizes", "native"]
    assert main([*command, "--backbone", "demo", "--device", "cpu"]) == 1
    assert "come from none of these; the nearest is clipiqa" in capsys.readouterr().out


@pytest.mark.slow
def test_own_prompt_files_are_tried(photos: Path, tmp_path: Path) -> None:
    clip = ciq.FrozenCLIP.from_name("demo")
    prompts = ciq.ContextPrompts(clip, seed=2)
    prompts.steps += 1
    file = ciq.save_prompts(tmp_path / "mine.safetensors", prompts, clip, reduction="mean")
    scorer = ciq.load("clipiqa+", file, device="cpu")
    paths = sorted(photos.rglob("*.png"))
    table = pd.DataFrame({"image": [p.stem for p in paths], "score": scorer(paths)[:, 0].numpy()})
    table.to_json(tmp_path / "s.jsonl", orient="records", lines=True)
    command = ["explain", str(tmp_path / "s.jsonl"), "--pictures", str(photos), "--device", "cpu"]
    command += ["--backbone", "demo", "--prompts", str(file), "--sizes", "native"]
    assert main([*command, "--out", str(tmp_path / "c.csv")]) == 0
    assert pd.read_csv(tmp_path / "c.csv")["preset"].iloc[0] == f"clipiqa+ with {file}"


def test_pictures_are_found_by_path_name_or_stem(photos: Path, tmp_path: Path) -> None:
    assert find_in(photos, ["a/0.png", "1.png", "elsewhere/2.jpg", "3", "9.png"]) == [
        *(photos / name for name in ("a/0.png", "b/1.png", "a/2.png", "b/3.png")),
        None,
    ]
    (photos / "a/1.jpg").write_bytes(b"")
    assert find_in(photos, ["1"]) == [None]  # two of that stem


@pytest.mark.parametrize(
    ("content", "column", "message"),
    [
        ("image,a,b\nx.png,1,2\n", None, "name that of the scores: --column"),
        ("image,a\nx.png,1\n", "b", "no numeric column 'b'"),
        ("a,score\n1,2\n", "score", "no column with the names of pictures"),
        ("", None, "not a table of scores"),
    ],
)
def test_tables_that_cannot_be_read(
    tmp_path: Path, content: str, column: str | None, message: str
) -> None:
    (tmp_path / "s.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "s.csv", column)


def test_what_cannot_be_explained(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("image,score\n0.png,0.5\nx.png,0.5\ny.png,0.6\n")
    table = read_table(tmp_path / "s.csv")
    from clipiqa_plus.inference.explain import explain

    with pytest.raises(ValueError, match=r"1 of the 3 pictures .*missing: x.png, y.png"):
        explain(table, photos)
    with pytest.raises(FileNotFoundError, match="no such folder of pictures"):
        explain(table, tmp_path / "absent")
    with pytest.raises(ValueError, match="unknown size 'tiny'"):
        explain(table, photos, sizes=["tiny"])
