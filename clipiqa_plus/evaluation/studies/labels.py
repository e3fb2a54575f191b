"""How many ratings are needed: test SRCC against the number of ratings used in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from scipy import stats

from clipiqa_plus.evaluation.studies.inputs import StudyInputs, hold_out
from clipiqa_plus.evaluation.studies.saved import StudyRows
from clipiqa_plus.features.probes import fit_ridge
from clipiqa_plus.prompts.sources import ContextPrompts
from clipiqa_plus.training.fits import Fit

FEWEST = 25
"""Smallest number of ratings."""
GAIN = 0.005
"""A difference in SRCC below this is not worth more ratings."""
FEWEST_SHOTS = 15
"""Smallest number of ratings that may be asked for: a fifth chooses the state that is kept, and
three are the fewest that have an SRCC."""
PROMPTS, PROBE, ZERO_SHOT = "prompts", "probe", "zero_shot"
FROM, UNTRAINED = "from ", ", no ratings"
"""Before the name of a start: prompts learned from it; behind it: the start itself."""
COLUMNS = ["source", "ratings", "draw", "SRCC"]


def rating_counts(inputs: StudyInputs, sizes: int, most: int | None = None) -> list[int]:
    """Return numbers of ratings from 25 to all, in geometric progression.

    Args:
        inputs: Inputs of the study.
        sizes: How many numbers.
        most: The largest; None takes all ratings of the training and validation parts.

    Raises:
        ValueError: If there are fewer ratings than ``most``, or fewer than 25.
    """
    there = len(inputs.rated)
    if max(FEWEST, most or FEWEST) > there:
        raise ValueError(
            f"{inputs.data.label}: {there} ratings in the training and validation parts, fewer "
            f"than {max(FEWEST, most or FEWEST)}; ask for fewer, or add ratings"
        )
    if sizes < 2:
        raise ValueError(f"{sizes} sizes; give at least 2")
    spread = np.geomspace(FEWEST, most or there, sizes).round().astype(int)
    return sorted(set(spread.tolist()))


def few_counts(inputs: StudyInputs, shots: Sequence[int]) -> list[int]:
    """Check numbers of ratings that are asked for.

    Args:
        inputs: Inputs of the study.
        shots: The numbers.

    Raises:
        ValueError: If one is below 15, or there are fewer ratings.
    """
    there = len(inputs.rated)
    for count in shots:
        if not FEWEST_SHOTS <= count <= there:
            raise ValueError(
                f"{count} ratings: give {FEWEST_SHOTS} at least, and at most the {there} of the "
                f"training and validation parts of {inputs.data.label}"
            )
    return sorted(set(shots))


def study_labels(
    inputs: StudyInputs,
    counts: Sequence[int],
    draws: int,
    rows: StudyRows,
    starts: Mapping[str, ContextPrompts] | None = None,
) -> None:
    """Learn prompts and probes from draws of ratings, and add their SRCC on the test part.

    A draw's smaller sets are subsets of its larger ones. A prompt fit holds out a fifth of its
    ratings, in whole contents, to select the state that is kept; a ridge probe uses all. Every
    start learns from the same draws as the random one; each has a row without ratings, of the start
    itself.

    Args:
        inputs: Inputs of the study.
        counts: Numbers of ratings.
        draws: Draws of each number.
        rows: Receives the rows, see :data:`COLUMNS`.
        starts: Learned prompts to start from, besides random ones, by name; see
            :meth:`~clipiqa_plus.evaluation.studies.inputs.StudyInputs.start`.
    """
    orders = []
    for draw in range(draws):
        order = torch.randperm(len(inputs.rated), generator=torch.Generator().manual_seed(draw))
        orders.append(inputs.rated[order])
    if not rows.has(ZERO_SHOT, 0, 0):
        rows.add(ZERO_SHOT, 0, 0, inputs.zero_shot())
    for name, start in (starts or {}).items():
        if not rows.has(f"{name}{UNTRAINED}", 0, 0):
            with torch.no_grad():
                scores = inputs.score(start(inputs.clip), inputs.test)
            rows.add(f"{name}{UNTRAINED}", 0, 0, inputs.srcc(scores, inputs.test))
    wanted = [(count, draw) for count in counts for draw in range(draws)]
    for count, draw in wanted:
        if not rows.has(PROBE, count, draw):
            chosen = orders[draw][:count]
            probe, _ = fit_ridge(inputs.features[chosen], inputs.mos[chosen])
            scores = probe(inputs.features[inputs.test])
            rows.add(PROBE, count, draw, inputs.srcc(scores, inputs.test))
    sources = {PROMPTS: None, **{FROM + name: start for name, start in (starts or {}).items()}}
    left = [
        (source, count, draw)
        for count, draw in wanted
        for source in sources
        if not rows.has(source, count, draw)
    ]
    fits = []
    for source, count, draw in left:
        train, val = hold_out(orders[draw][:count], inputs.contents)
        begin = sources[source] or inputs.prompts(seed=draw)
        fits.append(Fit(begin.ctx.detach(), train, val))
    for number, fitted in inputs.fit(inputs.prompts(), fits):
        scores = inputs.score(fitted.text, inputs.test)
        rows.add(*left[number], inputs.srcc(scores, inputs.test))


def over_draws(rows: pd.DataFrame) -> pd.DataFrame:
    """Summarise the draws of each source and number of ratings.

    Returns:
        ``source``, ``ratings``, ``SRCC`` (mean), ``SRCC_low`` and ``SRCC_high`` (its 95% interval
        by Student's t, over draws), ``std`` and ``draws``; what needs no ratings at every number.
    """
    fixed, learned = rows[rows["ratings"] == 0], rows[rows["ratings"] > 0]
    spread = [fixed.assign(ratings=count) for count in sorted(learned["ratings"].unique())]
    table = []
    for (source, count), part in pd.concat([*spread, learned]).groupby(["source", "ratings"]):
        values = part["SRCC"].fillna(0.0)  # constant scores rank nothing
        mean, n = float(values.mean()), len(values)
        half = float(stats.t.ppf(0.975, n - 1) * values.std() / n**0.5) if n > 1 else float("nan")
        table.append((source, count, mean, mean - half, mean + half, values.std(), n))
    columns = ["source", "ratings", "SRCC", "SRCC_low", "SRCC_high", "std", "draws"]
    return pd.DataFrame(table, columns=columns)


def gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Compare every start with the random one, draw by draw.

    Args:
        rows: Rows of :func:`study_labels`.

    Returns:
        ``start``, ``ratings``, ``gain`` (mean difference in SRCC over draws, above 0 is better than
        random), ``gain_low`` and ``gain_high`` (its 95% interval by Student's t).
    """
    wide = rows[rows["ratings"] > 0].fillna({"SRCC": 0.0})
    wide = wide.pivot(index=["ratings", "draw"], columns="source", values="SRCC")
    found = []
    for source in [name for name in wide if name.startswith(FROM)]:
        for count, values in (wide[source] - wide[PROMPTS]).groupby("ratings"):
            mean, n = float(values.mean()), len(values)
            half = float(stats.t.ppf(0.975, n - 1) * values.std() / n**0.5) if n > 1 else np.nan
            found.append((source.removeprefix(FROM), count, mean, mean - half, mean + half))
    return pd.DataFrame(found, columns=["start", "ratings", "gain", "gain_low", "gain_high"])


def gain_sentence(table: pd.DataFrame) -> str:
    """Return a sentence on what each start gains at the fewest and at the most ratings.

    Args:
        table: See :func:`gains`.
    """
    said = []
    for start, part in table.groupby("start", sort=False):
        ends = part.sort_values("ratings").iloc[[0, -1]].to_dict("records")
        numbers = " and ".join(
            f"{row['gain']:+.3f} [{row['gain_low']:+.3f}, {row['gain_high']:+.3f}] from "
            f"{row['ratings']:,} ratings"
            for row in ends
        )
        said.append(f"Starting from {start} instead of at random changes SRCC by {numbers}.")
    return " ".join(said)


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
            said.append(f"{source}: still a gain of {GAIN} or more at {most:,} (SRCC {best:.3f})")
        else:
            count, there = part["ratings"].iloc[enough], part["SRCC"].iloc[enough]
            said.append(
                f"with {source}, more than {count:,} ratings gain less than {GAIN} "
                f"(SRCC {there:.3f}, {best:.3f} from {most:,})"
            )
    fixed = table.loc[table["source"] == ZERO_SHOT, "SRCC"].iloc[0]
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}; zero-shot has {fixed:.3f}."
