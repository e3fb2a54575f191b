"""clipiqa score."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import clipiqa_plus as ciq
from clipiqa_plus.clip.weights import random_clip
from clipiqa_plus.commands.main import main
from clipiqa_plus.inference.scorer import Scorer
from clipiqa_plus.prompts.scales import PAIRS
from tests.support.models import SMALL_VIT

ROOT = Path(__file__).parents[3]


def test_score_and_its_errors(
    tmp_path: Path, make_picture: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = make_picture(tmp_path / "a.png"), tmp_path / "scores.jsonl"
    assert main(["score", str(path), "--backbone", "demo", "--out", str(out)]) == 0
    assert f"1 scores by clipiqa in {out}" in capsys.readouterr().out
    row = json.loads(out.read_text())
    assert (row["image"], row["preset"], row["backbone"]) == (str(path), "clipiqa", "demo")
    assert main(["score", str(path), "--preset", "best", "--out", str(out)]) == 1
    assert capsys.readouterr().err.startswith("clipiqa: unknown preset 'best'; choose from")


@pytest.mark.slow
def test_without_out_the_scores_are_printed(
    tmp_path: Path, make_picture: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_picture(tmp_path / "in/a.png")
    make_picture(tmp_path / "in/b.png", seed=1)
    (tmp_path / "in/c.png").write_bytes(b"damaged")
    make_picture(tmp_path / "in/d\x1b[31m.png", seed=2)
    expected = ciq.score(path, backbone="demo")
    assert main(["score", str(path), "--backbone", "demo"]) == 0
    assert capsys.readouterr().out == f"{expected:.4f}\n"
    assert main(["score", str(tmp_path / "in"), "--backbone", "demo"]) == 1
    done = capsys.readouterr()
    lines = [line.split("\t") for line in done.out.splitlines()]
    names = [f"{tmp_path}/in/{name}" for name in ("a.png", "b.png", "d\\x1b[31m.png")]
    assert [line[1] for line in lines] == ["image", *names]
    assert lines[1][0] == f"{expected:.4f}"
    assert f"clipiqa: {tmp_path}/in/c.png: not a readable image" in done.err
    attributes = ["score", str(path), "--backbone", "demo", "--preset", "clipiqa-attributes"]
    assert main(attributes) == 0
    head, scores = capsys.readouterr().out.splitlines()
    assert head.split("\t") == list(PAIRS)
    assert len(scores.split("\t")) == len(PAIRS)
    assert main(["score", str(path), "--backbone", "demo", "--html", "x.html"]) == 1
    assert "need --out" in capsys.readouterr().err


def test_what_is_nearly_right_is_named(
    tmp_path: Path, make_picture: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(make_picture(tmp_path / "photo.png"))
    assert main(["score", path, "--preset", "clipiqa-atributes"]) == 1
    assert "Did you mean clipiqa-attributes?" in capsys.readouterr().err
    assert main(["score", path.replace("photo", "foto"), "--backbone", "demo"]) == 1
    assert f"Did you mean {path}?" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--out", "scores.csv"], ["--backbone", "absent.pt"]])
def test_no_pictures_are_noticed_before_any_work(
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["score", "empty", *options]) == 1
    done = capsys.readouterr()
    assert (done.out, done.err) == ("", "clipiqa: empty: no pictures there\n")
    assert main(["map", "none.png", "--out", "map.png"]) == 1
    assert "none.png: no such file or folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.slow
@pytest.mark.parametrize("module", ["torch", "torch.nn", "clipiqa_plus.inference.scorer", "PIL"])
def test_ctrl_c_while_libraries_load_is_one_line(module: str) -> None:
    code = (
        "import os, signal, sys\n"
        "from clipiqa_plus.commands.main import main\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            sys.meta_path.remove(self)\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        f"assert {module!r} not in sys.modules\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "sys.exit(main(['score', 'README.md']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 130, done.stderr
    assert done.stderr.split() == ["clipiqa:", "interrupted"]
    assert not done.stdout


@pytest.mark.parametrize("to_file", [False, True])
def test_ctrl_c_is_one_line_and_the_same_command_goes_on(
    tmp_path: Path,
    make_picture: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    to_file: bool,
) -> None:
    paths = [str(make_picture(tmp_path / f"{i}.png", seed=i)) for i in range(4)]
    out = tmp_path / "s.csv"
    command = ["score", *paths, "--backbone", "demo"]
    command += ["--batch-size", "1", "--out", str(out)] if to_file else []
    calls = 0
    score = Scorer.score_columns

    def interrupted(self: Scorer, images: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return score(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(Scorer, "score_columns", interrupted)
        assert main(command) == 130
    lines = [line for line in capsys.readouterr().err.splitlines() if "clipiqa:" in line]
    assert len(lines) == 1
    assert "interrupted" in lines[0]
    if to_file:
        assert f"run the same command to resume {out}" in lines[0]
        assert main(command) == 0
        assert "4 pictures, 2 of them scored earlier" in capsys.readouterr().out


def test_own_words_are_columns_and_are_recorded(
    tmp_path: Path, make_picture: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = str(make_picture(tmp_path / "a.png")), tmp_path / "s.csv"
    words = ["--pair", "crisp=Crisp photo.", "Soft photo.", "--pair", "Good photo.", "Bad photo."]
    command = ["score", *words, path, "--backbone", "demo"]
    assert main(command) == 0
    head, scores = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert head == ["crisp", "quality"]
    assert scores[1] == f"{ciq.score(path, backbone='demo'):.4f}"
    assert main([*command, "--out", str(out)]) == 0
    assert "1 scores by clipiqa, own words in" in capsys.readouterr().out
    assert out.read_text().startswith("image,crisp,quality,preset,")
    facts = json.loads(out.with_name("s.csv.json").read_text())
    assert facts["pairs"] == [["Crisp photo.", "Soft photo."], ["Good photo.", "Bad photo."]]
    assert main([*command, "--reduction", "mean"]) == 0
    assert len(capsys.readouterr().out.split()) == 1
    assert main(["score", path, "--backbone", "demo", "--pair", "Good photo.", "Good photo."]) == 1
    assert "both prompts are the same" in capsys.readouterr().err


def test_a_scale_gives_a_score_and_its_deviation(
    tmp_path: Path, make_picture: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = str(make_picture(tmp_path / "a.png")), tmp_path / "s.csv"
    words = ["Sharp photo.", "Soft photo.", "Blurry photo."]
    grades = [1.0, 0.6, 0.0]
    command = ["score", path, "--backbone", "demo", "--scale", *words, "--grades", "1", "0.6", "0"]
    assert main([*command, "--out", str(out)]) == 0
    assert out.read_text().startswith("image,score,deviation,preset,")
    facts = json.loads(out.with_name("s.csv.json").read_text())
    assert (facts["pairs"], facts["grades"]) == ([words], grades)
    assert facts["preset"] == "clipiqa, own words"
    capsys.readouterr()
    assert main(command) == 0
    head, line = (row.split("\t") for row in capsys.readouterr().out.splitlines())
    assert head == ["score", "deviation"]
    one = ciq.score(path, backbone="demo", scales=[words], grades=grades)
    assert line[0] == f"{one:.4f}"
    both = ciq.score(path, backbone="demo", scales={"crisp": words})
    assert both != pytest.approx(one, abs=1e-4)  # a mapping of one: still a number
    assert main(["score", path, "--backbone", "demo", "--scale", "Good photo."]) == 1
    assert "unknown scale 'Good photo.'" in capsys.readouterr().err


def test_weights_without_a_record_need_what_they_were_trained_with(
    tmp_path: Path, make_picture: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    picture, weights = make_picture(tmp_path / "a.png"), tmp_path / "w.pt"
    out = tmp_path / "s.jsonl"
    torch.save(random_clip(SMALL_VIT, 0).state_dict(), weights)
    command = ["score", str(picture), "--out", str(out), "--backbone", str(weights)]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"clipiqa: {weights}: nothing records activation and mean and std")
    assert not out.exists()
    half = ["0.5", "0.5", "0.5"]
    stated = ["--activation", "gelu", "--mean", *half, "--std", *half]
    assert main([*command, *stated]) == 0
    capsys.readouterr()
    row = json.loads(out.read_text())
    spec = ciq.BackboneSpec(str(weights), activation="gelu", mean=(0.5,) * 3, std=(0.5,) * 3)
    assert row["score"] == pytest.approx(ciq.score(picture, backbone=spec), abs=1e-6)
    settings = json.loads(next(tmp_path.glob("s.jsonl.*json")).read_text())
    assert settings["activation"] == "gelu"
    assert settings["mean"] == settings["std"] == [0.5, 0.5, 0.5]
    assert main(["score", str(picture), "--activation", "gelu"]) == 1
    assert "describe the weights of --backbone" in capsys.readouterr().err
