"""The commands and snippets in the pages of the documentation."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageFilter

from clipiqa_plus.inference.presets import PRESETS

ROOT = Path(__file__).parents[2]


DOCS = ROOT / "docs"


PAGES = {str(page.relative_to(ROOT)): page for page in [*DOCS.rglob("*.md"), ROOT / "README.md"]}


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
    sets = blocks(DOCS / "tutorials" / "several-sets.md", "yaml")[0]
    (tmp_path / "two_sets.yaml").write_text(sets)
    return tmp_path
