"""The command clipiqa: it starts at once, picks up every topic, and means the same everywhere."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App

import evaluate
import train
from clipiqa_plus import __version__, commands
from clipiqa_plus.commands.main import as_typed, command_line, main

ROOT = Path(__file__).parents[2]


def functions(app: App, words: str = "") -> Iterator[tuple[str, App]]:
    """The commands of an app that run something, at any depth, by the words that call them."""
    if app.default_command:
        yield words.strip(), app
    for name in app:
        if not name.startswith("-"):
            yield from functions(app[name], f"{words} {name}")


COMMANDS = dict(functions(command_line()))


def test_version_and_help_answer_without_loading_torch() -> None:
    code = (
        "import sys\n"
        "from clipiqa_plus.commands.main import main\n"
        "main(['--version'])\nmain(['--help'])\nmain(['score', '--help'])\n"
        "print({'torch', 'numpy', 'pandas', 'PIL'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    printed = done.stdout.split()
    assert printed[:2] == ["clipiqa_plus", __version__]
    assert printed[-1] == "set()"


def cpu_seconds(*args: str) -> float:
    """Processor time of a Python process: the least of three, so that others matter little."""
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(used.ru_utime + used.ru_stime)"
    )
    command = [sys.executable, "-c", code, sys.executable, *args]
    return min(float(subprocess.check_output(command)) for _ in range(3))


@pytest.mark.slow
def test_help_answers_within_0_3_s_of_python() -> None:
    answered = cpu_seconds("-m", "clipiqa_plus.commands.main", "--help")
    assert answered - cpu_seconds("-c", "pass") < 0.3


def test_every_topic_is_picked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "greeting.py").write_text(
        "from cyclopts import App\napp = App('greet')\n\n@app.default\ndef greet(name: str, /):\n"
        "    'Say hello.'\n    print('hello', name)\n    return 3\n"
    )
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    assert main(["greet", "you"]) == 3
    assert capsys.readouterr().out == "hello you\n"
    main(["--help"])
    assert "Say hello." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("default", "shown"),
    [("zero_shot", "zero_shot"), (("a", "b"), "a b"), ([0.5], "0.5"), (0, "0"), ((), None)],
)
def test_help_shows_defaults_as_one_types_them(default: object, shown: str | None) -> None:
    assert as_typed(default) == shown
    assert as_typed(None) is None


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("evaluate.py --help", "--prompts"),
        ("evaluate.py --version", __version__),
        ("train.py --version", __version__),
        ("clipiqa train --version", __version__),
        ("clipiqa train --help_all", "--trainer.accelerator"),
        ("clipiqa train --data.help KonIQ10k", "--data.batch_size"),
    ],
)
def test_every_entry_tells_its_options_and_the_version(
    command: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = {"evaluate.py": evaluate.main, "train.py": train.main, "clipiqa": main}
    entry, *words = command.split()
    with pytest.raises(SystemExit) as stop:
        entries[entry](words)
    assert not stop.value.code
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    ["-m clipiqa_plus.commands.main data list", "evaluate.py --help", "train.py --help"],
)
def test_a_reader_that_leaves_is_no_error(command: str) -> None:
    ends = os.pipe()
    os.close(ends[0])  # nobody reads
    with os.fdopen(ends[1], "w") as closed:
        done = subprocess.run(
            [sys.executable, *command.split()], cwd=ROOT, stdout=closed, stderr=subprocess.PIPE
        )
    assert done.stderr == b""


def test_another_broken_pipe_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def die(*_: object, **__: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(App, "__call__", die)
    assert main(["data", "list"]) == 1
    assert "Broken pipe" in capsys.readouterr().err


@pytest.mark.parametrize("words", COMMANDS)
def test_options_are_documented_and_mean_the_same_everywhere(words: str) -> None:
    command = COMMANDS[words]
    function = command.default_command
    assert inspect.getdoc(function), function
    arguments = command.assemble_argument_collection(parse_docstring=True)
    assert not [argument.name for argument in arguments if not argument.parameter.help]
    name = {"str", "str | None"}
    types = {"backbone": name, "device": {"str | None"}, "out": name}
    for option, parameter in inspect.signature(function).parameters.items():
        assert parameter.annotation in types.get(option, {parameter.annotation}), (function, option)
        if parameter.annotation == "bool":  # --overwrite, --dry-run, ...: a flag, off unless given
            assert parameter.default is False


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("score photos --out s.csv --colour", "--colour"),
        ("export", "--out"),
        ("scores photos", 'Unknown command "scores"'),
        ("data check --root data", "NAME"),
        ("export --out a --format tflite", "tflite"),
    ],
)
def test_a_wrong_line_is_one_message_and_exit_code_2(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    assert ended.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_completion_script_names_the_commands() -> None:
    script = command_line().generate_completion(shell="bash")
    assert all(name in script for name in ("score", "prompts", "--batch-size"))
