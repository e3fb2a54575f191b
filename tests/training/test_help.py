"""train.py --help: fast, complete and true; wrong options are answered by the nearest right one."""

from __future__ import annotations

import re
import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest

import train
from clipiqa_plus.data.base import IQADataModule
from clipiqa_plus.training.cli import TrainCLI
from clipiqa_plus.training.help import help_text

ROOT = Path(__file__).parents[2]


def test_help_loads_neither_torch_nor_lightning() -> None:
    """What takes seconds is loading those; a clock would measure the load of the machine."""
    code = (
        "import sys, train\n"
        "try: train.main(['--help'])\n"
        "except SystemExit as done: assert not done.code\n"
        "assert not {'torch', 'lightning', 'jsonargparse'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == help_text() + "\n"


def test_help_names_the_options_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = help_text().splitlines()
    at = [i for i, line in enumerate(lines) if line.startswith("  --")]
    assert all(lines[i + 1].startswith(" " * 8) for i in at), "an option without help"
    shown = {lines[i].split()[0] for i in at}
    known: dict[str, str | None] = {}
    monkeypatch.setattr(
        TrainCLI,
        "parse_arguments",
        lambda self, parser, args: known.update(
            {name: a.help for a in parser._actions for name in a.option_strings}
        ),
    )
    with pytest.raises(AttributeError):  # nothing was parsed
        TrainCLI(train.DEFAULT, [])
    assert [name for name, text in known.items() if not text] == []
    data = {f"--data.{name}" for name in signature(IQADataModule).parameters}
    assert shown <= set(known) | data
    ours = {n for n in known if re.match(r"--(model|features)\.[\w.]+$", n) and "help" not in n}
    assert ours - {"--model.prompts"} <= shown
    assert data - {"--data.order_seed"} <= shown  # --seed_everything sets it


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--model.prompts.n_cxt=3", "--model.prompts.n_ctx"),
        ("--trainer.max_epohcs=3", "--trainer.max_epochs"),
        ("--data.batchsize=3", "--data.batch_size"),
        ("--model.loss=msee", "mse"),
    ],
)
def test_wrong_options_are_answered_by_the_nearest(
    typed: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        TrainCLI(train.DEFAULT, [typed])
    assert stop.value.code == 2
    assert f"Did you mean {meant}?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("--data.resize=huge", "resize is huge; expected int or list or null"),
        ("--model.loss=none", "model.loss is none; expected 'mse', 'plcc', "),
        ("--data.train_views=NoViews", "train_views is NoViews; expected class or path or null"),
        ("--overwrite=maybe", "overwrite is maybe; expected bool"),
    ],
)
def test_a_value_of_the_wrong_type_is_one_line(
    typed: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        TrainCLI(train.DEFAULT, [typed])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert f": {told}" in error.splitlines()[0]
    assert error.splitlines()[-1] == "(--help lists the options.)"
