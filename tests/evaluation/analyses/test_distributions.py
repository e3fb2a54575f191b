"""Predicted distributions against those of raters, through an evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from scipy import stats

import clipiqa_plus as ciq
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.commands.evaluate import evaluate
from clipiqa_plus.commands.pairs import ScaleOptions
from clipiqa_plus.data.images import read_rgb
from clipiqa_plus.evaluation.analyses.distributions import distribution_lines
from evaluate import main
from tests.support.models import write_weights

N, LEVELS = 12, np.linspace(0, 1, 5)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture
def recipe(tmp_path: Path, make_picture: Callable[..., Path]) -> Path:
    counts = np.random.default_rng(0).integers(1, 9, (N, 5))
    frame = pd.DataFrame({"image": [f"{i}.png" for i in range(N)]})
    frame["mos"] = 1 + 4 * counts @ LEVELS / counts.sum(axis=1)
    for grade in range(5):
        frame[f"count_{grade + 1}"] = counts[:, grade]
    for i in range(N):
        make_picture(tmp_path / f"{i}.png", seed=i)
    frame.to_csv(tmp_path / "scores.csv", index=False)
    options: dict[str, Any] = {"table": str(tmp_path / "scores.csv"), "mos_range": [1, 5]}
    options |= {"split": "whole", "num_workers": 0}
    data = {"class_path": "clipiqa_plus.data.TableData", "init_args": options}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"data": data}))
    return path


def run(recipe: Path, weights: Path, *scale: str) -> Path:
    command = ["--data", str(recipe), "--backbone", str(weights), "--device", "cpu"]
    main([*command, "--out", str(recipe.parent / "out"), *(["--scale", *scale] if scale else [])])
    return recipe.parent / "out"


@pytest.mark.slow
@pytest.mark.parametrize("words", [["acr"], ["Good photo.", "Fair photo.", "Bad photo."]])
def test_the_table_is_scipys(
    recipe: Path, weights: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(recipe, weights, *words)
    scores = pd.read_parquet(out / "mine/scores.parquet")
    scales = words if len(words) == 1 else [words]
    scorer = ciq.load(backbone=str(weights), scales=scales, device="cpu")
    assert scorer.columns == ["score", "deviation"]
    pictures = [torch.from_numpy(picture(recipe.parent / f"{i}.png")) for i in range(N)]
    alone = scorer.score_columns(pictures).double().numpy()
    # Batches of other sizes sum in another order; 100 x cosine amplifies it.
    np.testing.assert_allclose(scores[["zero_shot", "zero_shot deviation"]], alone, atol=1e-4)
    (row,) = json.loads((out / "distributions.json").read_text())
    counts = scores[[f"count_{k}" for k in range(1, 6)]].to_numpy()
    features = torch.cat([scorer.backbone.encode_image(p[None]) for p in pictures]).numpy()
    text = scorer.text[0].numpy()
    logits = scorer.logit_scale * features @ text.T
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))[:, ::-1]
    places = np.linspace(0, 1, len(text))
    distance = [
        stats.wasserstein_distance(places, LEVELS, p, c)
        for p, c in zip(shares, counts, strict=True)
    ]
    assert row["EMD"] == pytest.approx(np.mean(distance), abs=1e-4)
    assert row["grades"] == len(text)
    assert row["n"] == N
    assert (row["JS"] is None) == (len(text) != 5)
    theirs, ours = scores["mos_std"], scores["zero_shot deviation"]
    assert row["std_SRCC"] == pytest.approx(stats.spearmanr(ours, theirs).statistic, abs=1e-6)
    assert row["std_RMSE"] == pytest.approx(((ours - theirs) ** 2).mean() ** 0.5, abs=1e-6)
    assert row["std"] == pytest.approx(ours.mean(), abs=1e-6)
    assert f"mine (mos): zero_shot, {len(text)} grades, against the raters: EMD" in (
        capsys.readouterr().out
    )
    page = (out / "report.html").read_text()
    assert "Distributions over grades, against those of the raters" in page


def picture(path: Path) -> np.ndarray:
    return read_rgb(path).transpose(2, 0, 1)


@pytest.mark.slow
def test_a_pair_is_compared_but_has_no_line(recipe: Path, weights: Path) -> None:
    out = run(recipe, weights)
    assert "zero_shot deviation" not in pd.read_parquet(out / "mine/scores.parquet")
    table = pd.DataFrame(json.loads((out / "distributions.json").read_text()))
    assert table["grades"].tolist() == [2]
    assert distribution_lines(table) == []


@pytest.mark.slow
def test_without_ratings_there_is_no_table(recipe: Path, weights: Path) -> None:
    table = recipe.parent / "scores.csv"
    pd.read_csv(table)[["image", "mos"]].to_csv(table, index=False)
    out = run(recipe, weights, "acr")
    assert not (out / "distributions.json").exists()
    assert "zero_shot deviation" in pd.read_parquet(out / "mine/scores.parquet")


def test_words_that_contradict_each_other_are_refused(clip: FrozenCLIP) -> None:
    acr = ScaleOptions(["acr"])
    with pytest.raises(ValueError, match="--pair or --scale, not both"):
        evaluate(pair=[("a", "b")], scale=acr)
    with pytest.raises(ValueError, match="--grades belong to the prompts of --scale"):
        evaluate(scale=ScaleOptions(grades=[1, 0]))
    with pytest.raises(ValueError, match="give one for each of the 5 prompts"):
        evaluate(scale=ScaleOptions(["acr"], [1, 0]))
    with pytest.raises(ValueError, match="own pairs or own scales, not both"):
        ciq.load(backbone=clip, pairs=["quality"], scales=["acr"])
    with pytest.raises(ValueError, match="grades belong to the prompts of a scale"):
        ciq.load(backbone=clip, grades=[1, 0])
