"""The protocol of k random splits: train and test within each, summarise over all."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from clipiqa_plus.evaluation.comparison import compare
from clipiqa_plus.evaluation.evaluation import score
from clipiqa_plus.evaluation.naming import LEARNED
from clipiqa_plus.evaluation.seen_pictures import seen_note
from clipiqa_plus.evaluation.terminal import FittedTable
from clipiqa_plus.features import FeatureCache
from clipiqa_plus.inference.probes import Source
from clipiqa_plus.metrics.significance import over_splits, wilcoxon
from clipiqa_plus.module import CLIPIQAPlus
from clipiqa_plus.training.cli import TrainCLI
from clipiqa_plus.training.recipes import data_of, find_recipe, read_recipe, rooted
from clipiqa_plus.training.run_folder import write_text


def split_kind(recipe: Path, **options: str) -> str:
    """Return how random splits of a data set are drawn: by content where contents are known."""
    table = data_of(read_recipe(recipe), recipe, **options).annotations
    return "content" if "content" in table and table["content"].nunique() > 1 else "random"


def repeated(
    recipe: Path,
    sources: Mapping[str, Source],
    repeats: int,
    train: str | None,
    out: Path,
    device: str | torch.device = "cpu",
    cache: FeatureCache | None = None,
    root: str | None = None,
) -> pd.DataFrame:
    """Test prompt sources on the test parts of several random splits.

    Args:
        recipe: Recipe with the data section.
        sources: Prompt sources that are the same in every split, by name.
        repeats: Number of splits.
        train: Recipe for learning context tokens in each split; None learns none. If it stops early
            by a validation metric, an eighth of the training part validates.
        out: Folder; gets ``repeats.csv``, ``over_repeats.csv`` and the runs, one per split.
        device: Where to compute.
        cache: Feature cache; pictures are encoded once for all splits.
        root: Folder of all data sets, if not the recipe's.

    Returns:
        One row per split, target and source, with the numbers of
        :data:`~clipiqa_plus.evaluation.comparison.COLUMNS`, ``skipped`` and ``note``: how many of
        the pictures a source was trained on. A warning names such sources.

    Raises:
        ValueError: If there are fewer than 2 repeats, or nothing to test.
    """
    if repeats < 2:
        raise ValueError(f"{repeats} repeats; a spread needs at least 2")
    if not sources and train is None:
        raise ValueError("nothing to test: name prompt sources, or a recipe to train by")
    place = rooted(recipe, root)
    kind = split_kind(recipe, **place)
    tables = []
    split: dict[str, Any] = {"split": kind, **place}
    fractions = data_of(read_recipe(recipe), recipe, **split).fractions
    if train is not None and _stops_by_validation(find_recipe(train)):
        fractions = _validated(*fractions)
    split["fractions"] = list(fractions)  # stated, since the recipe for learning may have others
    for repeat in range(repeats):
        data = data_of(read_recipe(recipe), recipe, repeat=repeat, **split)
        compared: dict[str, Source] = dict(sources)
        if train is not None:
            options, run = split | {"repeat": repeat}, out / f"repeat-{repeat}"
            compared[LEARNED] = _learn(find_recipe(train), recipe, options, run)
        found = compare(score(compared, data, "test", device, cache), compared)
        notes = {name: seen_note(source, data, "test") for name, source in sources.items()}
        found["note"] = found["prompts"].map(notes).fillna("")
        found.insert(0, "repeat", repeat)
        found.insert(1, "split", kind)
        found["skipped"] = len(data.skipped("test"))
        tables.append(found)
    results = pd.concat(tables, ignore_index=True)
    for name, group in results[results["note"] != ""].groupby("prompts", sort=False):
        splits, first = group["repeat"].nunique(), group["note"].iloc[0]
        warnings.warn(
            f"in {splits} of {repeats} splits {name} is tested on pictures it was trained on: "
            f"in the first of them {first}",
            stacklevel=2,
        )
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "repeats.csv", results.to_csv(index=False))
    write_text(out / "over_repeats.csv", over_repeats(results).to_csv(index=False))
    return results


def over_repeats(results: pd.DataFrame) -> pd.DataFrame:
    """Summarise the table of :func:`repeated` over its splits.

    Returns:
        One row per target and source: median, mean and standard deviation of SRCC and PLCC, the
        number of splits, and the p-value of Wilcoxon's signed-rank test of SRCC against the first
        source. A metric that is undefined in any split has NaN summaries.
    """
    rows = []
    for target, group in results.groupby("target", sort=False):
        first = group["prompts"].iloc[0]
        values = dict(iter(group.groupby("prompts", sort=False)))
        for name, part in values.items():
            row: dict[str, object] = {"target": target, "prompts": name, "splits": len(part)}
            for metric in ("SRCC", "PLCC"):
                known = part[metric].notna().all()
                summary = over_splits(part[metric].tolist()) if known else None
                for what in ("median", "mean", "std"):
                    row[f"{metric}_{what}"] = getattr(summary, what, float("nan"))
            if name != first:
                row["p_wilcoxon"] = wilcoxon(values[first]["SRCC"].tolist(), part["SRCC"].tolist())
            rows.append(row)
    return pd.DataFrame(rows)


def render_repeats(name: str, results: pd.DataFrame) -> FittedTable:
    """Return the summary over splits as a table for the terminal.

    Args:
        name: Name of the data set.
        results: What :func:`repeated` returned.
    """
    rows = []
    for row in over_repeats(results).to_dict("records"):
        cells = {key: str(row[key]) for key in ("target", "prompts", "splits")}
        for metric in ("SRCC", "PLCC"):
            cells[f"{metric}_mean"] = f"{row[f'{metric}_mean']:.4f} +- {row[f'{metric}_std']:.4f}"
            cells[f"{metric}_median"] = f"{row[f'{metric}_median']:.4f}"
        p_value = row.get("p_wilcoxon", float("nan"))
        cells["Wilcoxon"] = f"p = {p_value:.3g}" if p_value == p_value else ""
        rows.append(cells)
    title = f"{name}: test parts of random splits (by {results['split'].iloc[0]})"
    return FittedTable(pd.DataFrame(rows), title)


def _stops_by_validation(recipe: Path) -> bool:
    """Whether a recipe stops early by a validation metric."""
    callbacks = (read_recipe(recipe).get("trainer") or {}).get("callbacks") or []
    listed = callbacks if isinstance(callbacks, list) else [callbacks]
    watched = [(callback.get("init_args") or {}).get("monitor", "") for callback in listed]
    return any(str(metric).startswith("val/") for metric in watched)


def _validated(train: float, val: float, test: float) -> tuple[float, float, float]:
    """Fractions with a validation part: if there is none, an eighth of the training part."""
    return (train, val, test) if val else (round(train * 7 / 8, 6), round(train / 8, 6), test)


def _learn(train: Path, recipe: Path, data: Mapping[str, Any], run: Path) -> CLIPIQAPlus:
    cli = TrainCLI(
        train,
        [
            f"--config={train}",
            f"--config={recipe}",
            *(f"--data.init_args.{name}={value}" for name, value in data.items()),
            f"--run={run}",
            "--overwrite=true",
        ],
    )
    with cli.run_lock:
        cli.trainer.fit(cli.model, cli.datamodule)
        cli.run_lock.commit()
    return cli.model.eval()
