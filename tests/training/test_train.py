"""train.py from the command line: a run and its folder, resuming, loggers, two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file

import train
from clipiqa_plus.clip.weights import random_clip
from clipiqa_plus.module import CLIPIQAPlus
from clipiqa_plus.prompts.files import read_prompts
from tests.support.models import SMALL_RESNET
from tests.support.training_run import run
from tests.support.wandb_files import wandb_artifacts, wandb_records

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_run_leaves_everything_behind(recipe: Path) -> None:
    run(recipe, "--licence=CC-BY-4.0")
    folder = recipe.parent / "run"
    facts = json.loads((folder / "run.json").read_text())
    assert facts["recipe"] == "tiny"
    assert facts["seed"] == 0
    assert facts["samples"] == {"train": 6, "val": 5, "test": 4}
    assert facts["versions"]["torch"] == torch.__version__.partition("+")[0]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {"val/SRCC", "val/PLCC", "test/SRCC", "test/PLCC", "train/loss"} <= set(metrics)
    tensors, described = read_prompts(folder / "prompts.safetensors")
    assert tensors["ctx"].shape == (16, 32)
    assert described["steps"] == 12
    assert described["split_sha256"] == facts["split_sha256"]
    assert described["metrics"] == metrics
    assert described["licence"] == "CC-BY-4.0"
    assert described["intervals"]["n"] == 5
    named = {"backbone", "weights_sha256", "pairs", "position", "recipe", "dataset", "version"}
    assert all(described[name] for name in named)
    logged = pd.read_csv(folder / "logs/version_0/metrics.csv")
    assert logged["val/SRCC"].notna().sum() == 4
    checkpoint = folder / "checkpoints/last.ckpt"
    assert checkpoint.stat().st_size < 200_000
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 12


@pytest.mark.slow
def test_last_checkpoint_is_the_last_whatever_is_monitored(recipe: Path) -> None:
    # The number of the epoch is best, as "min", after the first one.
    run(recipe, "--checkpoint.monitor=epoch", "--checkpoint.mode=min")
    folder = recipe.parent / "run/checkpoints"
    assert sorted(p.name for p in folder.iterdir()) == ["epoch=0.ckpt", "last.ckpt"]
    assert torch.load(folder / "last.ckpt", weights_only=True)["epoch"] == 3


@pytest.mark.slow
def test_recipe_without_a_monitor_keeps_the_last(recipe: Path) -> None:
    content = yaml.safe_load(recipe.read_text())
    del content["checkpoint"]
    recipe.write_text(yaml.safe_dump(content))
    run(recipe)
    path = recipe.parent / "run/checkpoints/last.ckpt"
    assert torch.load(path, weights_only=True)["epoch"] == 3


@pytest.mark.slow
def test_the_resolved_config_runs_again_to_the_same_prompts(recipe: Path) -> None:
    run(recipe)
    folder = recipe.parent / "run"
    train.main([f"--config={folder / 'config.yaml'}", f"--run={recipe.parent / 'again'}"])
    first, _ = read_prompts(folder / "prompts.safetensors")
    again, _ = read_prompts(recipe.parent / "again/prompts.safetensors")
    assert torch.equal(first["ctx"], again["ctx"])


@pytest.mark.slow
def test_seed_changes_the_start_and_the_order(recipe: Path) -> None:
    first = run(recipe).model.prompts.ctx
    other = run(recipe, "--seed_everything=1", "--overwrite=true").model.prompts.ctx
    assert not torch.equal(first, other)


@pytest.mark.slow
def test_killed_run_resumes_to_the_same_end(recipe: Path) -> None:
    whole = run(recipe).model.prompts.ctx.detach().clone()
    folder = recipe.parent / "killed"
    code = (
        "import os, train\n"
        "from clipiqa_plus.module import CLIPIQAPlus\n"
        "CLIPIQAPlus.on_train_epoch_start = lambda self: "
        "self.trainer.current_epoch == 2 and os.kill(os.getpid(), 9)\n"
        f"train.main(['--config={recipe}', '--run={folder}'])\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    assert not (folder / "prompts.safetensors").exists()
    resumed = train.main([f"--config={recipe}", f"--run={folder}", "--ckpt_path=last"])
    assert torch.equal(resumed.model.prompts.ctx, whole)
    assert (folder / "logs/version_0").is_dir()
    assert (folder / "logs/version_1").is_dir()


@pytest.mark.slow
def test_two_runs_are_never_mixed(recipe: Path) -> None:
    folder = recipe.parent / "run"
    run(recipe, "--trainer.max_epochs=1")
    with pytest.raises(FileExistsError, match=r"holds a run: .*--ckpt_path last.*--overwrite"):
        run(recipe)
    run(recipe, "--trainer.max_epochs=1", "--overwrite=true")
    with pytest.raises(FileNotFoundError, match="no run to resume"):
        train.main([f"--config={recipe}", f"--run={folder}2", "--ckpt_path=last"])
    (recipe.parent / "other").mkdir()
    (recipe.parent / "other/thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match="holds files that are not a run's"):
        train.main([f"--config={recipe}", f"--run={recipe.parent / 'other'}", "--overwrite=true"])
    assert (recipe.parent / "other/thesis.tex").read_text() == "precious"


@pytest.mark.slow
def test_a_run_that_failed_before_it_began_may_be_tried_again(recipe: Path) -> None:
    table = recipe.parent / "scores.csv"
    hidden = table.rename(table.with_suffix(".away"))
    with pytest.raises(FileNotFoundError, match=r"scores\.csv"):
        run(recipe)
    assert (recipe.parent / "run").is_dir()
    hidden.rename(table)
    run(recipe, "--trainer.max_epochs=1")
    assert (recipe.parent / "run/prompts.safetensors").is_file()


@pytest.mark.slow
def test_zero_shot_switch_trains_nothing_and_tests_the_words(recipe: Path) -> None:
    cli = run(recipe, "--model.prompts.mode=zero_shot")
    assert cli.model.is_zero_shot
    folder = recipe.parent / "run"
    assert "test/SRCC" in json.loads((folder / "metrics.json").read_text())
    assert not (folder / "prompts.safetensors").exists()
    assert not (folder / "checkpoints").exists()


@pytest.mark.slow
def test_wandb_offline_by_one_flag(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DATA_DIR", str(recipe.parent / "data"))
    cli = run(recipe, "--wandb=clipiqa-test", "--trainer.max_epochs=1")
    folder = recipe.parent / "run"
    cli.trainer.loggers[1].experiment.finish()
    (log,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    (prompts,) = [a for a in wandb_artifacts(log) if a.type == "prompts"]
    assert prompts.name == "run-prompts"
    assert [e.path for e in prompts.manifest.contents] == ["prompts.safetensors"]
    assert prompts.manifest.contents[0].size == (folder / "prompts.safetensors").stat().st_size
    assert json.loads(prompts.metadata)["metrics"]["test/SRCC"] is not None
    config = {
        update.key: json.loads(update.value_json)
        for record in wandb_records(log)
        if record.WhichOneof("record_type") == "config"
        for update in record.config.update
    }
    assert config["optimizer"] == "Adam"
    assert config["learning_rate"] == 0.01
    assert config["loss"] == "mse"
    assert config["batch_size"] == 2
    assert config["max_epochs"] == 1
    assert config["seed"] == 0
    assert config["split"] == "official"
    assert config["samples"] == {"train": 6, "val": 5, "test": 4}
    assert config["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert (folder / "logs/version_0/metrics.csv").is_file()


@pytest.mark.slow
def test_wandb_without_a_key_is_one_error(recipe: Path) -> None:
    command = [sys.executable, "train.py", f"--config={recipe}", "--wandb=clipiqa-test"]
    command.append(f"--run={recipe.parent / 'run'}")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    environment["HOME"] = str(recipe.parent)  # no key in its .netrc
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "train.py: Weights & Biases: " in done.stderr  # then wandb's own words
    assert "Or set WANDB_API_KEY" in done.stderr
    assert "WANDB_MODE=offline" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_loss_is_logged_once_an_epoch(recipe: Path) -> None:
    run(recipe)
    logged = pd.read_csv(recipe.parent / "run/logs/version_0/metrics.csv")
    assert logged["train/loss"].dropna().index.size == 4  # of 4 epochs with 3 batches
    assert logged.loc[logged["train/loss"].notna(), "step"].tolist() == [2, 5, 8, 11]


@pytest.mark.slow
def test_prints_only_its_own_lines_and_closes_with_the_next_command(recipe: Path) -> None:
    folder = recipe.parent / "run"
    command = [sys.executable, "train.py", f"--config={recipe}", f"--run={folder}"]
    command += ["--trainer.enable_progress_bar=true"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    for noise in ("Tip", "litlogger", "TPU", "Warning", "stopped:", "Loading `", "Seed set"):
        assert noise not in said
    result, files, following = done.stdout.splitlines()[-3:]
    srcc = json.loads((folder / "metrics.json").read_text())["test/SRCC"]
    assert result.startswith("result: ")
    assert f"SRCC {srcc:.4f}" in result
    assert result.endswith("on 4 test pictures")
    assert files.startswith(f"files:  {folder}/ with prompts.safetensors")
    prompts, data = folder / "prompts.safetensors", folder / "config.yaml"
    assert following == (f"next:   python evaluate.py --prompts zero_shot {prompts} --data {data}")


@pytest.mark.slow
def test_ctrl_c_ends_with_one_line_and_the_way_to_go_on(recipe: Path) -> None:
    folder = recipe.parent / "run"
    code = (
        "import os, signal, train\n"
        "from clipiqa_plus.commands.errors import run_entry\n"
        "from clipiqa_plus.module import CLIPIQAPlus\n"
        "CLIPIQAPlus.on_train_epoch_start = lambda self: "
        "self.trainer.current_epoch == 2 and os.kill(os.getpid(), signal.SIGINT)\n"
        f"run_entry(lambda: train.main(['--config={recipe}', '--run={folder}']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert "graceful" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "interrupted" in line]
    assert line == done.stderr.splitlines()[-1]
    assert line.endswith(f"; resume with --run {folder} --ckpt_path last")
    assert done.stderr.count("training stopped") == line.count("training stopped") == 1


def test_an_error_of_the_data_is_its_own_message(recipe: Path) -> None:
    content = yaml.safe_load(recipe.read_text())
    del content["data"]["init_args"]["mos_range"]
    recipe.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=r"^\S+: mos_range is missing; give the lowest .*\]'$"):
        run(recipe)


def test_early_stopping_without_a_validation_part_is_refused(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = yaml.safe_load(recipe.read_text())
    stop = "lightning.pytorch.callbacks.EarlyStopping"
    monitor = {"monitor": "val/SRCC", "mode": "max"}
    content["trainer"]["callbacks"] = [{"class_path": stop, "init_args": monitor}]
    recipe.write_text(yaml.safe_dump(content))
    message = r"has no validation part, and early stopping watches val/SRCC; give it one"
    with pytest.raises(ValueError, match=message):
        run(recipe, "--data.split=random")
    assert "to encode" not in capsys.readouterr().out  # refused before any work


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "warned"), [(1e-12, True), (0.05, False)])
def test_a_training_that_learns_nothing_is_reported(
    recipe: Path, rate: float, warned: bool
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(recipe, f"--model.optimizer.lr={rate}")
    warned_of = [str(w.message) for w in caught if "nothing learned" in str(w.message)]
    assert bool(warned_of) == warned
    if warned_of:
        assert "after 12 steps the text features are within" in warned_of[0]


@pytest.mark.slow
def test_tensorboard_logger(recipe: Path) -> None:
    folder = recipe.parent / "run"
    run(
        recipe,
        "--trainer.max_epochs=1",
        "--trainer.logger=lightning.pytorch.loggers.TensorBoardLogger",
        f"--trainer.logger.save_dir={folder}",
    )
    assert list(folder.rglob("events.out.tfevents.*"))


@pytest.mark.slow
def test_backbone_with_what_no_file_records_of_it(recipe: Path, tmp_path: Path) -> None:
    weights = tmp_path / "bare.safetensors"
    save_file(random_clip(SMALL_RESNET, 0).state_dict(), weights)
    content = yaml.safe_load(recipe.read_text())
    half = [0.5, 0.5, 0.5]
    section = {"name": str(weights), "activation": "gelu", "mean": half, "std": half}
    recipe.write_text(yaml.safe_dump(content | {"model": content["model"] | {"backbone": section}}))
    run(recipe, "--trainer.max_epochs=1")
    facts = read_prompts(recipe.parent / "run/prompts.safetensors")[1]
    assert [facts[key] for key in ("activation", "mean", "std")] == ["gelu", half, half]
    kept = CLIPIQAPlus.load_from_checkpoint(recipe.parent / "run/checkpoints/last.ckpt")
    assert kept.backbone.describe() == {key: facts[key] for key in kept.backbone.describe()}
    folder = recipe.parent / "run"
    again = run(folder / "config.yaml", "--trainer.max_epochs=1", f"--run={tmp_path / 'again'}")
    assert again.model.backbone.conventions.activation == "gelu"


@pytest.mark.slow
def test_unknown_backbone_is_one_clear_error(recipe: Path) -> None:
    with pytest.raises(ValueError, match="RN5O"):
        run(recipe, "--model.backbone=RN5O")


@pytest.mark.slow
def test_mendable_errors_are_one_message(recipe: Path) -> None:
    command = [sys.executable, "train.py", f"--config={recipe}", "--model.backbone=none.pt"]
    environment = {k: v for k, v in os.environ.items() if k != "CLIPIQA_TRACEBACK"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "train.py: none.pt: no such weights file" in done.stderr
    assert "Traceback" not in done.stderr
    shown = environment | {"CLIPIQA_TRACEBACK": "1"}
    done = subprocess.run(command, cwd=ROOT, env=shown, capture_output=True, text=True)
    assert "Traceback" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_train_and_validate_as_one(recipe: Path, processes: int) -> None:
    """DDP over gloo: 4 test pictures in batches of 2, 5 validation pictures, do not divide."""
    folder = recipe.parent / "ddp"
    command = [sys.executable, "train.py", f"--config={recipe}", f"--run={folder}"]
    command += [f"--trainer.devices={processes}", "--trainer.strategy=ddp"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads((folder / "run.json").read_text())
    assert facts["world_size"] == processes
    distributed = json.loads((folder / "metrics.json").read_text())
    # One process validates the prompts that several processes learned.
    alone = run(
        recipe, f"--model.prompts.file={folder / 'prompts.safetensors'}", "--trainer.max_epochs=0"
    )
    (validated,) = alone.trainer.validate(alone.model, alone.datamodule, verbose=False)
    for name in ("val/SRCC", "val/PLCC"):
        # Logged values are float32, and the features are of other batch compositions.
        assert validated[name] == pytest.approx(distributed[name], abs=1e-5)
