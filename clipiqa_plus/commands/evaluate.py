"""``clipiqa evaluate``: compare zero-shot with learned prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from clipiqa_plus.commands.options import NOTHING, Stated
from clipiqa_plus.commands.pairs import NO_SCALE, Pairs, ScaleOptions, words_of

app = App("evaluate")


@dataclass(frozen=True)
class FeatureOptions:
    """The arguments of :class:`~clipiqa_plus.features.cache.FeatureCache`, without its imports."""

    dir: str | None = None
    """Folder of the features (default: as in training)."""
    dtype: Literal["fp32", "fp16"] = "fp32"
    """Number format on disk and on the device."""
    enabled: bool = True
    """Set to false to encode every batch live."""
    batch_size: int = 16
    """Largest number of views encoded together."""
    num_workers: int | None = None
    """Decoding processes (default: as set for the data)."""


@app.default
def evaluate(
    *,
    prompts: Sequence[str] = ("zero_shot",),
    data: Sequence[str] = ("demo",),
    root: str | None = None,
    part: Literal["train", "val", "test"] = "test",
    repeats: int = 0,
    train: str | None = None,
    backbone: str | None = None,
    pair: Pairs = None,
    scale: ScaleOptions = NO_SCALE,
    views: Literal["flip", "five-crop", "ten-crop", "scales"] | None = None,
    over_views: Literal["mean", "median"] = "mean",
    stated: Stated = NOTHING,
    device: str | None = None,
    out: str = "runs/evaluation",
    report: str | None = None,
    wandb: str | None = None,
    tensorboard: str | None = None,
    thumbnails: int = 300,
    features: FeatureOptions | None = None,
    command: Annotated[Sequence[str] | None, Parameter(parse=False)] = None,
) -> Any:
    """Compare zero-shot with learned prompts on data sets.

    Args:
        prompts: zero_shot, prompt files and runs; NAME=PATH names one.
        data: Recipes with data, by path or name, see 'clipiqa recipes'; benchmarks stands for all.
        root: Folder of all benchmarks (default: data).
        part: The part to evaluate.
        repeats: Test on this many random splits instead.
        train: With --repeats: recipe to train with in each split.
        backbone: Name or weights file (default: the prompt file's, else the recipe's, else RN50).
        pair: Your own words for zero_shot, instead of the recipe's: see 'clipiqa score'. Several
            give one score per target if the recipe has a score for each pair, else their mean.
        scale: In place of pairs.
        views: Score these views of each picture instead, which is not the published score.
        over_views: Take the mean or the median over the views.
        stated: About its weights.
        device: Such as cpu, cuda or cuda:1 (default: the GPU if there is one).
        out: Folder for results and scores per picture.
        report: Path of the HTML page (default: OUT/report.html).
        wandb: Also log to this Weights & Biases project.
        tensorboard: Also log to this folder, for TensorBoard.
        thumbnails: Largest number of thumbnails per data set in the report.
        features: The feature cache.
        command: Arguments to record; None uses the process's own.

    Returns:
        The results as a DataFrame, a row for each source, data set and target.
    """
    import torch

    from clipiqa_plus.data import evaluation_views
    from clipiqa_plus.data.mixed import MixedData, single_sets
    from clipiqa_plus.data.votes import VoteData
    from clipiqa_plus.evaluation import evaluation, naming, random_splits, results, terminal
    from clipiqa_plus.evaluation import votes as voting
    from clipiqa_plus.evaluation.analyses import tables as analyses
    from clipiqa_plus.evaluation.analyses.distributions import distribution_lines
    from clipiqa_plus.evaluation.analyses.pooled import ALL_SETS, pooled_krasula
    from clipiqa_plus.evaluation.comparison import NOTHING
    from clipiqa_plus.evaluation.coverage import coverage_lines
    from clipiqa_plus.evaluation.results import NO_DISTRIBUTIONS
    from clipiqa_plus.features import FeatureCache
    from clipiqa_plus.prompts.words import name_pairs
    from clipiqa_plus.report.loggers import log_evaluation, require_loggers
    from clipiqa_plus.report.page import write_report
    from clipiqa_plus.report.sentences import closing
    from clipiqa_plus.training.recipes import data_of, expand, read_recipe, rooted

    cache = FeatureCache(**asdict(features or FeatureOptions()))
    folder, console, tower = Path(out), terminal.console(), stated.about(backbone)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    words = words_of(pair)
    own: dict[str, Any] = {} if words is None else {"pairs": list(name_pairs(words).values())}
    if own and scale.words:
        raise ValueError("give --pair or --scale, not both")
    own |= {"scales": None, "grades": None} if own else scale.words
    tables, record, named = NOTHING, results.start_record(command), naming.name_sources(prompts)
    if own and naming.ZERO_SHOT not in named.values():
        raise ValueError("--pair and --scale give the words of zero_shot: name it in --prompts")
    further: dict[str, Any] = {}
    votes = voting.NO_VOTES
    kept: dict[str, Any] = {}
    if views and repeats:
        raise ValueError("--views and --repeats do not go together")
    if part != "test" and repeats:
        raise ValueError("--part and --repeats do not go together: each split has its test part")
    require_loggers(wandb, tensorboard)
    with results.claimed(folder):
        paths, absent = expand(data, root)
        learn = read_recipe(train) if train else None
        for name, path in naming.name_data(paths).items():
            recipe = read_recipe(path)
            given = data_of(recipe, path, **rooted(path, root))
            sets = single_sets(name, given)
            if views:
                for dataset in sets.values():
                    dataset.eval_views, dataset.over_views = evaluation_views(views), over_views
            fixed = {**evaluation.zero_shot_options(recipe, learn), **own}
            sources = evaluation.load_sources(prompts, tower, **fixed)
            if repeats:
                if isinstance(given, MixedData | VoteData):
                    raise ValueError(f"--repeats splits one data set with MOS; {name} is not one")
                splits = (repeats, train, folder / name, device, cache, root)
                table = random_splits.repeated(path, sources, *splits)
                console.print(random_splits.render_repeats(name, table))
                continue
            for own_name, dataset in sets.items():
                taken = own_name in {*record["data"], *record["votes"]}
                label = f"{name}-{own_name}" if taken else own_name
                if isinstance(dataset, VoteData):
                    judged = voting.evaluate_votes(sources, dataset, part, device, cache)
                    votes = voting.added(votes, label, judged.table)
                    about = judged.scores, judged.about, votes, record
                    results.save_votes(folder, label, *about)
                    continue
                found = evaluation.evaluate(sources, dataset, part, device, cache, thumbnails)
                tables = tables.add(label, evaluation.compare_evaluated(found))
                more = analyses.analyse(found.scores, list(sources))
                beside = {analyses.OVERLAP: found.overlap}
                beside[analyses.DISTRIBUTIONS] = found.distributions
                filled = {kind: table for kind, table in beside.items() if len(table)}
                further = analyses.add(further, label, {**more.tables, **filled})
                found.about["left_out"], kept[label] = more.left_out, found.scores
                results.save(folder, label, tables, found, record, further)
        for name, reason in absent.items():
            console.print(f"absent: {name}: {reason}", markup=False)
        if repeats:
            return tables.results
        if pooled := pooled_krasula(kept, list(named)):
            further = analyses.add(further, ALL_SETS, pooled)
            results.save_tables(folder, further, record)
        results.save_training(folder, named)
        page = write_report(folder, report)
        log_evaluation(folder, wandb, tensorboard, page)
        shown = results.named(tables) | ({results.VOTES: votes} if len(votes) else {})
        console.print(*(terminal.render(table, kind) for kind, table in shown.items()))
        files = f"{folder}, page: {page}"
        print(
            *coverage_lines(record),
            *distribution_lines(further.get(analyses.DISTRIBUTIONS, NO_DISTRIBUTIONS)),
            *analyses.left_out_lines(record),
            sep="\n",
        )
        print(*voting.sentences(votes), sep="\n")
        if tables.results.empty:
            print(f"files: {files}")
            return votes
        print(*closing(tables.results, tables.differences, named, files), sep="\n")
    return tables.results
