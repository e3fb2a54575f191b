"""Training from votes alone and beside MOS, and accuracy in an evaluation."""

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
from clipiqa_plus.metrics.votes import vote_accuracy
from tests.support.training_run import run, run_on_two_processes
from tests.support.votes import thurstone_votes, write_votes

LBFGS = {
    "class_path": "torch.optim.LBFGS",
    "init_args": {"max_iter": 3, "max_eval": 12, "line_search_fn": "strong_wolfe"},
}


@pytest.fixture
def voted(recipe: Path, make_picture: Callable[..., Path]) -> Path:
    """The recipe of the other tests on votes."""
    votes = thurstone_votes(np.linspace(0, 1, 12), 160, 0.1, raters=6)
    file = write_votes(recipe.parent / "votes", votes, 12, make_picture)
    content = yaml.safe_load(recipe.read_text())
    options = {"votes": str(file), "split": "pairs", "batch_size": 8, "num_workers": 0}
    content["data"] = {"class_path": "clipiqa_plus.data.VoteData", "init_args": options}
    content["model"]["loss"] = "fidelity"
    content["checkpoint"]["monitor"] = "val/accuracy"
    path = recipe.parent / "votes.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def counted(cli: train.TrainCLI, part: str) -> float:
    """Accuracy on the votes of a part, encoded anew."""
    data = cli.datamodule
    data.features.clear()
    scores = np.full(len(data.annotations), np.nan)
    for batch in data.loader(part):
        with torch.no_grad():
            found = cli.model.score_features(cli.model.backbone.encode_image(batch["image"]))
        scores[batch["id"].numpy()] = found[:, 0].double().numpy()
    votes = data.part_votes(part)
    first = (votes["vote"] == "first").to_numpy()
    wins = np.stack([first, ~first], axis=1)
    return vote_accuracy(scores, votes[["row_first", "row_second"]].to_numpy(), wins)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["batches", "whole"])
def test_votes_alone_lower_the_loss_and_keep_the_best_accuracy(voted: Path, how: str) -> None:
    content = yaml.safe_load(voted.read_text())
    if how == "whole":
        content["model"] |= {"optimizer": LBFGS, "schedule": "constant"}
        content["data"]["init_args"]["batch_size"] = "all"
        voted.write_text(yaml.safe_dump(content))
    cli = run(voted, "--trainer.max_epochs=5")
    logged = pd.read_csv(voted.parent / "run/logs/version_0/metrics.csv")
    losses = logged["train/loss"].dropna().tolist()
    assert losses[-1] < losses[0]
    metrics = json.loads((voted.parent / "run/metrics.json").read_text())
    assert metrics["test/accuracy"] == pytest.approx(counted(cli, "test"), abs=1e-9)
    assert (voted.parent / "run/prompts_best.safetensors").is_file()
    if how == "whole":  # the state of the highest accuracy is kept
        assert counted(cli, "val") == pytest.approx(logged["val/accuracy"].max(), abs=1e-9)


@pytest.mark.slow
def test_resumed_training_gives_the_same_digits(voted: Path) -> None:
    whole = run(voted, "--model.schedule=constant").model.prompts.ctx.detach().clone()
    folder = f"--run={voted.parent / 'again'}"
    run(voted, folder, "--model.schedule=constant", "--trainer.max_epochs=2")
    again = run(voted, folder, "--model.schedule=constant", "--ckpt_path=last")
    assert torch.equal(again.model.prompts.ctx, whole)


@pytest.mark.slow
def test_votes_beside_mos(voted: Path, recipe: Path, weights: Path) -> None:
    content, rated = (yaml.safe_load(path.read_text()) for path in (voted, recipe))
    sets = {"rated": rated["data"], "voted": content["data"]}
    for module in sets.values():
        del module["init_args"]["batch_size"], module["init_args"]["num_workers"]
    options = {"sets": sets, "batch_size": 6, "num_workers": 0}
    content["data"] = {"class_path": "clipiqa_plus.data.MixedData", "init_args": options}
    content["checkpoint"]["monitor"] = "val/accuracy_voted"
    voted.write_text(yaml.safe_dump(content))
    run(voted, "--trainer.max_epochs=2")
    metrics = json.loads((voted.parent / "run/metrics.json").read_text())
    assert {"test/SRCC_rated", "test/accuracy_voted", "val/accuracy_mean"} <= set(metrics)
    out = voted.parent / "out"
    results = evaluate.main(
        f"--prompts zero_shot {voted.parent / 'run'} --data {voted} --out {out} --device cpu "
        f"--thumbnails 0 --backbone {weights}".split()
    )
    assert results["data"].unique().tolist() == ["rated"]
    table = pd.DataFrame(json.loads((out / "votes.json").read_text()))
    assert table["data"].unique().tolist() == ["voted"]
    found = table.set_index("prompts")["accuracy"]
    assert found["run"] == pytest.approx(metrics["test/accuracy_voted"], abs=1e-9)
    assert "Accuracy on votes" in (out / "report.html").read_text()


@pytest.mark.slow
def test_evaluation_on_votes_alone(
    voted: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli = run(voted, "--trainer.max_epochs=1")
    out = voted.parent / "out"
    table = evaluate.main(
        f"--prompts zero_shot {voted.parent / 'run'} --data {voted} --out {out} --device cpu "
        f"--tensorboard {voted.parent / 'board'} --backbone {weights}".split()
    )
    (row,) = table[table["prompts"] == "run"].to_dict("records")
    assert row["accuracy"] == pytest.approx(counted(cli, "test"), abs=1e-9)
    assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
    assert row["resampled"].endswith("x 6 raters")
    assert "trained on" in row["note"]  # the pictures of a split by pairs
    shown = capsys.readouterr().out
    assert "of votes: " in shown or "votes of votes" in shown
    page = (out / "report.html").read_text()
    assert "Accuracy on votes" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert (out / "votes.csv").is_file()
    with pytest.raises(ValueError, match="--repeats splits one data set with MOS"):
        evaluate.main(f"--data {voted} --repeats 2 --out {out} --device cpu".split())


@pytest.mark.slow
def test_two_processes_report_the_accuracy_of_one(voted: Path) -> None:
    zero_shot = ["--model.prompts.mode=zero_shot", "--features.enabled=false"]
    run(voted, *zero_shot)
    alone = json.loads((voted.parent / "run/metrics.json").read_text())
    together = run_on_two_processes(voted, "zero_shot", *zero_shot)
    assert together["test/accuracy"] == pytest.approx(alone["test/accuracy"], abs=1e-9)


@pytest.mark.slow
def test_two_processes_learn_from_votes(voted: Path) -> None:
    metrics = run_on_two_processes(voted, "learned", "--trainer.max_epochs=5")
    logged = pd.read_csv(voted.parent / "learned/logs/version_0/metrics.csv")
    losses = logged["train/loss"].dropna().tolist()
    assert losses[-1] < losses[0]
    assert logged["val/accuracy"].notna().any()
    assert 0 <= metrics["test/accuracy"] <= 1
