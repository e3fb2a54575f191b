"""The command clipiqa: what it prints, and how it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from clipiqa_plus import __version__
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.image_tower import PosEmbedding
from clipiqa_plus.commands.main import main
from clipiqa_plus.data.benchmarks import BENCHMARKS
from clipiqa_plus.data.demo import DemoIQA
from clipiqa_plus.evaluation.interpolation import pair_cosines
from clipiqa_plus.features import FeatureCache, FeatureStore
from clipiqa_plus.inference.presets import PRESETS
from clipiqa_plus.prompts.files import read_prompts, save_prompts
from clipiqa_plus.prompts.sources import ContextPrompts


def test_version_and_help_answer_without_loading_torch() -> None:
    code = (
        "import sys\n"
        "from clipiqa_plus.commands.main import main\n"
        "try:\n    main(['--version'])\n"
        "except SystemExit:\n    print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["clipiqa_plus", __version__, "False"]


def test_data_list_names_every_benchmark(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["data", "list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in BENCHMARKS)


def test_data_check_of_an_empty_folder_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", "koniq10k", "--root", str(tmp_path)]) == 1
    assert "koniq10k_distributions_sets.csv" in capsys.readouterr().out


def test_unknown_benchmark_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "koniq", "--root", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("clipiqa: no benchmark 'koniq'; there are")


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
    assert "0.5000 │ 0.2500 │ 10" in printed
    assert "█▁" in printed


def test_features_commands(
    tmp_path: Path, clip: FrozenCLIP, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FeatureStore(tmp_path, clip.describe(), clip.dim)
    shard = store.write([bytes(32)], torch.randn(1, clip.dim))
    assert main(["features", "info", "--dir", str(tmp_path)]) == 0
    assert clip.name in capsys.readouterr().out
    assert main(["features", "verify", "--dir", str(tmp_path)]) == 0
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert main(["features", "verify", "--dir", str(tmp_path)]) == 1
    assert shard.name in capsys.readouterr().out
    assert main(["features", "prune", "--dir", str(tmp_path), "--dry-run"]) == 0
    assert shard.exists()
    assert main(["features", "prune", "--dir", str(tmp_path)]) == 0
    assert not shard.exists()


def test_features_are_compared_with_fresh_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "features"
    data = DemoIQA(num_workers=0)
    data.setup()
    FeatureCache(str(folder)).tables(FrozenCLIP.from_name("demo"), data, ["test"])
    recipe = str(Path(__file__).parents[2] / "configs/demo.yaml")
    command = ["features", "verify", "--dir", str(folder), "--recipe", recipe, "--samples", "5"]
    assert main(command) == 0
    assert "5 features encoded anew" in capsys.readouterr().out
    encode = FrozenCLIP.encode_image
    monkeypatch.setattr(FrozenCLIP, "encode_image", lambda self, x: encode(self, x.flip(-2)))
    assert main(command) == 1
    assert "NOT those of these pictures" in capsys.readouterr().out


def test_presets_are_listed_with_what_they_fix(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["presets"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in PRESETS)
    assert "RN50" in printed


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
