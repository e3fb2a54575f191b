"""Training by L-BFGS on the whole part: through Lightning, against the same function by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import train
from clipiqa_plus.data import TableData
from clipiqa_plus.data.transforms import AugmentedViews
from clipiqa_plus.losses import LOSSES, LossName
from clipiqa_plus.prompts.files import read_prompts
from tests.support.training_run import run

ROOT = Path(__file__).parents[2]
LBFGS = {
    "class_path": "torch.optim.LBFGS",
    "init_args": {"max_iter": 3, "max_eval": 12, "line_search_fn": "strong_wolfe"},
}


@pytest.fixture
def fast(recipe: Path) -> Path:
    """The recipe of the other tests, by L-BFGS on the whole part."""
    content = yaml.safe_load(recipe.read_text())
    content["model"] |= {"optimizer": LBFGS, "schedule": "constant"}
    content["data"]["init_args"]["batch_size"] = "all"
    recipe.write_text(yaml.safe_dump(content))
    return recipe


def logged(recipe: Path) -> pd.DataFrame:
    return pd.read_csv(recipe.parent / "run/logs/version_0/metrics.csv")


def whole_loss(cli: train.TrainCLI) -> float:
    """The loss over both views of all training pictures, encoded anew."""
    rows = cli.datamodule.rows("train")
    index = np.concatenate([rows, rows]), np.repeat([0, 1], len(rows))
    batch = cli.datamodule.dataset("train")[index]
    with torch.no_grad():
        scores = cli.model.score_features(cli.model.backbone.encode_image(batch["image"]))
        return float(LOSSES[cli.model.loss](scores, batch["mos"]))


@pytest.mark.slow
def test_the_whole_part_with_all_its_views_is_one_batch_whose_loss_falls(fast: Path) -> None:
    cli = run(fast, "--trainer.limit_val_batches=0", "--trainer.max_epochs=6")
    losses = logged(fast)["train/loss"].dropna().tolist()
    assert len(losses) == 6
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]
    # Without validation the last state is kept; features of other batch compositions.
    assert whole_loss(cli) == pytest.approx(losses[-1], rel=1e-4)


@pytest.mark.slow
def test_the_best_state_is_kept_and_tested(fast: Path) -> None:
    run(fast, "--trainer.max_epochs=8")
    folder = fast.parent / "run"
    scores = logged(fast)["val/SRCC"].dropna()
    assert scores.iloc[-1] < scores.max()  # MOS are random: more training is worse
    last, described = read_prompts(folder / "prompts.safetensors")
    best, _ = read_prompts(folder / "prompts_best.safetensors")
    assert torch.equal(last["ctx"], best["ctx"])
    assert described["steps"] == int(scores.argmax()) + 1
    alone = run(
        fast,
        f"--model.prompts.file={folder / 'prompts_best.safetensors'}",
        "--trainer.max_epochs=0",
        f"--run={fast.parent / 'again'}",
    )
    (validated,) = alone.trainer.validate(alone.model, alone.datamodule, verbose=False)
    assert validated["val/SRCC"] == pytest.approx(scores.max(), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("in_list", [False, True])
def test_patience_ends_the_training(fast: Path, in_list: bool) -> None:
    content = yaml.safe_load(fast.read_text())
    stopping = {
        "class_path": "lightning.pytorch.callbacks.EarlyStopping",
        "init_args": {"monitor": "val/SRCC", "mode": "max", "patience": 2},
    }
    content["trainer"] |= {"callbacks": [stopping] if in_list else stopping, "max_epochs": 50}
    fast.write_text(yaml.safe_dump(content))
    run(fast)
    scores = logged(fast)["val/SRCC"].dropna()
    assert len(scores) == int(scores.argmax()) + 1 + 2


@pytest.mark.slow
def test_recipe_for_own_pictures_runs(recipe: Path) -> None:
    own = yaml.safe_load(recipe.read_text())
    table, backbone = own["data"]["init_args"]["table"], own["model"]["backbone"]
    options = [f"--data.table={table}", "--data.mos_range=[0, 100]", f"--model.backbone={backbone}"]
    options += [f"--run={recipe.parent / 'run'}", "--trainer.enable_progress_bar=false"]
    train.main([f"--config={ROOT / 'configs/csv_fast.yaml'}", *options, "--data.num_workers=0"])
    scores = logged(recipe)["val/SRCC"].dropna()
    assert len(scores) == min(40, int(scores.argmax()) + 1 + 4)


@pytest.mark.slow
def test_same_seed_same_digits(fast: Path) -> None:
    first = run(fast).model.prompts.ctx.detach().clone()
    again = run(fast, f"--run={fast.parent / 'again'}").model.prompts.ctx
    assert torch.equal(first, again)


@pytest.mark.slow
def test_killed_run_resumes_to_the_same_end(fast: Path) -> None:
    whole = run(fast, "--trainer.max_epochs=6").model.prompts.ctx.detach().clone()
    folder = fast.parent / "killed"
    code = (
        "import os, train\n"
        "from clipiqa_plus.module import CLIPIQAPlus\n"
        "CLIPIQAPlus.on_train_epoch_start = lambda self: "
        "self.trainer.current_epoch == 4 and os.kill(os.getpid(), 9)\n"
        f"train.main(['--config={fast}', '--run={folder}', '--trainer.max_epochs=6'])\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    resumed = run(fast, f"--run={folder}", "--trainer.max_epochs=6", "--ckpt_path=last")
    assert torch.equal(resumed.model.prompts.ctx, whole)


@pytest.mark.slow
@pytest.mark.parametrize("loss", get_args(LossName))
def test_every_loss(fast: Path, loss: str) -> None:
    run(fast, f"--model.loss={loss}", "--trainer.limit_val_batches=0")
    losses = logged(fast)["train/loss"].dropna().tolist()
    assert losses[-1] < losses[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("--model.reduction=regressor", "--model.prompts.pairs=[quality, sharpness]"),
        ("--model.prompts.pairs=[quality, sharpness]", "--model.prompts.class_specific=true"),
    ],
    ids=["regressor", "class-specific"],
)
def test_what_is_trained(fast: Path, options: tuple[str, ...]) -> None:
    run(fast, "--trainer.limit_val_batches=0", *options)
    losses = logged(fast)["train/loss"].dropna().tolist()
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_targets_each_with_a_pair(fast: Path) -> None:
    table = fast.parent / "scores.csv"
    scores = pd.read_csv(table)
    scores["sharpness"] = np.random.default_rng(1).uniform(0, 100, len(scores))
    scores.to_csv(table, index=False)
    cli = run(
        fast,
        "--model.reduction=none",
        "--model.prompts.pairs=[quality, sharpness]",
        "--data.targets=[mos, sharpness]",
        "--checkpoint.monitor=val/SRCC_mos",
    )
    both = logged(fast)[["val/SRCC_mos", "val/SRCC_sharpness"]].dropna().mean(axis=1)
    assert int(cli.model.prompts.steps) == int(both.argmax()) + 1


@pytest.mark.slow
def test_two_processes_see_the_whole_part_and_give_the_same_digits(fast: Path) -> None:
    alone = run(fast)
    folder = fast.parent / "ddp"
    command = [sys.executable, "train.py", f"--config={fast}", f"--run={folder}"]
    command += ["--trainer.devices=2", "--trainer.strategy=ddp"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    together, _ = read_prompts(folder / "prompts.safetensors")
    # On one thread a product may add in another order than on two.
    torch.testing.assert_close(together["ctx"], alone.model.prompts.ctx, atol=1e-5, rtol=0)
    losses = pd.read_csv(folder / "logs/version_0/metrics.csv")["train/loss"].dropna()
    assert losses.tolist() == pytest.approx(logged(fast)["train/loss"].dropna().tolist(), rel=1e-5)


def spoil(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let the loss be NaN from a step on."""
    mse = LOSSES["mse"]
    steps = {"done": 0}
    start = torch.optim.LBFGS.step

    def counted(self: Any, closure: Any) -> Any:
        steps["done"] += 1
        return start(self, closure)

    def loss(pred: torch.Tensor, mos: torch.Tensor) -> torch.Tensor:
        return mse(pred, mos) * (float("nan") if steps["done"] >= step else 1.0)

    monkeypatch.setattr(torch.optim.LBFGS, "step", counted)
    monkeypatch.setitem(LOSSES, "mse", loss)


@pytest.mark.slow
def test_divergence_ends_with_a_warning_and_the_last_good_state(
    fast: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = run(fast, "--trainer.max_epochs=2", "--trainer.limit_val_batches=0")
    expected = good.model.prompts.ctx.detach().clone()
    spoil(monkeypatch, step=3)
    with pytest.warns(UserWarning, match="training diverged: the loss is not finite after"):
        cli = run(
            fast,
            "--trainer.max_epochs=9",
            "--trainer.limit_val_batches=0",
            f"--run={fast.parent / 'spoiled'}",
        )
    assert torch.equal(cli.model.prompts.ctx, expected)
    assert int(cli.model.prompts.steps) == 2
    metrics = json.loads((fast.parent / "spoiled/metrics.json").read_text())
    assert np.isfinite(metrics["test/SRCC"])


@pytest.mark.slow
def test_a_first_step_without_a_loss_is_one_error(
    fast: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, step=1)
    with pytest.raises(FloatingPointError, match="the loss is nan in the first step"):
        run(fast)


@pytest.mark.slow
def test_a_line_search_that_finds_nothing_ends_the_training(fast: Path) -> None:
    # A gradient that counts as zero: no step is taken.
    cli = run(fast, "--trainer.max_epochs=9", "--model.optimizer.tolerance_grad=1e9")
    assert cli.trainer.current_epoch == 1


def test_endless_views_are_one_error_before_any_work() -> None:
    views = AugmentedViews([{"HorizontalFlip": {"p": 0.5}}])
    with pytest.raises(
        ValueError, match=r"batch_size all needs a finite number of views; give the views"
    ):
        TableData("nowhere.csv", mos_range=(0, 100), batch_size="all", train_views=views)


@pytest.mark.slow
def test_pictures_without_a_cache_are_one_error(fast: Path) -> None:
    with pytest.raises(ValueError, match="batch_size all needs cached features"):
        run(fast, "--features.enabled=false")


@pytest.mark.slow
@pytest.mark.parametrize(
    "option",
    ["model.schedule=cosine", "trainer.precision=16-true", "trainer.precision=bf16-mixed"],
)
def test_what_contradicts_a_line_search_is_refused(fast: Path, option: str) -> None:
    with pytest.raises(ValueError, match=r"set model\.schedule to constant and trainer\.precision"):
        run(fast, f"--{option}")


@pytest.mark.slow
def test_batches_that_are_not_the_whole_part_are_warned_of(fast: Path) -> None:
    with pytest.warns(UserWarning, match="an epoch has 3; set data.batch_size to all"):
        run(fast, "--data.batch_size=2", "--trainer.max_epochs=1")
