"""Compare zero-shot with learned prompts on data sets: did tuning help?

python evaluate.py --prompts zero_shot runs/demo/prompts.safetensors --data configs/demo.yaml
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from jsonargparse import Namespace
from rich.console import Console

from clipiqa_plus.commands.errors import run_entry
from clipiqa_plus.evaluation.comparison import NOTHING
from clipiqa_plus.evaluation.evaluation import (
    compare_evaluated,
    evaluate,
    load_sources,
    zero_shot_options,
)
from clipiqa_plus.evaluation.naming import name_data, name_sources
from clipiqa_plus.evaluation.options import evaluation_parser
from clipiqa_plus.evaluation.random_splits import render_repeats, repeated
from clipiqa_plus.evaluation.results import claimed, named, save, save_training, start_record
from clipiqa_plus.evaluation.terminal import render
from clipiqa_plus.features import FeatureCache
from clipiqa_plus.report.loggers import log_evaluation
from clipiqa_plus.report.page import write_report
from clipiqa_plus.report.tables import closing
from clipiqa_plus.training.recipes import data_of, expand, read_recipe, rooted


def main(args: list[str] | None = None) -> pd.DataFrame:
    """Evaluate every prompt source on every data set, print the tables and save them."""
    options = evaluation_parser(__doc__).parse_args(args)
    with claimed(Path(options.out)):
        return run(options, start_record(args))


def run(options: Namespace, record: dict[str, Any]) -> pd.DataFrame:
    """Evaluate as the options of :func:`main` say."""
    cache, out, console = FeatureCache(**options.features), Path(options.out), Console()
    tables, prompts = NOTHING, name_sources(options.prompts)
    paths, absent = expand(options.data, options.root)
    train = read_recipe(options.train) if options.train else None
    for name, path in name_data(paths).items():
        recipe = read_recipe(path)
        data = data_of(recipe, path, **rooted(path, options.root))
        fixed = zero_shot_options(recipe, train)
        sources = load_sources(options.prompts, options.backbone, **fixed)
        if options.repeats:
            splits = (options.repeats, options.train, out / name, options.device)
            table = repeated(path, sources, *splits, cache, options.root)
            console.print(render_repeats(name, table))
            continue
        how = (options.part, options.device, cache, options.thumbnails)
        found = evaluate(sources, data, *how)
        tables = tables.add(name, compare_evaluated(found))
        save(out, name, tables, found, record)
    for name, reason in absent.items():
        console.print(f"absent: {name}: {reason}", markup=False)
    if options.repeats:
        return tables.results
    save_training(out, prompts)
    page = write_report(out, options.report)
    log_evaluation(out, options.wandb, options.tensorboard, page)
    console.print(*(render(table, kind) for kind, table in named(tables).items()))
    print(*closing(*tables, prompts, f"{out}, page: {page}"), sep="\n")
    return tables.results


if __name__ == "__main__":
    run_entry(main, "the same command goes on; what is encoded is kept")
