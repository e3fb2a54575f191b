"""The documentation: it builds without a warning, and its commands and snippets are true."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import clipiqa_plus
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.commands.main import command_line
from clipiqa_plus.prompts.files import save_prompts
from clipiqa_plus.prompts.sources import ContextPrompts
from clipiqa_plus.training.cli import TrainCLI
from clipiqa_plus.training.recipes import find_recipe
from tests.support.documentation import DOCS, PAGES, ROOT, blocks, commands, folder

__all__ = ["folder"]

SNIPPETS = {name: page for name, page in PAGES.items() if name != "README.md"}


class ParsedOnly(TrainCLI):
    """Reads and checks a command line of training, and makes nothing of it."""

    def instantiate_classes(self) -> None:
        pass


def check(program: str, args: list[str]) -> None:
    """Raise an error, or exit, if a command line is not one that the program takes."""
    if program == "clipiqa" and args[0] in ("train", "evaluate"):
        check(f"{args[0]}.py", args[1:])
    elif program == "clipiqa":
        command_line().parse_args(args, exit_on_error=False, print_error=False)
    elif program == "train.py":
        ParsedOnly(ROOT / "configs" / "demo.yaml", args)
    elif program == "evaluate.py":
        options = command_line().parse_args(["evaluate", *args], exit_on_error=False)[1].arguments
        recipes = [options["train"]] if options.get("train") else []
        for recipe in recipes + [d for d in options.get("data", []) if not d.startswith("runs/")]:
            find_recipe(recipe)
    elif program == "make":
        assert re.search(rf"^{args[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    else:
        text = (ROOT / program).read_text() + (ROOT / "benchmarks" / "timing.py").read_text()
        assert not [word for word in args if word.startswith("--") and f'"{word}"' not in text]


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_commands_are_ones_that_the_programs_take(name: str, folder: Path) -> None:
    for program, args in commands(PAGES[name]):
        try:
            check(program, args)
        except (Exception, SystemExit) as error:
            pytest.fail(f"{name}: {program} {shlex.join(args)}: {error!r}")


@pytest.mark.slow
def test_commands_are_found_and_wrong_ones_fail(tmp_path: Path, folder: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```bash\nfind . | clipiqa score - \\\n    --out s.csv  # --no\n"
        "torchrun --nproc-per-node 2 -- train.py --run $run\n```\n"
    )
    found = [("clipiqa", ["score", "-", "--out", "s.csv"]), ("train.py", ["--run", "0"])]
    assert list(commands(page)) == found
    for program, option in [
        ("clipiqa", "score p --out s.csv --colour"),
        ("train.py", "--model.promts.mode zero_shot"),
        ("evaluate.py", "--sources 3"),
        ("evaluate.py", "--data configs/absent.yaml"),
        ("make", "dokumentation"),
        ("benchmarks/inference.py", "--size 3"),
    ]:
        with pytest.raises((Exception, SystemExit)):
            check(program, option.split())


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, page in SNIPPETS.items() if blocks(page, "python")])
def test_snippets_run(name: str, folder: Path) -> None:
    demo = FrozenCLIP.from_name("demo")
    prompts = ContextPrompts(demo)
    prompts.steps += 1
    (folder / "runs" / "demo").mkdir(parents=True)
    save_prompts(folder / "runs" / "demo" / "prompts.safetensors", prompts, demo, reduction="mean")
    (folder / "runs" / "compared" / "demo").mkdir(parents=True)
    pd.DataFrame({"image": list("ab"), "mos": [0.2, 0.8], "zero_shot": [0.3, 0.4]}).to_parquet(
        folder / "runs" / "compared" / "demo" / "scores.parquet"
    )
    names: dict[str, object] = {}
    for number, block in enumerate(blocks(SNIPPETS[name], "python"), start=1):
        exec(compile(block, f"{name}, snippet {number}", "exec"), names)


def test_reference_names_all_public_names() -> None:
    page = (DOCS / "reference" / "index.md").read_text()
    missing = [n for n in clipiqa_plus.__all__ if n != "__version__" and f"[`{n}`]" not in page]
    assert not missing


@pytest.mark.slow
def test_site_builds_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    site = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", site],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    fetched = re.compile(
        r"""<(?:script|img|iframe)[^>]*\ssrc="?(?:https?:)?//|<link[^>]*stylesheet[^>]*//\w"""
        r"""|url\(['"]?(?:https?:)?//"""
    )
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(pages) > len(SNIPPETS)
    assert not [page for page in pages if fetched.search(page.read_text())]
    scorer = (site / "reference" / "scoring.html").read_text()
    assert 'id="clipiqa_plus.inference.scorer.Scorer.forward"' in scorer
    assert ":class:`" not in scorer
