"""Which prompts to learn: a grid over their layout, compared by folds and selected honestly."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import pandas as pd
import torch

from clipiqa_plus.data.splits import kfold_split
from clipiqa_plus.evaluation.studies.inputs import StudyInputs
from clipiqa_plus.evaluation.studies.saved import StudyRows
from clipiqa_plus.training.fits import Fit

OPTIONS = ("n_ctx", "position", "pairs", "class_specific", "loss", "init")
COLUMNS = [*OPTIONS, "fold", "val_SRCC", "SRCC"]


def grid(**choices: Sequence[Any]) -> list[dict[str, Any]]:
    """Return every combination of choices for :data:`OPTIONS`."""
    return [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]


def folds_of(inputs: StudyInputs, folds: int) -> list[torch.Tensor]:
    """Deal the rated pictures to folds, whole contents together.

    Raises:
        ValueError: If there are fewer than 3 folds, or fewer contents than folds, or a fold of
            fewer than 3 pictures, which have no SRCC to go by.
    """
    rated = inputs.rated
    names = [str(row) for row in rated.tolist()]
    contents = [str(inputs.contents[row]) for row in rated.tolist()]
    label = inputs.data.label
    if folds < 3:
        raise ValueError(f"{folds} folds; one trains, one validates, one tests: give 3 at least")
    try:
        splits = [kfold_split(names, folds, fold, contents=contents) for fold in range(folds)]
    except ValueError as error:
        raise ValueError(f"{label}: the training and validation parts: {error}") from error
    dealt = [rated[torch.from_numpy(split.test)] for split in splits]
    if (least := min(map(len, dealt))) < 3:
        raise ValueError(f"{label}: a fold of {least} pictures; give fewer folds or more ratings")
    return dealt


def study_layouts(
    inputs: StudyInputs, layouts: Sequence[dict[str, Any]], folds: int, rows: StudyRows
) -> None:
    """Fit every layout by folds: one tests, the next validates, the others train.

    Args:
        inputs: Inputs of the study; its test part stays unused.
        layouts: See :func:`grid`.
        folds: Number of folds.
        rows: Gets the rows, see :data:`COLUMNS`.

    Raises:
        ValueError: If a layout does not fit the backbone, before any work.
    """
    dealt = folds_of(inputs, folds)
    learned = []
    for layout in layouts:  # before any fit: a wrong layout is an error at once
        changes = {key: value for key, value in layout.items() if key != "loss"}
        learned.append(inputs.prompts(**changes))
    for layout, prompts in zip(layouts, learned, strict=True):
        key = [str(layout[option]) for option in OPTIONS]
        left = [fold for fold in range(folds) if not rows.has(*key, fold)]
        fits = []
        for fold in left:
            val = (fold + 1) % folds
            train = torch.cat([dealt[f] for f in range(folds) if f not in (fold, val)])
            fits.append(Fit(prompts.ctx.detach(), train, dealt[val]))
        for number, fitted in inputs.fit(prompts, fits, layout["loss"]):
            test = dealt[left[number]]
            found = inputs.srcc(inputs.score(fitted.text, test), test)
            rows.add(*key, left[number], fitted.srcc, found)


def over_folds(rows: pd.DataFrame) -> pd.DataFrame:
    """Sum up the folds of each layout, the best on validation folds first.

    Returns:
        :data:`OPTIONS`, ``val_SRCC`` and ``SRCC`` (means over folds), ``behind``: the mean
        difference in SRCC to the first over folds, ``error``: its standard error, and ``noise``:
        whether the difference is less than two of them.
    """
    by_fold = rows.assign(SRCC=rows["SRCC"].fillna(0.0), val_SRCC=rows["val_SRCC"].fillna(0.0))
    by_fold["layout"] = by_fold[list(OPTIONS)].astype(str).agg(", ".join, axis=1)
    folds = by_fold.pivot(index="layout", columns="fold", values="SRCC")
    table = by_fold.groupby("layout", sort=False).agg(
        {**dict.fromkeys(OPTIONS, "first"), "val_SRCC": "mean", "SRCC": "mean"}
    )
    table = table.sort_values("val_SRCC", ascending=False, kind="stable")
    differences = folds.loc[table.index[0]] - folds.loc[table.index]
    table["behind"] = differences.mean(axis=1)
    table["error"] = differences.std(axis=1) / folds.shape[1] ** 0.5
    table["noise"] = table["behind"] < 2 * table["error"]
    table.iloc[0, table.columns.get_loc("noise")] = False
    return table.reset_index(drop=True)


def honest(rows: pd.DataFrame) -> float:
    """Return the SRCC that selecting by validation gives on pictures the selection never saw.

    In each fold the layout of the highest validation SRCC is taken, and its SRCC on that fold's
    test pictures counts.
    """
    chosen = rows.loc[rows.fillna({"val_SRCC": -1}).groupby("fold")["val_SRCC"].idxmax()]
    return float(chosen["SRCC"].mean())


def sentence(rows: pd.DataFrame) -> str:
    """Say which layout is best, what to expect of it, and whether that is more than noise.

    Args:
        rows: Rows of the study.
    """
    table = over_folds(rows)
    best = table.iloc[0]
    varied = [option for option in OPTIONS if table[option].nunique() > 1]
    name = ", ".join(f"{option} {best[option]}" for option in varied) or "the only layout"
    text = f"Best is {name}; expect SRCC {honest(rows):.3f} when choosing this way"
    if alike := int(table["noise"].sum()):
        text += f" (warning: {alike} of {len(table) - 1} others are within noise of it)"
    return f"{text}."
