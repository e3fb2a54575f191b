"""A run folder: nothing in it is lost, and two runs never mix in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from filelock import FileLock

import train
from clipiqa_plus.commands.errors import interrupted
from clipiqa_plus.prompts.files import read_prompts
from clipiqa_plus.training.run_lock import ASIDE, RunLock
from tests.support.malicious_pickle import Evil
from tests.support.training_run import run

ROOT = Path(__file__).parents[2]


def results(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but the lock, with its content."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def old_run(folder: Path) -> dict[str, bytes]:
    """Files as a run leaves them, and a foreign one."""
    names = ["run.json", "config.yaml", "split.json", "metrics.json", "prompts.safetensors"]
    names += ["prompts_best.safetensors", "checkpoints/last.ckpt", "checkpoints/epoch=3.ckpt"]
    names += ["logs/version_0/metrics.csv", "logs/version_0/hparams.yaml", "thesis.tex"]
    names += ["wandb/offline-run-1/run-1.wandb", "wandb/notes.txt", "checkpoints/mine.txt"]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"old {name}")
    return results(folder)


@pytest.mark.slow
def test_a_config_of_a_run_holds_no_commands(recipe: Path) -> None:
    run(recipe, "--trainer.max_epochs=1")
    run(recipe, "--trainer.max_epochs=1", "--overwrite=true")
    folder = recipe.parent / "run"
    assert not {"overwrite", "ckpt_path"} & set(
        yaml.safe_load((folder / "config.yaml").read_text())
    )
    before = results(folder)
    with pytest.raises(FileExistsError, match="holds a run"):
        train.main([f"--config={folder / 'config.yaml'}"])
    assert results(folder) == before


@pytest.mark.slow
@pytest.mark.parametrize("command", ["overwrite: true", "ckpt_path: last", "allow_any_class: true"])
def test_commands_in_a_recipe_are_refused(recipe: Path, command: str) -> None:
    recipe.write_text(f"{recipe.read_text()}\n{command}\n")
    with pytest.raises(
        ValueError, match=rf"tiny\.yaml: {command.partition(':')[0]} is not allowed in a recipe"
    ):
        run(recipe)
    assert not (recipe.parent / "run").exists()


@pytest.mark.slow
def test_overwriting_with_a_typo_keeps_the_old_run(recipe: Path) -> None:
    folder = recipe.parent / "run"
    before = old_run(folder)
    with pytest.raises(FileNotFoundError, match=r"scorse\.csv"):
        run(recipe, "--overwrite=true", "--data.init_args.table=scorse.csv")
    assert results(folder) == before
    with pytest.raises(ValueError, match="none"):
        run(recipe, "--overwrite=true", "--trainer.accelerator=none")
    assert results(folder) == before


@pytest.mark.slow
def test_overwriting_ends_with_the_new_run_and_the_foreign_files(recipe: Path) -> None:
    folder = recipe.parent / "run"
    before = old_run(folder)
    run(recipe, "--overwrite=true", "--trainer.max_epochs=1")
    after = results(folder)
    foreign = {"thesis.tex", "wandb/notes.txt", "checkpoints/mine.txt"}
    assert {name for name in before if before[name] == after.get(name)} == foreign
    assert json.loads(after["run.json"])["recipe"] == "tiny"
    assert "checkpoints/epoch=3.ckpt" not in after
    assert not (folder / ASIDE).exists()


@pytest.mark.slow
def test_a_kill_before_the_first_checkpoint_brings_the_old_run_back(recipe: Path) -> None:
    folder = recipe.parent / "run"
    before = old_run(folder)
    code = (
        "import os, train\n"
        "from clipiqa_plus.module import CLIPIQAPlus\n"
        "CLIPIQAPlus.on_train_epoch_end = lambda self: os.kill(os.getpid(), 9)\n"
        f"train.main(['--config={recipe}', '--run={folder}', '--overwrite=true'])\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    assert (folder / ASIDE / "checkpoints/last.ckpt").is_file()
    with pytest.raises(FileExistsError, match="holds a run"):
        run(recipe)
    assert results(folder) == before


@pytest.mark.slow
def test_a_failure_after_the_first_checkpoint_keeps_the_new_run(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = recipe.parent / "run"
    old_run(folder)

    def fail(self: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("clipiqa_plus.module.CLIPIQAPlus.on_train_end", fail, raising=False)
    with pytest.raises(OSError, match="No space"):
        run(recipe, "--overwrite=true", "--trainer.max_epochs=1")
    assert torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 3
    assert not (folder / ASIDE).exists()


@pytest.mark.slow
def test_two_processes_never_write_one_run(recipe: Path) -> None:
    folder = recipe.parent / "run"
    before = old_run(folder)
    with FileLock(folder / ".lock"):
        for options in ([], ["--overwrite=true"], ["--ckpt_path=last"]):
            with pytest.raises(FileExistsError, match="another process is writing this run"):
                run(recipe, *options)
    assert results(folder) == before
    with RunLock(folder, resume=True, overwrite=False):  # the refused ones hold nothing
        pass


def test_a_run_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file/run: the run folder is not writable .*--run"):
        RunLock(tmp_path / "file/run", resume=False, overwrite=False)
    if os.geteuid():  # root writes everywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(PermissionError, match="is not writable"):
            RunLock(tmp_path / "locked", resume=False, overwrite=False)


@pytest.mark.slow
def test_best_prompts_stand_beside_the_last(recipe: Path) -> None:
    run(recipe)
    folder = recipe.parent / "run"
    logged = [
        line.split(",") for line in (folder / "logs/version_0/metrics.csv").read_text().splitlines()
    ]
    column = logged[0].index("val/SRCC")
    srcc = [float(row[column]) for row in logged[1:] if row[column]]
    tensors, facts = read_prompts(folder / "prompts_best.safetensors")
    assert facts["epoch"] == srcc.index(max(srcc))
    assert facts["metrics"]["val/SRCC"] == pytest.approx(max(srcc))
    # The monitored checkpoint is of the same epoch.
    (best,) = (folder / "checkpoints").glob("epoch=*.ckpt")
    assert torch.equal(tensors["ctx"], read_prompts(best)[0]["ctx"])


@pytest.mark.slow
def test_an_interrupted_training_leaves_its_prompts(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: object) -> None:
        if self.trainer.current_epoch == 2:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    monkeypatch.setattr("clipiqa_plus.module.CLIPIQAPlus.on_train_epoch_start", interrupt)
    with pytest.raises(SystemExit) as stop:
        run(recipe)
    folder = recipe.parent / "run"
    tensors, facts = read_prompts(folder / "prompts.safetensors")
    assert facts["steps"] == 6
    assert torch.equal(tensors["ctx"], read_prompts(folder / "checkpoints/last.ckpt")[0]["ctx"])
    said = f"training stopped after 6 steps; prompts so far: {folder / 'prompts.safetensors'}"
    line = f"interrupted; {said}; resume with --run {folder} --ckpt_path last"
    assert interrupted(stop.value) == line


@pytest.mark.slow
def test_a_finished_cosine_is_not_laid_out_anew(recipe: Path) -> None:
    run(recipe, "--trainer.max_epochs=2")
    folder = recipe.parent / "run"
    before = results(folder)
    with pytest.raises(ValueError, match=r"in 6 steps, .* in 12; .*--model\.prompts\.file"):
        run(recipe, "--trainer.max_epochs=4", "--ckpt_path=last")
    after = results(folder)
    assert {name: after[name] for name in before} == before  # logs/version_1 is new
    # The remedy: a new run that begins with what was learned.
    prompts = folder / "prompts.safetensors"
    options = [f"--model.prompts.file={prompts}", "--trainer.max_epochs=1"]
    train.main([f"--config={recipe}", f"--run={folder}2", *options])
    assert read_prompts(recipe.parent / "run2")[1]["steps"] == 9


@pytest.mark.slow
def test_a_checkpoint_that_runs_code_is_refused(recipe: Path) -> None:
    run(recipe, "--trainer.max_epochs=1")
    folder = recipe.parent / "run"
    last = folder / "checkpoints/last.ckpt"
    content = torch.load(last, weights_only=True) | {"callbacks": Evil(recipe.parent / "ran")}
    torch.save(content, last)
    with pytest.raises(ValueError, match=r"last\.ckpt: refused, .*\(posix\.system\)"):
        run(recipe, "--ckpt_path=last")
    served = "http://127.0.0.1:9/evil.ckpt"
    with pytest.raises(FileNotFoundError, match="no such file"):
        run(recipe, f"--ckpt_path={served}")
    assert not (recipe.parent / "ran").exists()
