"""How many ratings are needed: test SRCC against the number of ratings used in training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from scipy import stats

from clipiqa_plus.evaluation.studies.inputs import StudyInputs, hold_out
from clipiqa_plus.evaluation.studies.saved import StudyRows
from clipiqa_plus.features.probes import fit_ridge
from clipiqa_plus.training.fits import Fit

FEWEST = 25
"""Smallest number of ratings."""
GAIN = 0.005
"""A difference in SRCC below this is not worth more ratings."""
PROMPTS, PROBE, ZERO_SHOT = "prompts", "probe", "zero_shot"
COLUMNS = ["source", "ratings", "draw", "SRCC"]


def rating_counts(inputs: StudyInputs, sizes: int, most: int | None = None) -> list[int]:
    """Return numbers of ratings from 25 to all, in geometric progression.

    Args:
        inputs: Inputs of the study.
        sizes: How many numbers.
        most: The largest; None takes all ratings of the training and validation part.

    Raises:
        ValueError: If there are fewer ratings than ``most``, or fewer than 25.
    """
    there = len(inputs.rated)
    if max(FEWEST, most or FEWEST) > there:
        raise ValueError(
            f"{inputs.data.label}: {there} ratings in the training and validation part, fewer "
            f"than {max(FEWEST, most or FEWEST)}; ask for fewer, or add ratings"
        )
    if sizes < 2:
        raise ValueError(f"{sizes} sizes; give at least 2")
    spread = np.geomspace(FEWEST, most or there, sizes).round().astype(int)
    return sorted(set(spread.tolist()))


def study_labels(inputs: StudyInputs, counts: Sequence[int], draws: int, rows: StudyRows) -> None:
    """Learn prompts and probes from draws of ratings, and add their SRCC on the test part.

    A draw's smaller sets are subsets of its larger ones. A prompt fit holds out a fifth of its
    ratings, in whole contents, to select the state that is kept; a ridge probe uses all.

    Args:
        inputs: Inputs of the study.
        counts: Numbers of ratings.
        draws: Draws of each number.
        rows: Receives the rows, see :data:`COLUMNS`.
    """
    orders = []
    for draw in range(draws):
        order = torch.randperm(len(inputs.rated), generator=torch.Generator().manual_seed(draw))
        orders.append(inputs.rated[order])
    if not rows.has(ZERO_SHOT, 0, 0):
        rows.add(ZERO_SHOT, 0, 0, inputs.zero_shot())
    wanted = [(count, draw) for count in counts for draw in range(draws)]
    for count, draw in wanted:
        if not rows.has(PROBE, count, draw):
            chosen = orders[draw][:count]
            probe, _ = fit_ridge(inputs.features[chosen], inputs.mos[chosen])
            scores = probe(inputs.features[inputs.test])
            rows.add(PROBE, count, draw, inputs.srcc(scores, inputs.test))
    left = [(count, draw) for count, draw in wanted if not rows.has(PROMPTS, count, draw)]
    fits = []
    for count, draw in left:
        train, val = hold_out(orders[draw][:count], inputs.contents)
        fits.append(Fit(inputs.prompts(seed=draw).ctx.detach(), train, val))
    for number, fitted in inputs.fit(inputs.prompts(), fits):
        scores = inputs.score(fitted.text, inputs.test)
        rows.add(PROMPTS, *left[number], inputs.srcc(scores, inputs.test))


def over_draws(rows: pd.DataFrame) -> pd.DataFrame:
    """Summarise the draws of each source and number of ratings.

    Returns:
        ``source``, ``ratings``, ``SRCC`` (mean), ``SRCC_low`` and ``SRCC_high`` (its 95% interval
        by Student's t, over draws), ``std`` and ``draws``; zero-shot at every number.
    """
    counts = sorted(rows.loc[rows["source"] != ZERO_SHOT, "ratings"].unique())
    fixed = rows[rows["source"] == ZERO_SHOT]
    spread = pd.concat([fixed.assign(ratings=count) for count in counts])
    table = []
    for (source, count), part in pd.concat([spread, rows[rows["source"] != ZERO_SHOT]]).groupby(
        ["source", "ratings"]
    ):
        values = part["SRCC"].fillna(0.0)  # constant scores rank nothing
        mean, n = float(values.mean()), len(values)
        half = float(stats.t.ppf(0.975, n - 1) * values.std() / n**0.5) if n > 1 else float("nan")
        table.append((source, count, mean, mean - half, mean + half, values.std(), n))
    columns = ["source", "ratings", "SRCC", "SRCC_low", "SRCC_high", "std", "draws"]
    return pd.DataFrame(table, columns=columns)


def sentence(table: pd.DataFrame) -> str:
    """Return a sentence on the number of ratings beyond which more gain little.

    Args:
        table: See :func:`over_draws`.
    """
    said = []
    for source in (PROMPTS, PROBE):
        part = table[table["source"] == source].sort_values("ratings").reset_index(drop=True)
        most, best = part["ratings"].iloc[-1], part["SRCC"].iloc[-1]
        # Every larger number must gain less too: one low value does not end the curve.
        above = [
            part["SRCC"].iloc[at + 1 :].max() - part["SRCC"].iloc[at] for at in part.index[:-1]
        ]
        enough = next((at for at, gain in enumerate(above) if gain < GAIN), None)
        if enough is None:
            said.append(f"{source} still gain {GAIN} or more at {most:,} (SRCC {best:.3f})")
        else:
            count, there = part["ratings"].iloc[enough], part["SRCC"].iloc[enough]
            said.append(
                f"with {source}, more than {count:,} ratings gain less than {GAIN} "
                f"(SRCC {there:.3f}, {best:.3f} from {most:,})"
            )
    fixed = table.loc[table["source"] == ZERO_SHOT, "SRCC"].iloc[0]
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}; zero-shot has {fixed:.3f}."
