"""Compare zero-shot with learned prompts on data sets: did tuning help?

python evaluate.py --prompts zero_shot runs/demo/prompts.safetensors --data configs/demo.yaml
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch
from jsonargparse import ArgumentParser
from rich.console import Console

from clipiqa_plus.comparison import NOTHING, compare_sources
from clipiqa_plus.entry import run_entry
from clipiqa_plus.evaluation import describe, load_sources, score, thumbnails, zero_shot_options
from clipiqa_plus.features import FeatureCache
from clipiqa_plus.recipes import data_of, read_recipe
from clipiqa_plus.report import write_report
from clipiqa_plus.results import render, save, start_record, stems


def main(args: list[str] | None = None) -> pd.DataFrame:
    """Evaluate every prompt source on every data set, print the tables and save them."""
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--prompts", nargs="+", default=["zero_shot"], help="zero_shot, and prompt files")
    add("--data", nargs="+", default=["configs/demo.yaml"], help="recipes with a data section")
    add("--part", default="test", choices=["train", "val", "test"], help="part to evaluate")
    add("--backbone", type=str | None, help="of zero-shot (default: as learned, or the recipe's)")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to compute")
    add("--out", default="runs/evaluation", help="folder for results and scores per picture")
    add("--thumbnails", type=int, default=300, help="pictures of a data set shown in the report")
    parser.add_class_arguments(FeatureCache, "features")
    options = parser.parse_args(args)
    cache, out, console = FeatureCache(**options.features), Path(options.out), Console()
    tables, record = NOTHING, start_record(args)
    for path, name in stems(options.data).items():
        recipe = read_recipe(path)
        data, fixed = data_of(recipe, path), zero_shot_options(recipe)
        sources = load_sources(options.prompts, options.backbone, **fixed)
        scores = score(sources, data, options.part, options.device, cache)
        shown = thumbnails(data, scores, options.prompts, options.thumbnails)
        tables = tables.add(name, compare_sources(scores, options.prompts))
        record["data"][name] = describe(sources, data, options.part)
        save(out, name, tables, scores, shown, record)
    console.print(*(render(table, kind) for kind, table in tables._asdict().items() if len(table)))
    console.print(f"saved: {out}, report: {write_report(out)}")
    return tables.results


if __name__ == "__main__":
    run_entry(main)
