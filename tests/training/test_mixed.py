"""A training on two sets: metrics per set, resumed digits, evaluation set by set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import evaluate
import train
from clipiqa_plus.metrics.functional import srcc
from tests.support.training_run import run, run_on_two_processes

LBFGS = {
    "class_path": "torch.optim.LBFGS",
    "init_args": {"max_iter": 3, "max_eval": 12, "line_search_fn": "strong_wolfe"},
}


@pytest.fixture
def mixed(recipe: Path, make_picture: Callable[..., Path]) -> Path:
    """The recipe of the other tests on two tables of unlike scales."""
    folder = recipe.parent / "other"
    for i in range(16):
        make_picture(folder / f"{i}.png", width=48, seed=100 + i)
    rng = np.random.default_rng(1)
    table = {"image": [f"{i}.png" for i in range(16)], "mos": rng.uniform(1, 5, 16).round(2)}
    parts = ["train"] * 8 + ["val"] * 4 + ["test"] * 4
    pd.DataFrame(table | {"split": parts}).to_csv(folder / "scores.csv", index=False)
    content = yaml.safe_load(recipe.read_text())
    first = content["data"]
    options = first["init_args"]
    del options["batch_size"], options["num_workers"]
    other = {"table": str(folder / "scores.csv"), "mos_range": [1, 5]}
    second = {"class_path": first["class_path"], "init_args": other}
    content["data"] = {
        "class_path": "clipiqa_plus.data.MixedData",
        "init_args": {"sets": {"one": first, "two": second}, "batch_size": 5, "num_workers": 0},
    }
    content["checkpoint"]["monitor"] = "val/SRCC_mean"
    path = recipe.parent / "mixed.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def by_set(cli: train.TrainCLI) -> dict[str, float]:
    """SRCC of each set's test part, from its own loader."""
    found = {}
    for name, module in cli.datamodule.sets.items():
        scores = [
            cli.model.score_features(cli.model.backbone.encode_image(batch["image"]))
            for batch in module.test_dataloader()
        ]
        mos = module.mos[module.rows("test"), 0]
        found[name] = float(srcc(torch.cat(scores)[:, 0].detach(), mos))
    return found


@pytest.mark.slow
def test_metrics_per_set_and_their_mean(mixed: Path) -> None:
    cli = run(mixed, "--trainer.max_epochs=2", "--model.loss=fidelity")
    metrics = json.loads((mixed.parent / "run/metrics.json").read_text())
    expected = by_set(cli)
    for name in ("one", "two"):
        assert metrics[f"test/SRCC_{name}"] == pytest.approx(expected[name], abs=1e-6)
    assert metrics["test/SRCC_mean"] == pytest.approx(sum(expected.values()) / 2, abs=1e-6)
    assert "val/SRCC_mean" in metrics
    record = json.loads((mixed.parent / "run/run.json").read_text())
    assert record["sets"]["two"]["mos_range"] == [1, 5]
    assert record["samples"] == {"train": 14, "val": 9, "test": 8}
    assert len(list((mixed.parent / "run/checkpoints").glob("epoch=*.ckpt"))) == 1


@pytest.mark.slow
def test_resumed_training_gives_the_same_digits(mixed: Path) -> None:
    whole = run(mixed, "--model.schedule=constant").model.prompts.ctx.detach().clone()
    folder = f"--run={mixed.parent / 'again'}"
    run(mixed, folder, "--model.schedule=constant", "--trainer.max_epochs=2")
    again = run(mixed, folder, "--model.schedule=constant", "--ckpt_path=last")
    assert torch.equal(again.model.prompts.ctx, whole)


@pytest.mark.slow
def test_the_whole_part_by_lbfgs(mixed: Path) -> None:
    content = yaml.safe_load(mixed.read_text())
    content["model"] |= {"optimizer": LBFGS, "schedule": "constant", "loss": "plcc"}
    content["data"]["init_args"] |= {"batch_size": "all", "sampling": "equal"}
    mixed.write_text(yaml.safe_dump(content))
    run(mixed)
    logged = pd.read_csv(mixed.parent / "run/logs/version_0/metrics.csv")
    losses = logged["train/loss"].dropna().tolist()
    assert losses[-1] < losses[0]
    assert logged["val/SRCC_mean"].notna().any()


@pytest.mark.slow
def test_evaluation_takes_each_set_by_itself(mixed: Path, weights: Path) -> None:
    cli = run(mixed, "--trainer.max_epochs=1")
    out = mixed.parent / "out"
    results = evaluate.main(
        f"--prompts {mixed.parent / 'run'} --data {mixed} --out {out} --device cpu "
        f"--thumbnails 0 --backbone {weights}".split()
    )
    expected = by_set(cli)
    assert results["data"].tolist() == ["one", "two"]
    assert results["SRCC"].tolist() == pytest.approx(list(expected.values()), abs=1e-6)
    with pytest.warns(UserWarning, match="was trained on 8 of these 8 pictures"):
        evaluate.main(
            f"--prompts {mixed.parent / 'run'} --data {mixed} --part train --device cpu "
            f"--out {mixed.parent / 'seen'} --thumbnails 0 --backbone {weights}".split()
        )


@pytest.mark.slow
def test_two_processes_report_the_metrics_of_one(mixed: Path) -> None:
    zero_shot = ["--model.prompts.mode=zero_shot", "--features.enabled=false"]
    run(mixed, *zero_shot)
    alone = json.loads((mixed.parent / "run/metrics.json").read_text())
    together = run_on_two_processes(mixed, "ddp", *zero_shot)
    # Scores of these weights hardly spread: float32 rounding, which differs with the composition of
    # a batch, shows in the fifth digit of PLCC.
    assert together == pytest.approx(alone, abs=1e-4)
