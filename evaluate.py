"""Compare zero-shot with learned prompts on data sets: did tuning help?

python evaluate.py --prompts zero_shot runs/demo/prompts.safetensors --data configs/demo.yaml
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch
from jsonargparse import ArgumentParser
from rich.console import Console

from clipiqa_plus.evaluation import compare, load_sources, render, save, score
from clipiqa_plus.features import FeatureCache
from clipiqa_plus.recipes import data_of, read_recipe


def main(args: list[str] | None = None) -> pd.DataFrame:
    """Evaluate every prompt source on every data set, print the table and save it."""
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--prompts", nargs="+", default=["zero_shot"], help="zero_shot, and prompt files")
    add("--data", nargs="+", default=["configs/demo.yaml"], help="recipes with a data section")
    add("--part", default="test", choices=["train", "val", "test"], help="part to evaluate")
    add("--backbone", type=str | None, help="of zero-shot (default: as learned, or the recipe's)")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to compute")
    add("--out", default="runs/evaluation", help="folder for results and scores per picture")
    parser.add_class_arguments(FeatureCache, "features")
    options = parser.parse_args(args)
    cache = FeatureCache(**options.features)
    results, console = [], Console()
    for path in options.data:
        recipe = read_recipe(path)
        model, data = recipe.get("model", {}), data_of(recipe, path)
        sources = load_sources(
            options.prompts,
            backbone=options.backbone,
            fallback=model.get("backbone"),
            pos_embedding=model.get("pos_embedding", False),
            pairs=model.get("prompts", {}).get("pairs", ["quality"]),
        )
        scores = score(sources, data, options.part, options.device, cache)
        found = compare(scores, sources)
        found.insert(0, "data", Path(path).stem)
        save(Path(options.out) / Path(path).stem, found, scores)
        results.append(found)
    table = pd.concat(results, ignore_index=True)
    console.print(render(table))
    table.to_csv(Path(options.out) / "results.csv", index=False)
    console.print(f"saved: {options.out}")
    return table


if __name__ == "__main__":
    main()
