"""The commands of README and docs run as they are written, on small stand-ins."""

from __future__ import annotations

import glob
import io
import shlex
from pathlib import Path

import pytest

import evaluate
import train
from clipiqa_plus.commands.main import main
from tests.support.documentation import PAGES, commands, folder
from tests.support.small_biq2021 import small
from tests.support.stand_ins import stand_ins

__all__ = ["folder", "small"]

ELSEWHERE = {
    "make": "installs",
    "benchmarks/score_differences.py": "a benchmark",
    "--engine": "Ray: tests/inference/bulk/test_ray_data.py",
    "--devices": "several GPUs: tests/inference/bulk/test_devices.py",
    "export": "tests/inference/test_export.py, tests/prompts/test_importers.py",
    "push": "a network: tests/inference/test_hub.py",
    "hf://my_name/my_prompts": "a network: tests/inference/test_hub.py",
    "get": "the test of its own",
    "qualiclip": "published weights: tests/inference/test_presets.py",
    "--start": "prompts of the recipe's layout: tests/evaluation/studies/test_studies.py",
    "--views": "larger pictures than the stand-ins: tests/inference, tests/evaluation",
    "compare": "two folders of pictures: tests/commands/scores/test_compare.py",
    "overlap": "two data sets: tests/evaluation/analyses/test_overlap.py",
    "ratings-anna.csv": "saved from a page: tests/commands/test_rate.py",
    "reproduce": "published weights: tests/evaluation/test_reproduction.py",
}
"""Words of commands that need more than this test has, and where they are tested."""
ONE_DEVICE = ["--trainer.devices=1", "--trainer.num_nodes=1", "--trainer.strategy=auto"]
SHORT = [*ONE_DEVICE, "--trainer.accelerator=cpu", "--trainer.max_steps=2"]
TOPICS = {"train.py": "train", "evaluate.py": "evaluate"}


def run(program: str, args: list[str]) -> None:
    """Run a command in this process, shortened."""
    topic = TOPICS.get(program, args[0])
    args = [file for arg in args for file in sorted(glob.glob(arg)) or [arg]]
    if topic == "train":
        args += SHORT if "--ckpt_path" in args else [*SHORT, "--overwrite=true"]
    if topic == "evaluate" and "--repeats" in args:
        args[args.index("--repeats") + 1] = "2"
    if program == "clipiqa":
        assert main(args) == 0
    else:
        {"train.py": train, "evaluate.py": evaluate}[program].main(args)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if [*commands(page)]])
def test_commands_run_as_they_are_written(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_ins(folder, monkeypatch)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for program, args in commands(PAGES[name]):
        if {program, *args} & ELSEWHERE.keys():
            continue
        listed = io.TextIOWrapper(io.BytesIO(b"photo.jpg\nblurred.jpg\n"))
        monkeypatch.setattr("sys.stdin", listed)
        try:
            run(program, args)
        except (Exception, SystemExit) as error:
            pytest.fail(f"{name}: {program} {shlex.join(args)}: {error!r}")


@pytest.mark.slow
def test_data_get_runs_as_it_is_written(
    small: tuple[str, str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [args for page in PAGES.values() for _, args in commands(page) if "get" in args]
    assert found
    for args in found:
        assert main(args) == 0
        assert "complete" in capsys.readouterr().out
    assert (folder / "data" / "biq2021" / "Images").is_dir()
