"""What an earlier version wrote still serves: prompts, checkpoint, cache, run and evaluation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import evaluate
import train
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.prompts.files import read_prompts
from clipiqa_plus.report.page import write_report
from tests.support.fixed_weights import write_fixed_weights

EARLIER = Path(__file__).parent / "support/version_0_1"

# Features in fp32 and cosines of them: rounding differs between processors by some 1e-6.
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a copy of the earlier files; nothing of them is encoded again."""
    folder = tmp_path / "earlier"
    shutil.copytree(EARLIER, folder)
    write_fixed_weights(folder / "weights.safetensors")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def no_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(clip: FrozenCLIP, images: torch.Tensor) -> torch.Tensor:
        raise AssertionError("a cached picture is encoded again")

    monkeypatch.setattr(FrozenCLIP, "encode_image", refuse)


def evaluated(*options: str) -> pd.DataFrame:
    """Evaluate the earlier prompt file and checkpoint on the earlier run's config."""
    learned = ["file=run/prompts.safetensors", "checkpoint=run/checkpoints/last.ckpt"]
    sources = ["--prompts", "zero_shot", *learned, "--data", "run/config.yaml"]
    evaluate.main([*sources, *options, "--out", "again"])
    return pd.read_parquet("again/run/scores.parquet")


@pytest.mark.slow
def test_prompt_file_and_checkpoint_score_as_before_from_the_cache_of_before(
    no_encoding: None,
) -> None:
    before = pd.read_parquet("evaluation/config/scores.parquet")
    scores = evaluated("--features.dir", "features")
    assert scores["image"].tolist() == before["image"].tolist()
    for now, then in {
        "zero_shot": "zero_shot",
        "file": "run/prompts.safetensors",
        "checkpoint": "run/prompts.safetensors",
    }.items():
        np.testing.assert_allclose(scores[now], before[then], rtol=0, atol=TOLERANCE)


@pytest.mark.slow
def test_pictures_encoded_now_score_as_before() -> None:
    before = pd.read_parquet("evaluation/config/scores.parquet")
    scores = evaluated("--features.enabled=false")
    np.testing.assert_allclose(
        scores["file"], before["run/prompts.safetensors"], rtol=0, atol=TOLERANCE
    )


@pytest.mark.slow
def test_config_of_a_run_trains_to_the_same_prompts(no_encoding: None) -> None:
    train.main(["--config=run/config.yaml", "--run=again"])
    before, facts = read_prompts("run/prompts.safetensors")
    again, described = read_prompts("again/prompts.safetensors")
    # Adam divides by the gradient's size: rounding moves a context token by up to some 1e-4.
    torch.testing.assert_close(again["ctx"], before["ctx"], rtol=0, atol=1e-3)
    assert described["steps"] == facts["steps"] == 8
    assert described["split_sha256"] == facts["split_sha256"]


@pytest.mark.slow
def test_a_run_is_resumed(no_encoding: None, folder: Path) -> None:
    before, _ = read_prompts("run/prompts.safetensors")
    cli = train.main(["--config=run/config.yaml", "--run=run", "--ckpt_path=last"])
    assert cli.trainer.global_step == 8  # all of them are behind the checkpoint
    after, facts = read_prompts("run/prompts.safetensors")
    assert facts["steps"] == 8
    assert torch.equal(after["ctx"], before["ctx"])
    assert (folder / "run/logs/version_0").is_dir()
    assert (folder / "run/logs/version_1").is_dir()


def test_page_of_an_evaluation() -> None:
    page = write_report("evaluation").read_text()
    results = json.loads(Path("evaluation/results.json").read_text())
    assert [row["prompts"] for row in results] == ["zero_shot", "run/prompts.safetensors"]
    for row in results:
        assert row["prompts"] in page
        assert f"{row['PLCC']:.3f}" in page
