"""The recipes of several antonym pairs, run whole on small data sets in the distributed form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

import evaluate
import train
from clipiqa_plus.data.benchmarks import AVA, SPAQ
from clipiqa_plus.prompts.files import read_prompts
from clipiqa_plus.prompts.scales import PAIRS
from tests.support.benchmark_files import write_csv, write_sheets

CONFIGS = Path(__file__).parents[2] / "configs"
N = 30


def scene(path: Path, seed: int) -> dict[str, float]:
    """Write a picture and return what it is made of, each from 0 to 1."""
    rng = np.random.default_rng(seed)
    made = {name: float(rng.uniform()) for name in ("brightness", "clean", "sharp", "vivid")}
    pixels = rng.uniform(0, 1, (96, 128, 3)).round()
    pixels = gaussian_filter(pixels, (2, 2, 0)) - 0.5
    pixels = gaussian_filter(pixels * 3, (4 * (1 - made["sharp"]),) * 2 + (0,))
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = grey + made["vivid"] * (pixels - grey)
    pixels = pixels + 0.15 + 0.7 * made["brightness"]
    pixels += rng.normal(0, 0.3 * (1 - made["clean"]), pixels.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((255 * pixels.clip(0, 1)).astype(np.uint8)).save(path, quality=95)
    return made


@pytest.fixture
def spaq(tmp_path: Path, incomplete: Callable[..., None]) -> tuple[Path, pd.DataFrame]:
    incomplete(SPAQ)
    root = tmp_path / "SPAQ"
    made = pd.DataFrame([scene(root / f"TestImage/{i + 1:05}.jpg", i) for i in range(N)])
    header = ("Image name", "MOS", "Brightness", "Colorfulness", "Contrast", "Noisiness")
    columns = ("brightness", "vivid", "brightness", "clean", "sharp")
    rows = [
        [f"{i + 1:05}.jpg", 100 * row.mean(), *(100 * row[list(columns)])]
        for i, row in made.iterrows()
    ]
    sheet = [[*header, "Sharpness"], *[[r[0], *map(float, r[1:])] for r in rows]]
    write_sheets(root / "Annotations/MOS and Image attribute scores.xlsx", {"Sheet1": sheet})
    return root, made


def learn(recipe: str, run: Path, *options: str) -> Path:
    train.main(
        [
            f"--config={CONFIGS / recipe}",
            "--model.backbone=demo",
            "--data.init_args.resize=64",
            "--data.init_args.num_workers=0",
            "--trainer.accelerator=cpu",
            "--trainer.enable_progress_bar=false",
            f"--run={run}",
            *options,
        ]
    )
    return run / "prompts.safetensors"


@pytest.mark.slow
def test_spaq_learns_mos_and_five_attributes_each_in_its_direction(
    spaq: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    root, made = spaq
    run, out = tmp_path / "run", tmp_path / "out"
    prompts = learn(
        "spaq_attributes.yaml",
        run,
        f"--data.init_args.root={root}",
        "--model.optimizer.init_args.lr=0.02",
        "--trainer.max_epochs=30",
    )
    targets = ["mos", *SPAQ.attributes]
    tensors, facts = read_prompts(prompts)
    assert tensors["ctx"].shape[:3] == (6, 2, 16)  # context tokens for each word of each pair
    assert facts["pairs"][4] == ["Clean photo.", "Noisy photo."]
    evaluate.main(
        f"--prompts zero_shot tuned={prompts} --data {run}/config.yaml --part train --device cpu "
        f"--out {out}".split()
    )
    results = pd.read_csv(out / "results.csv")
    assert results["target"].tolist() == [t for t in targets for _ in range(2)]
    learned = results[results["prompts"] == "tuned"].set_index("target")["SRCC"]
    zero_shot = results[results["prompts"] == "zero_shot"].set_index("target")["SRCC"]
    # Of 21 pictures, SRCC above 0.43 is 5% chance; a pair turned round would have it below zero.
    assert (learned > 0.5).all()
    assert learned["mos"] > zero_shot["mos"]
    assert zero_shot["noisiness"] > 0.5
    scores = pd.read_parquet(out / run.name / "scores.parquet")
    noisiness = scores[scores["target"] == "noisiness"]
    clean = made["clean"].to_numpy()[noisiness["id"]]
    np.testing.assert_allclose(noisiness["mos"], clean, atol=1e-6)  # MOS is held in float32
    assert spearmanr(noisiness["tuned"], clean).statistic > 0.3


@pytest.mark.slow
def test_ava_learns_a_regressor_over_its_pairs(
    tmp_path: Path, incomplete: Callable[..., None]
) -> None:
    incomplete(AVA)
    root = tmp_path / "AVA_dataset"
    rng, rows = np.random.default_rng(0), []
    for i in range(N):
        made = scene(root / f"images/{1000 + i}.jpg", i)
        votes = rng.binomial(9, np.mean(list(made.values())), size=200)
        counts = np.bincount(votes, minlength=10)
        rows.append(f"{i + 1} {1000 + i} {' '.join(map(str, counts))} 1 22 1396")
    write_csv(root / "AVA.txt", None, rows)
    write_csv(
        root / "aesthetics_image_lists/generic_test.jpgl", None, [str(1000 + i) for i in range(8)]
    )
    run, out = tmp_path / "run", tmp_path / "out"
    prompts = learn(
        "ava_pairs.yaml",
        run,
        f"--data.init_args.root={tmp_path}",
        "--model.optimizer.init_args.lr=0.02",
        "--trainer.max_epochs=30",
    )
    tensors, facts = read_prompts(prompts)
    assert facts["reduction"] == "regressor"
    names = ("aesthetic", "quality", "colorfulness", "happy", "natural", "complex")
    assert facts["pairs"] == [list(PAIRS[name]) for name in names]
    assert any(tensor.numel() == 6 for tensor in tensors.values())  # one weight for each pair
    evaluate.main(
        f"--prompts zero_shot tuned={prompts} --data {run}/config.yaml --device cpu "
        f"--out {out}".split()
    )
    assert pd.read_csv(out / "results.csv")["n"].tolist() == [8, 8]
    evaluate.main(
        f"--prompts zero_shot tuned={prompts} --data {run}/config.yaml --part train --device cpu "
        f"--out {out}".split()
    )
    results = pd.read_csv(out / "results.csv").set_index("prompts")
    assert results.loc["tuned", "SRCC"] > results.loc["zero_shot", "SRCC"]
