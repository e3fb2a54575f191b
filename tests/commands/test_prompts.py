"""clipiqa prompts: files shown, exported and imported."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.image_tower import PosEmbedding
from clipiqa_plus.commands.main import main
from clipiqa_plus.evaluation.interpolation import pair_cosines
from clipiqa_plus.prompts.files import read_prompts, save_prompts
from clipiqa_plus.prompts.sources import ContextPrompts


def test_prompts_show(tmp_path: Path, clip: FrozenCLIP, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = ContextPrompts(clip)
    prompts.steps += 3
    path = save_prompts(tmp_path / "p.safetensors", prompts, clip, recipe="mine")
    assert main(["prompts", "show", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "16 x 32" in printed
    assert "mine" in printed
    assert "nearest words need the backbone's weights" in printed  # no weights have such a name
    assert main(["prompts", "show", str(path), "--backbone", "demo"]) == 1
    assert "learned on" in capsys.readouterr().err
    assert main(["prompts", "show", str(tmp_path / "none.safetensors")]) == 1
    assert "no such prompt file" in capsys.readouterr().err


@pytest.mark.slow
def test_prompts_show_looks_into_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo = FrozenCLIP.from_name("demo")
    prompts = ContextPrompts(demo, n_ctx=2, init="sharp photo")
    prompts.steps += 1
    path = save_prompts(tmp_path / "p.safetensors", prompts, demo)
    assert main(["prompts", "show", str(path), "--words", "1"]) == 0
    printed = capsys.readouterr().out
    assert "sharp (0.000)" in printed
    assert "Good photo." in printed
    assert "no training curves" in printed
    along = pair_cosines(prompts, demo)
    assert all(f"{cosine:.3f}" in printed for cosine in along.iloc[0])
    log = tmp_path / "logs/version_0/metrics.csv"
    log.parent.mkdir(parents=True)
    log.write_text("step,train/loss,val/SRCC\n0,0.5,\n10,0.25,\n10,,0.75\n")
    assert main(["prompts", "show", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "0.5000  0.2500  10" in printed
    assert "█▁" in printed


@pytest.mark.parametrize("pos_embedding", ["none", "table"])
def test_prompts_to_pyiqa_and_back(tmp_path: Path, pos_embedding: PosEmbedding) -> None:
    demo = FrozenCLIP.from_name("demo", pos_embedding)
    prompts = ContextPrompts(demo, class_specific=True)
    prompts.steps += 1
    ours = save_prompts(tmp_path / "p.safetensors", prompts, demo)
    theirs, again = str(tmp_path / "p.pth"), tmp_path / "again.safetensors"
    assert main(["prompts", "export", str(ours), "--out", theirs]) == 0
    assert main(["prompts", "import", theirs, "--backbone", "demo", "--out", str(again)]) == 0
    tensors, facts = read_prompts(again)
    assert torch.equal(tensors["ctx"], prompts.ctx.detach())
    assert (facts["pos_embedding"], facts["backbone"]) == (pos_embedding, "demo")


def test_metadata_are_shown_not_obeyed(
    tmp_path: Path, clip: FrozenCLIP, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = ContextPrompts(clip)
    prompts.steps += 1
    recipe = "[bold]a[/bold] [/red] \x1b[2J"
    path = save_prompts(tmp_path / "[b].safetensors", prompts, clip, recipe=recipe)
    assert main(["prompts", "show", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "[bold]a[/bold] [/red] \\x1b[2J" in printed
