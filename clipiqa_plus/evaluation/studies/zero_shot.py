"""Zero-shot by antonym pair, backbone and data set: which words does which CLIP understand?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.evaluation.comparison import compare
from clipiqa_plus.evaluation.evaluation import score
from clipiqa_plus.evaluation.studies.saved import StudyRows
from clipiqa_plus.features import FeatureCache
from clipiqa_plus.module import CLIPIQAPlus, PromptConfig
from clipiqa_plus.prompts.words import Words, name_pairs
from clipiqa_plus.training.recipes import data_of, read_recipe, rooted

COLUMNS = ["backbone", "data", "pair", "SRCC", "PLCC", "n"]


def study_words(
    recipes: Mapping[str, Path],
    backbones: Sequence[str],
    words: Words,
    rows: StudyRows,
    root: str | None = None,
    cache: FeatureCache | None = None,
    device: str = "cpu",
) -> dict[str, str]:
    """Score the test part of every data set with every pair on every backbone.

    Each picture is encoded once for each backbone.

    Args:
        recipes: Recipes of the data sets, by name; the first target counts.
        backbones: Names or weights files.
        words: Antonym pairs, see :func:`~clipiqa_plus.prompts.words.name_pairs`.
        rows: Receives the rows, see :data:`COLUMNS`.
        root: Folder of all benchmarks.
        cache: Feature cache; None encodes without saving.
        device: Where to compute.

    Returns:
        The backbones that cannot be had, and why.
    """
    missing: dict[str, str] = {}
    pairs = name_pairs(words)
    for backbone in backbones:
        left = [n for n in recipes if not all(rows.has(backbone, n, pair) for pair in pairs)]
        if not left:
            continue
        try:
            clip = FrozenCLIP.from_name(backbone).to(device)
        except (FileNotFoundError, ImportError) as error:
            missing[backbone] = str(error).splitlines()[0]
            continue
        sources = {
            name: CLIPIQAPlus(clip, prompts=PromptConfig("zero_shot", [list(pair)])).eval()
            for name, pair in pairs.items()
        }
        for name in left:
            path = recipes[name]
            data = data_of(read_recipe(path), path, **rooted(path, root))
            data.targets = data.targets[:1]
            found = compare(score(sources, data, "test", device, cache), list(sources))
            for row in found.itertuples():
                if not rows.has(backbone, name, row.prompts):
                    rows.add(backbone, name, row.prompts, row.SRCC, row.PLCC, row.n)
    return missing


def by_data(rows: pd.DataFrame) -> pd.DataFrame:
    """Arrange the rows of a study as a table of SRCC, the highest mean first.

    Returns:
        ``backbone``, ``pair``, a column for each data set, and ``mean`` over them.
    """
    table = rows.pivot(index=["backbone", "pair"], columns="data", values="SRCC")
    table = table[list(dict.fromkeys(rows["data"]))]
    table["mean"] = table.mean(axis=1)
    return table.sort_values("mean", ascending=False, kind="stable").reset_index()


def sentence(table: pd.DataFrame) -> str:
    """Return a sentence on the best pair of each backbone.

    Args:
        table: See :func:`by_data`.
    """
    best = table.drop_duplicates("backbone")
    said = [f"{row.pair} on {row.backbone} (SRCC {row.mean:.3f})" for row in best.itertuples()]
    sets = len(table.columns) - 3
    over = "" if sets == 1 else f", mean over {sets} data sets"
    return f"Best is {said[0]}{over}" + (f"; then {', '.join(said[1:])}." if said[1:] else ".")
