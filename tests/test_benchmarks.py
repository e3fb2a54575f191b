"""The benchmarks of speed: they run, and both of their sides compute the same thing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.weights import random_clip
from tests.support.models import SMALL_RESNET, SMALL_VIT

ROOT = Path(__file__).parents[1]


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import peers

    return peers


@pytest.mark.slow
def test_both_sides_compute_the_same(peers: ModuleType) -> None:
    ours, peer = peers.make_pair(quick=True)
    images = peers.pictures(3, 96, 64)
    # fp32 through the toy's layers, folded and in another order.
    tolerance = {"atol": 1e-5, "rtol": 1e-4}
    features = ours.backbone.encode_image(images)
    torch.testing.assert_close(features, peer.image_features(images), **tolerance)
    torch.testing.assert_close(ours.text_features()[0], peer.text_features(), **tolerance)
    torch.testing.assert_close(ours(images), peer(images), **tolerance)
    assert (
        float(features.std(dim=0).max()) > 1e-3
    )  # pictures differ, so that equality says something


def test_both_sides_have_the_same_gradient(peers: ModuleType) -> None:
    ours, peer = peers.make_pair(quick=True)
    images, mos = peers.pictures(3, 64, 64), torch.tensor([[0.1], [0.5], [0.9]])
    for scores in (ours(images), peer(images)):
        torch.nn.functional.mse_loss(scores, mos).backward()
    assert float(peer.ctx.grad.abs().max()) > 1e-6
    scale = float(peer.ctx.grad.abs().max())
    torch.testing.assert_close(ours.prompts.ctx.grad, peer.ctx.grad, atol=1e-4 * scale, rtol=1e-4)


@pytest.mark.slow
def test_one_whole_rn50_agrees(peers: ModuleType) -> None:
    ours, peer = peers.make_pair()
    images = peers.pictures(2, 96, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), peer(images), atol=1e-4, rtol=0)


def run(name: str, folder: Path, *options: str) -> dict[str, Any]:
    result = folder / "result.json"
    subprocess.run(
        [sys.executable, f"benchmarks/{name}.py", "--quick", "--json", result, *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=300,
    )
    return json.loads(result.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["text_pass", "inference", "training_step", "import_time"])
def test_script_runs_and_writes_its_numbers(name: str, tmp_path: Path) -> None:
    found = run(name, tmp_path, "--repeats", "2")
    assert found["machine"]["torch"] == torch.__version__
    for row in found["rows"]:
        numbers = [value for value in row.values() if isinstance(value, int | float)]
        assert numbers
        assert all(number >= 0 for number in numbers)


@pytest.mark.slow
def test_scoring_runs_and_says_what_it_costs(tmp_path: Path) -> None:
    found = run("scoring", tmp_path, "--repeats", "1", "--parts", "overhead", "memory")
    overhead, memory = found["rows"]
    assert overhead["CPU ratio"] > 0
    assert 0.2 < memory["largest resident, GiB"] < 2  # torch alone takes more than the lower


@pytest.mark.slow
def test_second_order_compares_both_ways_and_many_fits(tmp_path: Path) -> None:
    found = run("second_order", tmp_path, "--threads", "1")
    rows = {row["what"]: row for row in found["rows"]}
    assert rows["L-BFGS, whole part"]["validation SRCC"] > 0.9
    assert rows["L-BFGS, whole part"]["text passes"] < 200
    assert rows["80,000 steps from 20 measured ones"]["CPU ratio"] > 1
    assert float(rows["at once against one after the other"]["loss differs by"]) < 1e-5


@pytest.mark.slow
def test_tiles_agree_with_one_piece_and_bound_the_memory(tmp_path: Path) -> None:
    found = run("tiles", tmp_path, "--compared", "640x480")
    compared, memory = found["rows"]
    assert float(compared["largest difference of a score"]) <= 1e-4
    low, high = map(float, compared["scores"].split(" to "))
    assert high - low > 0.1  # scores spread, so that agreement says something
    assert 0.5 < memory["peak, GB"] < 3


@pytest.mark.slow
def test_score_differences_run_and_find_what_must_be(tmp_path: Path) -> None:
    found = run("score_differences", tmp_path, "--threads", "1")
    rows = {row["what"]: row for row in found["rows"]}
    assert not any("positional embedding" in row for row in rows)  # the demo backbone's is zero
    # Two ways of one filter, both without antialias, agree far better than either with Pillow's.
    opencv, torch_bicubic, antialiased = (
        row["mean |difference|"] for name, row in rows.items() if name.startswith("half size: ")
    )
    assert opencv == pytest.approx(torch_bicubic, rel=0.05)
    assert antialiased < opencv / 4
    assert rows["five-pair mean, not the single pair"]["mean |difference|"] > 0.05
    assert rows["fp16 image tower"]["largest"] < 5e-3  # half precision has 3 digits
    assert rows["BGR, not RGB"]["largest"] > 0.01


@pytest.mark.slow
def test_parity_needs_the_sources_of_pyiqa(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "benchmarks/parity.py", "--pyiqa", tmp_path],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 1
    assert found.stderr.strip().splitlines() == [
        f"{tmp_path}: no pyiqa/archs/clipiqa_arch.py; give a checkout of IQA-PyTorch"
    ]


def test_parity_compares_weights_that_spread_the_scores(
    peers: ModuleType,
) -> None:
    import parity

    images = peers.pictures(6, 64, 64)
    for vit, architecture in ((False, SMALL_RESNET), (True, SMALL_VIT)):
        clip = parity.spread(random_clip(architecture), "none")
        features = FrozenCLIP(clip, "small", "0" * 64, "none").encode_image(images)
        assert float(features.mean(dim=0).norm()) < 0.7, vit  # before, all point one way: 1
        assert float(clip.logit_scale.exp()) == pytest.approx(100, rel=1e-5)


@pytest.mark.slow
def test_tests_hold_their_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import level

    found = level.rejections(200, 20, 1.0, repeats=60)
    # Of 60 repeats at 5%, more than 9 rejections have a probability of 0.001.
    assert (found[~found.index.str.startswith(level.STANDARD)] <= 9 / 60).all()
    assert found[f"{level.STANDARD}DeLong AUC_BW"] > 0.3
    worse = level.rejections(200, 0, 2.5, repeats=10)
    assert worse["SRCC"] == worse["Krasula AUC_BW"] == worse["residuals"] == 1
