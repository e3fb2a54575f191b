"""Prompts learned from votes that a known order plants: accuracy on held-out votes.

The known order is that of the zero-shot scores of a pair of words (--pair), whose ranks are the
true qualities, or that of MOS (--pair mos), which the features of a backbone need not hold. Votes
on random pairs are drawn by Thurstone's model: a rater sees each picture with normal noise. The
true order itself agrees with a part of the votes only: what the noise allows. Prompts are learned
from the training votes alone, by configs/votes.yaml, and tested on votes about unseen pictures.

Run it from the repository root: python benchmarks/votes.py
For BIQ2021: python benchmarks/votes.py --data biq2021_embedded --root data/biq2021
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import norm, spearmanr

from clipiqa_plus.commands.evaluate import evaluate
from clipiqa_plus.data.base import FileReader, IQADataModule
from clipiqa_plus.evaluation.evaluation import load_sources, score
from clipiqa_plus.evaluation.results import SCORES
from clipiqa_plus.features import FeatureCache
from clipiqa_plus.training.recipes import data_of, find_recipe, read_recipe


def main() -> None:
    """Plant votes, learn from them, and print the accuracies."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="demo", help="recipe of the pictures and their MOS")
    parser.add_argument("--root", help="folder of the pictures")
    parser.add_argument("--votes", type=int, default=6000)
    parser.add_argument("--noise", type=float, default=0.1, help="deviation, of quality in [0, 1]")
    parser.add_argument("--pair", nargs="+", default=["Sharp photo.", "Blurry photo."])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backbone", help="default: the recipe's")
    options = parser.parse_args()
    path = find_recipe(options.data)
    recipe = read_recipe(path)
    data = data_of(recipe, path, **({"root": options.root} if options.root else {}))
    data.setup()
    backbone = options.backbone or recipe["model"]["backbone"]
    quality = true_quality(data, options.pair, backbone)
    with tempfile.TemporaryDirectory() as folder:
        votes = planted(data, quality, options.votes, options.noise, options.seed)
        votes.to_csv(Path(folder) / "votes.csv", index=False)
        root = _pictures(data, Path(folder))
        _learn(Path(folder), root, backbone, quality, options.noise)


def true_quality(data: IQADataModule, pair: list[str], backbone: str) -> pd.Series:
    """Return the quality in [0, 1] that is planted, by picture."""
    if pair == ["mos"]:
        return pd.Series(data.mos[:, 0].double().numpy(), _names(data))
    sources = load_sources(["zero_shot"], backbone, pairs=[pair])
    cache = FeatureCache()
    scores = pd.concat(score(sources, data, part, cache=cache) for part in ("train", "val", "test"))
    return scores.set_index(_names(data)[scores["id"]])["zero_shot"].rank(pct=True)


def _pictures(data: IQADataModule, folder: Path) -> Path:
    """Return the folder of the pictures; those of the demo are made, and written first."""
    reader = data.reader()
    if isinstance(reader, FileReader):
        return reader.root
    for row, name in enumerate(data.annotations["image"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(reader(row)).save(folder / name, format="PNG")
    return folder


def _names(data: IQADataModule) -> NDArray[Any]:
    """Return the file of each row below the folder of the pictures."""
    return np.asarray(getattr(data.reader(), "names", data.annotations["image"]))


def planted(
    data: IQADataModule, quality: pd.Series, votes: int, noise: float, seed: int
) -> pd.DataFrame:
    """Return votes within the parts of the split, with a column ``split``."""
    rng = np.random.default_rng(seed)
    tables = []
    for part, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        rows = data.rows(part)
        pairs = np.stack([rng.choice(rows, 2, replace=False) for _ in range(int(share * votes))])
        names = _names(data)[pairs]
        seen = quality[names.ravel()].to_numpy().reshape(-1, 2) + noise * rng.normal(
            size=names.shape
        )
        vote = np.where(seen[:, 0] > seen[:, 1], "first", "second")
        table = pd.DataFrame({"first": names[:, 0], "second": names[:, 1], "vote": vote})
        tables.append(table.assign(split=part))
    return pd.concat(tables, ignore_index=True)


def _learn(folder: Path, root: Path, backbone: str, quality: pd.Series, noise: float) -> None:
    import train

    given = [f"--data.votes={folder / 'votes.csv'}", f"--data.root={root}"]
    run = folder / "run"
    options = [*given, f"--model.backbone={backbone}", f"--run={run}", "--trainer.accelerator=cpu"]
    train.main(["--config=configs/votes.yaml", *options])
    found = evaluate(
        prompts=["zero_shot", str(run)],
        data=[str(run / "config.yaml")],
        out=str(folder / "out"),
        device="cpu",
        thumbnails=0,
        command=[],
    )
    (name,) = json.loads((folder / "out" / "evaluation.json").read_text())["votes"]
    scores = pd.read_parquet(folder / "out" / name / SCORES)
    votes = pd.read_csv(folder / "votes.csv")
    test = votes[votes["split"] == "test"]
    gap = quality[test["first"]].to_numpy() - quality[test["second"]].to_numpy()
    expected = norm.cdf(np.abs(gap) / (np.sqrt(2) * noise)).mean()
    reached = np.mean((gap > 0) == (test["vote"] == "first").to_numpy())
    print(f"votes: {len(votes)}, noise {noise:g}, {len(scores)} test pictures")
    print(f"the true order: {reached:.3f} of the test votes, {expected:.3f} expected")
    for row in found.itertuples():
        srcc = spearmanr(scores[row.prompts], quality[scores["image"]]).statistic
        share = row.accuracy / reached
        reaches = f"{row.accuracy:.3f}, {share:.3f} of that"
        print(f"{row.prompts}: {reaches}; SRCC with the truth {srcc:.3f}")


if __name__ == "__main__":
    main()
