"""Compare zero-shot with learned prompts on data sets: did tuning help?

python evaluate.py --prompts zero_shot runs/demo/prompts.safetensors --data configs/demo.yaml
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.console import Console

from clipiqa_plus.commands.errors import run_entry
from clipiqa_plus.evaluation.comparison import NOTHING, compare_sources
from clipiqa_plus.evaluation.evaluation import backbones, evaluate, load_sources, zero_shot_options
from clipiqa_plus.evaluation.naming import name_data, name_sources
from clipiqa_plus.evaluation.options import evaluation_parser
from clipiqa_plus.evaluation.random_splits import render_repeats, repeated
from clipiqa_plus.evaluation.results import named, save, save_training, start_record
from clipiqa_plus.evaluation.terminal import render
from clipiqa_plus.features import FeatureCache
from clipiqa_plus.report.loggers import log_evaluation
from clipiqa_plus.report.page import write_report
from clipiqa_plus.training.recipes import data_of, expand, read_recipe, rooted


def main(args: list[str] | None = None) -> pd.DataFrame:
    """Evaluate every prompt source on every data set, print the tables and save them."""
    options = evaluation_parser(__doc__).parse_args(args)
    cache, out, console = FeatureCache(**options.features), Path(options.out), Console()
    tables, record = NOTHING, start_record(args)
    paths, absent = expand(options.data, options.root)
    train = read_recipe(options.train) if options.train else None
    prompts = name_sources(options.prompts)
    for name, path in name_data(paths).items():
        recipe = read_recipe(path)
        data, fixed = (
            data_of(recipe, path, **rooted(path, options.root)),
            zero_shot_options(recipe, train),
        )
        sources = load_sources(options.prompts, options.backbone, **fixed)
        if options.repeats:
            splits = (
                options.repeats,
                options.train,
                out / name,
                options.device,
                cache,
                options.root,
            )
            console.print(render_repeats(name, repeated(path, sources, *splits)))
            continue
        how = (options.part, options.device, cache, options.thumbnails)
        found = evaluate(sources, data, *how)
        skipped, towers = len(found.about["skipped"]), backbones(found.about)
        compared = compare_sources(found.scores, list(sources), skipped=skipped, backbones=towers)
        tables = tables.add(name, compared)
        save(out, name, tables, found, record)
    for name, reason in absent.items():
        console.print(f"absent: {name}: {reason}", markup=False)
    if options.repeats:
        return tables.results
    save_training(out, prompts)
    page = write_report(out, options.report)
    log_evaluation(out, options.wandb, options.tensorboard, page)
    console.print(*(render(table, kind) for kind, table in named(tables).items()))
    console.print(f"saved: {out}, report: {page}")
    return tables.results


if __name__ == "__main__":
    run_entry(main)
