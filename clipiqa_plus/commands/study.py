"""``clipiqa study``: experiments on cached features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from cyclopts import App

from clipiqa_plus.commands.options import NOTHING, Stated
from clipiqa_plus.commands.pairs import Pairs, words_of

app = App("study", help="Study the number of ratings, prompts and seeds on cached features.")


@app.command
def labels(
    *,
    config: str,
    out: str = "runs/study_labels",
    sizes: int = 8,
    draws: int = 10,
    most: int | None = None,
    shots: list[int] | None = None,
    start: list[str] | None = None,
    pair: Pairs = None,
    backbone: str | None = None,
    stated: Stated = NOTHING,
    dir: str | None = None,
    device: str | None = None,
    overwrite: bool = False,
) -> None:
    """Measure SRCC against the number of ratings, for prompts, probe and zero-shot.

    Args:
        config: Recipe with a data section, or the short name of a benchmark.
        out: Folder for table and page. An interrupted study is resumed.
        sizes: Number of training set sizes, from 25 ratings to all.
        draws: Random draws of each size.
        most: The largest number of ratings (default: all of the training and validation parts).
        shots: These numbers of ratings instead, each at least 15, as in --shots 15 25 50 100.
        start: Also start from these prompts, files or runs of any data set, not only from random
            context tokens; NAME=PATH names one.
        pair: Your own words to learn around, instead of the recipe's: see 'clipiqa score'.
        backbone: Name or weights file (default: the recipe's).
        stated: About its weights.
        dir: Folder of the features (default: as in training).
        device: Such as cpu or cuda (default: the GPU if there is one).
        overwrite: Start again from scratch.
    """
    from clipiqa_plus.data.fetch.download import sha256_of
    from clipiqa_plus.evaluation.naming import name_sources
    from clipiqa_plus.evaluation.studies import labels as study
    from clipiqa_plus.evaluation.studies.inputs import load_inputs
    from clipiqa_plus.evaluation.studies.saved import StudyRows
    from clipiqa_plus.prompts.files import find_prompts
    from clipiqa_plus.report.study_page import curves
    from clipiqa_plus.training.run_folder import write_text

    if draws < 2:
        raise ValueError(f"{draws} draws; an interval needs at least 2")
    tower = stated.about(backbone)
    inputs = load_inputs(config, tower, dir, device, pairs=words_of(pair))
    counts = study.few_counts(inputs, shots or study.rating_counts(inputs, sizes, most))
    settings = {"study": "labels", "counts": counts, **inputs.facts()}
    files = name_sources(start or [])
    starts = {name: inputs.start(file) for name, file in files.items()}
    if starts:
        settings["starts"] = {n: sha256_of(find_prompts(f)) for n, f in files.items()}
    with StudyRows(Path(out), study.COLUMNS, 3, settings, overwrite) as rows:
        study.study_labels(inputs, counts, draws, rows, starts)
        done = rows.table()
    table = study.over_draws(done)
    said = study.sentence(table)
    if starts:
        gained = study.gains(done)
        write_text(Path(out) / "gains.csv", gained.to_csv(index=False))
        said = f"{study.gain_sentence(gained)} {said}"
    chart = curves(table, "ratings", "SRCC", "source", log=True)
    note = (
        f"SRCC on the {len(inputs.test):,} pictures of the test part of "
        f"{inputs.data.title or inputs.data.name}; mean over draws and its 95% interval."
    )
    _finish(Path(out), "How many ratings are needed", said, table, chart, note)


@app.command
def seeds(
    *,
    config: str,
    out: str = "runs/study_seeds",
    count: int = 10,
    bags: bool = False,
    pair: Pairs = None,
    backbone: str | None = None,
    stated: Stated = NOTHING,
    dir: str | None = None,
    device: str | None = None,
    overwrite: bool = False,
) -> None:
    """Measure the spread of SRCC over seeds, and what an ensemble of them gains.

    Args:
        config: Recipe with a data section, or the short name of a benchmark.
        out: Folder for table, page and ensemble.safetensors. An interrupted study is resumed.
        count: Number of seeds.
        bags: Train each on a bootstrap bag of the training part.
        pair: Your own words to learn around, instead of the recipe's: see 'clipiqa score'.
        backbone: Name or weights file (default: the recipe's).
        stated: About its weights.
        dir: Folder of the features (default: as in training).
        device: Such as cpu or cuda (default: the GPU if there is one).
        overwrite: Start again from scratch.
    """
    from clipiqa_plus.evaluation.studies import seeds as study
    from clipiqa_plus.evaluation.studies.inputs import load_inputs
    from clipiqa_plus.evaluation.studies.saved import StudyFits
    from clipiqa_plus.report.study_page import curves

    tower = stated.about(backbone)
    inputs = load_inputs(config, tower, dir, device, pairs=words_of(pair))
    settings = {"study": "seeds", "bags": bags, **inputs.facts()}
    saved = StudyFits(Path(out), settings, overwrite)
    table, fitted = study.study_seeds(inputs, count, bags, saved)
    file = study.save_ensemble(Path(out) / "ensemble.safetensors", inputs, fitted)
    long = table.melt("seeds", ["SRCC", "ensemble"], "what", "value")
    long["what"] = long["what"].replace({"SRCC": "this seed alone", "ensemble": "ensemble"})
    chart = curves(long.rename(columns={"value": "SRCC"}), "seeds", "SRCC", "what")
    note = (
        f"SRCC on the {len(inputs.test):,} pictures of the test part: of each seed alone, and of "
        f"the mean score of all seeds up to it. The ensemble of all: {file}"
    )
    _finish(Path(out), "Effect of the seed", study.sentence(table), table, chart, note)


@app.command
def prompts(
    *,
    config: str,
    out: str = "runs/study_prompts",
    n_ctx: list[int] | None = None,
    position: list[Literal["middle", "front", "end"]] | None = None,
    pairs: list[str] | None = None,
    class_specific: list[bool] | None = None,
    loss: list[Literal["mse", "plcc", "mse_plcc", "rank", "fidelity", "cross_entropy", "emd"]]
    | None = None,
    init: list[str] | None = None,
    folds: int = 5,
    pair: Pairs = None,
    backbone: str | None = None,
    stated: Stated = NOTHING,
    dir: str | None = None,
    device: str | None = None,
    overwrite: bool = False,
) -> None:
    """Compare layouts of prompts by folds of the training and validation parts.

    Each option takes several values; every combination is fitted. What is not given stays as in the
    recipe, except for n_ctx (4, 8, 16) and position (middle, front, end).

    Args:
        config: Recipe with a data section, or the short name of a benchmark.
        out: Folder for table and page. An interrupted study is resumed.
        n_ctx: Numbers of context tokens.
        position: Positions of the words.
        pairs: Built-in antonym pairs, those of one layout joined by commas.
        class_specific: True for a separate context per prompt, false for a shared one.
        loss: Losses.
        init: Starting words, or random.
        folds: Number of folds; contents stay together.
        pair: Your own words, each a layout of its own beside those of pairs: see 'clipiqa score'.
        backbone: Name or weights file (default: the recipe's).
        stated: About its weights.
        dir: Folder of the features (default: as in training).
        device: Such as cpu or cuda (default: the GPU if there is one).
        overwrite: Start again from scratch.
    """
    from clipiqa_plus.evaluation.studies import layouts as study
    from clipiqa_plus.evaluation.studies.inputs import load_inputs
    from clipiqa_plus.evaluation.studies.saved import StudyRows
    from clipiqa_plus.prompts.words import name_pairs
    from clipiqa_plus.report.study_page import dots

    inputs = load_inputs(config, stated.about(backbone), dir, device)
    given = inputs.config
    words: list[Any] = [names.split(",") for names in pairs or []]
    if own := words_of(pair):
        words += [[list(prompts)] for prompts in name_pairs(own).values()]
    layouts = study.grid(
        n_ctx=n_ctx or [4, 8, 16],
        position=position or ["middle", "front", "end"],
        pairs=words or [given.pairs],
        class_specific=class_specific or [given.class_specific],
        loss=loss or [inputs.loss],
        init=init or [given.init],
    )
    settings = {"study": "prompts", "folds": folds, **inputs.facts()}
    study.folds_of(inputs, folds)
    with StudyRows(Path(out), study.COLUMNS, len(study.OPTIONS) + 1, settings, overwrite) as rows:
        study.study_layouts(inputs, layouts, folds, rows)
        done = rows.table()
    table = study.over_folds(done)
    note = (
        f"{folds} folds of the {len(inputs.rated):,} pictures of the training and validation "
        "parts: one tests, the next validates, the others train. behind: difference from the first "
        "row; noise: is it less than two standard errors over folds? The test part stays unused."
    )
    _finish(Path(out), "Which prompts to learn", study.sentence(done), table, dots(done), note)


@app.command
def words(
    *,
    data: Sequence[str] = ("demo",),
    backbones: Sequence[str] = ("RN50",),
    root: str | None = None,
    out: str = "runs/study_words",
    pair: Pairs = None,
    dir: str | None = None,
    device: str | None = None,
    overwrite: bool = False,
) -> None:
    """Compare antonym pairs zero-shot, on several backbones and data sets.

    Args:
        data: Recipes with data, by path or name, see 'clipiqa recipes'; benchmarks stands for all.
        backbones: Names or weights files; unavailable ones are listed.
        root: Folder of all benchmarks (default: data).
        out: Folder for table and page. An interrupted study is resumed.
        pair: Your own words, instead of all built-in pairs: see 'clipiqa score'.
        dir: Folder of the features (default: as in training).
        device: Such as cpu or cuda (default: the GPU if there is one).
        overwrite: Start again from scratch.
    """
    import sys

    import torch

    from clipiqa_plus.evaluation.naming import name_data
    from clipiqa_plus.evaluation.studies import zero_shot as study
    from clipiqa_plus.evaluation.studies.saved import StudyRows
    from clipiqa_plus.features import FeatureCache
    from clipiqa_plus.prompts import PAIRS
    from clipiqa_plus.report.study_page import pair_dots
    from clipiqa_plus.training.recipes import expand

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    paths, missing = expand(data, root)
    given = words_of(pair) or PAIRS
    settings = {"study": "words", "pairs": given, "data": [str(path) for path in paths]}
    with StudyRows(Path(out), study.COLUMNS, 3, settings, overwrite) as rows:
        named, cache = name_data(paths), FeatureCache(dir=dir)
        missing |= study.study_words(named, backbones, given, rows, root, cache, device)
        done = rows.table()
    for name, reason in missing.items():
        print(f"not tried: {name}: {reason}", file=sys.stderr)
    if done.empty:
        raise FileNotFoundError("none of the backbones is available")
    table = study.by_data(done)
    note = "SRCC of the test parts, zero-shot; mean: over the data sets."
    title = "Words, backbones and data sets"
    _finish(Path(out), title, study.sentence(table), table, pair_dots(done), note)


def _finish(
    folder: Path, title: str, sentence: str, table: object, chart: object, note: str
) -> None:
    """Write the table and the page; print the table and the closing lines."""
    import pandas as pd

    from clipiqa_plus.evaluation.results import printable
    from clipiqa_plus.evaluation.terminal import FittedTable, print_table
    from clipiqa_plus.report.study_page import Chart, write_study
    from clipiqa_plus.training.run_folder import write_text

    assert isinstance(table, pd.DataFrame)
    assert isinstance(chart, Chart)
    write_text(folder / "table.csv", table.to_csv(index=False))
    page = write_study(folder / "report.html", title, sentence, table, chart, note)
    print_table(FittedTable(printable(table), title, [note]))
    print(f"result: {sentence}\nfiles: {folder}, page: {page}")
