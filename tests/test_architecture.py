"""The structure: small rooms, short files, imports that run down only, tests that mirror it."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "clipiqa_plus"
ROOMS = sorted(p.parent for p in PACKAGE.glob("*/__init__.py"))


def test_rooms_are_few_and_files_short() -> None:
    entries = [p.name for p in PACKAGE.iterdir() if p.name != "__pycache__"]
    assert len(entries) <= 15, sorted(entries)
    for file in PACKAGE.rglob("*.py"):
        assert len(file.read_text().splitlines()) <= 400, file
    for room in (*ROOMS, *(room.parent for room in PACKAGE.glob("*/*/__init__.py"))):
        modules = [p.name for p in room.glob("*.py") if p.name != "__init__.py"]
        assert len(modules) <= 14, (room, modules)


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_room_states_what_comes_in_and_what_goes_out(room: Path) -> None:
    described = ast.get_docstring(ast.parse((room / "__init__.py").read_text()))
    assert described
    words = " ".join(described.split())
    assert re.search(r"\b(Takes .*\breturns|In comes? .*\bout go(es)?|In: .*\bOut:) ", words)


def cross_room_imports() -> Iterator[tuple[str, str, str, Path]]:
    """Yield room, module, name and importing file of every import of one room by another."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            room, _, module = node.module.removeprefix(f"{PACKAGE.name}.").partition(".")
            if PACKAGE / room not in ROOMS or PACKAGE / room in file.parents:
                continue
            for alias in node.names:
                yield room, module.partition(".")[0], alias.name, file


@pytest.mark.slow
def test_rooms_import_only_public_names_of_each_other() -> None:
    found = list(cross_room_imports())
    assert {room for room, *_ in found} >= {"clip", "data", "evaluation", "training"}
    private = {
        f"{file.relative_to(PACKAGE)} imports {room}.{module}.{name}"
        for room, module, name, file in found
        if not {module, name} & set(importlib.import_module(f"clipiqa_plus.{room}").__all__)
    }
    assert not private, "add the name or its module to the room's __all__"


@pytest.mark.parametrize("room", [room.name for room in ROOMS if room.name != "commands"])
def test_public_names_exist(room: str) -> None:
    package = importlib.import_module(f"clipiqa_plus.{room}")
    modules = {path.stem for path in (PACKAGE / room).iterdir()}
    for name in package.__all__:
        if name in modules:
            importlib.import_module(f"clipiqa_plus.{room}.{name}")
        assert hasattr(package, name), name
    with pytest.raises(AttributeError, match="no_such_name"):
        package.no_such_name  # noqa: B018


def contract(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the imports of the package in a folder by the contract of pyproject.toml."""
    program = Path(sysconfig.get_path("scripts")) / "lint-imports"
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(
        [program, "--no-cache"], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_an_upward_import_breaks_the_contract(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "clipiqa_plus", ignore=shutil.ignore_patterns("assets"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    kept = contract(tmp_path)
    assert kept.returncode == 0, kept.stdout + kept.stderr
    scoring = tmp_path / "clipiqa_plus/scoring.py"
    scoring.write_text(scoring.read_text() + "\nfrom clipiqa_plus.module import CLIPIQAPlus\n")
    broken = contract(tmp_path)
    assert broken.returncode == 1
    assert "clipiqa_plus.scoring -> clipiqa_plus.module" in broken.stdout


def test_what_tests_share_stands_in_their_support_folder() -> None:
    tests = ROOT / "tests"
    shared = re.compile(r"^(?:from|import) (tests\.(?!support\b)\S+)", re.MULTILINE)
    found = {str(f.relative_to(tests)): shared.findall(f.read_text()) for f in tests.rglob("*.py")}
    assert not {file: modules for file, modules in found.items() if modules}
