"""Evaluations that are killed, interrupted or run twice at once: real processes, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import evaluate
from clipiqa_plus.report.page import write_report
from tests.support.models import write_weights

ROOT = Path(__file__).parents[2]
FORKS = """
import os, random, signal, sys, time
from pathlib import Path
from filelock import FileLock, Timeout
import torch
torch.set_num_threads(1)  # threads do not survive a fork
import evaluate
import clipiqa_plus.evaluation.evaluation, clipiqa_plus.report.page, clipiqa_plus.report.loggers
from clipiqa_plus.commands.errors import run_entry

def start(*args):
    if pid := os.fork():
        return pid
    try:
        run_entry(lambda: evaluate.main(list(args)))
    except SystemExit as stop:
        os._exit(stop.code)
    os._exit(0)

def code(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

"""
"""A program that imports once, and forks evaluations from there."""


@pytest.fixture
def command(tmp_path: Path, make_picture: Callable[..., Path]) -> list[str]:
    """Arguments of an evaluation of 12 pictures."""
    write_weights(tmp_path / "small.safetensors")
    for i in range(12):
        make_picture(tmp_path / f"{i}.png", seed=i)
    frame = pd.DataFrame({"image": [f"{i}.png" for i in range(12)]})
    frame["mos"] = np.random.default_rng(0).uniform(1, 5, 12)
    frame.to_csv(tmp_path / "scores.csv", index=False)
    options = {"table": str(tmp_path / "scores.csv"), "mos_range": [1, 5], "num_workers": 0}
    data = {
        "class_path": "clipiqa_plus.data.TableData",
        "init_args": options | {"split": "whole"},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"data": data}))
    backbone = tmp_path / "small.safetensors"
    return ["--data", str(tmp_path / "mine.yaml"), "--backbone", str(backbone), "--device", "cpu"]


def run(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def results(folder: Path) -> pd.DataFrame:
    """The scores of an evaluation, its tables being there."""
    assert (folder / "results.csv").is_file()
    return pd.read_parquet(folder / "mine" / "scores.parquet")


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Compare scores up to rounding: the number of threads moves the last digits."""
    pd.testing.assert_frame_equal(found, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_killed_at_any_moment_the_next_run_is_whole(command: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    evaluate.main([*command, "--out", str(tmp_path / "whole")])
    whole = results(tmp_path / "whole")
    script = FORKS + (
        "begin = time.monotonic()\n"
        "assert code(start(*sys.argv[2:], '--out', sys.argv[1] + '-timed')) == 0\n"
        "span = time.monotonic() - begin\n"
        "moments = random.Random(0)\n"
        "for _ in range(4):\n"
        "    pid = start(*sys.argv[2:], '--out', sys.argv[1])\n"
        "    time.sleep(moments.uniform(0.1, 0.9) * span)\n"
        "    os.kill(pid, signal.SIGKILL)\n"
        "    print('ended with', code(pid))\n"
    )
    done = run(script, str(out), *command)
    assert done.returncode == 0, done.stderr
    assert f"ended with {-signal.SIGKILL}" in done.stdout
    if (out / "evaluation.json").is_file():
        same(results(out), whole)
    else:
        with pytest.raises(FileNotFoundError, match=r"evaluation\.json"):
            write_report(out)
    evaluate.main([*command, "--out", str(out)])
    same(results(out), whole)
    assert not list(out.rglob("*.part"))
    assert "</html>" in (out / "report.html").read_text()


@pytest.mark.slow
def test_the_second_of_two_processes_is_refused(command: list[str], tmp_path: Path) -> None:
    script = FORKS + (
        "first = start(*sys.argv[2:], '--out', sys.argv[1])\n"
        "lock = Path(sys.argv[1], '.lock')\n"
        "while True:\n"
        "    time.sleep(0.01)\n"
        "    if lock.exists():\n"
        "        try:\n"
        "            FileLock(lock).acquire(blocking=False).lock.release()\n"
        "        except Timeout:\n"
        "            break\n"
        "os.kill(first, signal.SIGSTOP)  # in the middle of it\n"
        "assert code(start(*sys.argv[2:], '--out', sys.argv[1])) == 1\n"
        "os.kill(first, signal.SIGCONT)\n"
        "assert code(first) == 0\n"
    )
    done = run(script, str(tmp_path / "out"), *command)
    assert done.returncode == 0, done.stderr
    assert "another evaluation is writing here" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(results(tmp_path / "out")) == 12


@pytest.mark.slow
def test_ctrl_c_is_one_line_and_how_to_go_on(command: list[str], tmp_path: Path) -> None:
    script = (
        "import os, signal, evaluate\n"
        "from clipiqa_plus.commands.errors import run_entry\n"
        "from clipiqa_plus.evaluation import evaluation\n"
        "evaluation.describe = lambda *_: os.kill(os.getpid(), signal.SIGINT)\n"
        "run_entry(evaluate.main)\n"
    )
    done = run(script, *command, "--out", str(tmp_path / "out"))
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.endswith("interrupted; run the same command to resume; encoded features are kept")
    evaluate.main([*command, "--out", str(tmp_path / "out")])
    assert len(results(tmp_path / "out")) == 12


@pytest.mark.slow
def test_wandb_without_a_key_ends_before_the_evaluation(command: list[str], tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    environment["HOME"] = str(tmp_path)  # no key in its .netrc
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "evaluate.py", *command, "--out", str(out), "--wandb", "mine"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "evaluate.py: Weights & Biases: " in done.stderr  # then wandb's own words
    assert "Or set WANDB_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_a_misspelt_option_is_answered_by_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        evaluate.main(["--promts", "zero_shot"])
    said = capsys.readouterr()
    assert "--prompts" in said.out + said.err
