"""The documentation: it builds without a warning, and its commands and snippets are true."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image, ImageFilter

import clipiqa_plus
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.commands.main import command_line
from clipiqa_plus.inference.presets import PRESETS
from clipiqa_plus.prompts.files import save_prompts
from clipiqa_plus.prompts.sources import ContextPrompts
from clipiqa_plus.training.cli import TrainCLI
from clipiqa_plus.training.recipes import find_recipe

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {str(page.relative_to(ROOT)): page for page in [*DOCS.rglob("*.md"), ROOT / "README.md"]}
SNIPPETS = {name: page for name, page in PAGES.items() if name != "README.md"}

Command = tuple[str, list[str]]


def blocks(page: Path, language: str) -> list[str]:
    """Blocks of a language; slow snippets, tested elsewhere, are marked ``py``, not ``python``."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> Iterator[Command]:
    """Programs of this project and their arguments, in the lines of a page's bash blocks."""
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r'"\$\{\w+\[@\]\}"', "", line)
            words = shlex.split(re.sub(r"\$\{?\w+\}?", "0", line), comments=True)
            for start, word in enumerate(words):
                if re.fullmatch(r"clipiqa|make|(benchmarks/)?\w+\.py", word):
                    yield word, arguments(words[start + 1 :])
                    break


def arguments(words: list[str]) -> list[str]:
    for end, word in enumerate(words):
        if word in ("|", ">", "&&", ";", "&"):
            return words[:end]
    return words


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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with what the pages speak of, and the demo in the place of RN50."""
    monkeypatch.chdir(tmp_path)
    for name, preset in PRESETS.items():
        monkeypatch.setitem(PRESETS, name, replace(preset, backbone="demo"))
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    photo = tmp_path / "photo.jpg"
    shutil.copy(ROOT / "data" / "demo" / "cat.jpg", photo)
    Image.open(photo).filter(ImageFilter.GaussianBlur(3)).save("blurred.jpg")
    (tmp_path / "mine").mkdir()
    views = blocks(DOCS / "tutorials" / "own-data.md", "yaml")[0]
    (tmp_path / "mine" / "views.yaml").write_text(views)
    return tmp_path


@pytest.mark.parametrize("name", PAGES)
def test_commands_are_ones_that_the_programs_take(name: str, folder: Path) -> None:
    for program, args in commands(PAGES[name]):
        try:
            check(program, args)
        except (Exception, SystemExit) as error:
            pytest.fail(f"{name}: {program} {shlex.join(args)}: {error!r}")


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
