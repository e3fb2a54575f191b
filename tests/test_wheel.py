"""The wheel: built, installed into a fresh environment, and used from an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def run(*command: str | Path, folder: Path) -> str:
    """Run a command that sees neither the checkout nor the user's caches; return what it prints."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = kept | {"CLIPIQA_CACHE": str(folder.parent / "cache"), "COLUMNS": "200"}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment with the wheel, and the dependencies of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip"]
    offline = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-build-isolation", *offline, "--wheel-dir", folder, ROOT]
    run(*pip, *build, folder=folder)
    (wheel,) = folder.glob("clipiqa_plus-*.whl")
    fresh = folder / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", fresh, folder=folder)
    run(*pip, "--python", fresh / "bin/python", "install", *offline, wheel, folder=folder)
    (packages,) = fresh.glob("lib/python*/site-packages")
    # Behind the fresh environment's own packages, so that the package is the wheel's.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return fresh / "bin"


@pytest.mark.slow
def test_train_score_and_evaluate_from_an_empty_folder(environment: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    where = "import clipiqa_plus; print(clipiqa_plus.__file__)"
    imported = Path(run(environment / "python", "-c", where, folder=empty).strip())
    assert imported.is_relative_to(environment.parent)
    clipiqa = environment / "clipiqa"
    assert "koniq_official" in run(clipiqa, "recipes", folder=empty)

    few = ["--trainer.max_steps=2", "--data.batch_size=8", "--features.enabled=false"]
    few += [f"--trainer.limit_{part}_batches=2" for part in ("train", "val", "test")]
    trained = run(clipiqa, "train", "--config", "demo", *few, folder=empty)
    assert "result: " in trained
    prompts = empty / "runs/demo/prompts.safetensors"
    assert prompts.is_file()

    photos = [imported.parent / f"data/assets/demo/{name}.jpg" for name in ("koala", "moose")]
    options = ["--preset", "clipiqa+", "--prompts", prompts, "--out", "scores.csv"]
    run(clipiqa, "score", *photos, *options, folder=empty)
    scores = pd.read_csv(empty / "scores.csv")
    assert len(scores) == 2
    assert scores.select_dtypes("float").stack().between(0, 1).all()

    run(clipiqa, "evaluate", "--prompts", "zero_shot", prompts, "--data", "demo", folder=empty)
    results = pd.read_csv(empty / "runs/evaluation/results.csv")
    assert results["n"].tolist() == [264, 264]
    assert "koala" in (empty / "runs/evaluation/report.html").read_text()
