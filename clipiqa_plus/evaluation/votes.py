"""Held-out votes: how often each source prefers the picture that people prefer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from clipiqa_plus.data.votes import PairVotes, VoteData
from clipiqa_plus.evaluation.evaluation import describe, score
from clipiqa_plus.features import FeatureCache
from clipiqa_plus.inference.probes import Source
from clipiqa_plus.metrics.resampling import FEWEST_UNITS
from clipiqa_plus.metrics.votes import majority_accuracy, resampled_accuracy, right


class VotesEvaluated(NamedTuple):
    """The evaluation of a set of votes."""

    scores: pd.DataFrame
    """Scores per picture, see :func:`~clipiqa_plus.evaluation.evaluation.score`."""
    table: pd.DataFrame
    """See :func:`vote_table`."""
    about: dict[str, Any]
    """See :func:`~clipiqa_plus.evaluation.evaluation.describe`."""


def evaluate_votes(
    sources: Mapping[str, Source],
    data: VoteData,
    part: str = "test",
    device: str | torch.device = "cpu",
    cache: FeatureCache | None = None,
) -> VotesEvaluated:
    """Score the pictures of a part's votes, and count the votes that agree with each source.

    Args:
        sources: The sources by name.
        data: The votes; they are set up if necessary.
        part: ``train``, ``val`` or ``test``.
        device: Where to compute.
        cache: Feature cache; None encodes without saving.

    Raises:
        RuntimeError: If a source's context tokens are random.
        ValueError: If a source has several scores, or the part has no votes.
    """
    scores = score(sources, data, part, device, cache)
    about = describe(sources, data, part)
    table = vote_table(scores, data.part_votes(part), list(sources))
    for name, facts in about["sources"].items():
        seen = [f"{name} was {facts['seen']}"] if facts["seen"] else []
        chosen = table["prompts"] == name
        notes = [*seen, *table.loc[chosen, "note"]]
        table.loc[chosen, "note"] = "; ".join(filter(None, notes))
    return VotesEvaluated(scores, table, about)


def vote_table(scores: pd.DataFrame, votes: pd.DataFrame, sources: Sequence[str]) -> pd.DataFrame:
    """Compute the accuracy of every source on votes.

    Args:
        scores: Scores per picture, with ``id``.
        votes: What :meth:`~clipiqa_plus.data.votes.VoteData.part_votes` returned.
        sources: Names of the sources; the others are compared with the first.

    Returns:
        One row per source: ``accuracy`` on decided votes and its 95% interval; ``gain`` over the
        first source, likewise, and the ``verdict``: better or worse where the interval excludes 0;
        ``majority``, the accuracy of taking the majority of each pair, which no scores exceed (NaN
        if no pair has several votes); the number of decided ``votes``, of ``ties``, of ``pairs``
        and of ``pictures``; what was ``resampled``; and a ``note``. Contents are resampled where
        they are known, else pictures, and raters too where all are known.
    """
    place = pd.Series(np.arange(len(scores)), scores["id"])
    at = np.stack([place[votes[f"row_{name}"]].to_numpy() for name in ("first", "second")], axis=1)
    wins = np.stack([votes["n"] * (votes["vote"] == v) for v in ("first", "second")], axis=1)
    decided = wins.sum(axis=1) > 0
    given = scores[list(sources)].to_numpy().T
    units, text, note = _units(votes[decided], at[decided])
    # Votes of the same units count alike: they are added up first.
    agreeing = right(given, at[decided], wins[decided])
    groups = pd.DataFrame(np.column_stack([np.column_stack(units), wins[decided].sum(axis=1)]))
    keys = list(groups.columns[:-1])
    sums = pd.concat([groups, pd.DataFrame(agreeing.T).add_prefix("source_")], axis=1)
    sums = sums.groupby(keys, sort=True).sum().reset_index()
    columns, start = [], 0
    for unit in units:
        width = unit.reshape(len(unit), -1).shape[1]
        columns.append(sums[keys[start : start + width]].to_numpy())
        start += width
    ours = sums[[f"source_{i}" for i in range(len(sources))]].to_numpy().T
    found = resampled_accuracy(ours, sums[groups.columns[-1]].to_numpy(), columns)
    counted = PairVotes.counted(at, votes["vote"], votes["n"], len(scores))
    shared = {
        "majority": majority_accuracy(counted.wins),
        "votes": int(wins.sum()),
        "ties": int(votes["n"].sum() - wins.sum()),
        "pairs": len(counted.pairs),
        "pictures": len(counted.pictures),
        "resampled": text,
    }
    rows = [
        {
            "prompts": name,
            "accuracy": found.value[i],
            "accuracy_low": found.low[i],
            "accuracy_high": found.high[i],
            "gain": found.gain[i] if i else np.nan,
            "gain_low": found.gain_low[i] if i else np.nan,
            "gain_high": found.gain_high[i] if i else np.nan,
            "verdict": _verdict(found.gain_low[i], found.gain_high[i]) if i else "",
            **shared,
            "note": "; ".join(filter(None, [note, _unanimous(name, found.value[i])])),
        }
        for i, name in enumerate(sources)
    ]
    return pd.DataFrame(rows)


def _unanimous(name: str, accuracy: float) -> str:
    """Why an accuracy of 0 or 1 has no interval."""
    agree = {0.0: "no vote agrees", 1.0: "all votes agree"}.get(accuracy)
    return f"{agree} with {name}: no interval" if agree else ""


NO_VOTES = pd.DataFrame()


def added(known: pd.DataFrame, data: str, table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with that of a set of votes appended, its name in column ``data``."""
    named = table.assign(data=data)[["data", *table]]
    return pd.concat([known, named], ignore_index=True) if len(known) else named


def _verdict(low: float, high: float) -> str:
    if np.isnan(low):
        return "too few"
    return "better" if low > 0 else "worse" if high < 0 else "not told apart"


def _units(votes: pd.DataFrame, at: Any) -> tuple[list[np.ndarray[Any, Any]], str, str]:
    """What is resampled, in numbers; in words; and what that leaves out."""
    units: list[np.ndarray[Any, Any]] = []
    if "content" in votes:
        units.append(pd.factorize(votes["content"])[0])
        text = f"{votes['content'].nunique()} contents"
    else:
        units.append(at)
        text = f"{len(np.unique(at))} pictures"
    few = len(np.unique(units[0])) < FEWEST_UNITS
    notes = [f"{text}: too few for an interval"] if few else []
    raters = votes["rater"].nunique() if "rater" in votes and votes["rater"].notna().all() else 0
    if raters >= FEWEST_UNITS:
        units.append(pd.factorize(votes["rater"])[0])
        text += f" x {raters} raters"
    else:
        notes.append(f"{raters} raters: not resampled" if raters else "raters unknown")
    return units, text, "; ".join(notes)


def sentences(table: pd.DataFrame) -> list[str]:
    """Return a sentence for each row of a table of votes.

    Args:
        table: What :func:`vote_table` returned, with the name of the set in ``data``.
    """
    found = []
    for row in table.itertuples():
        ends = ""
        if not np.isnan(row.accuracy_low):
            ends = f" [{row.accuracy_low:.3f}, {row.accuracy_high:.3f}]"
        against = "" if not row.verdict else f": {row.verdict}"
        if row.verdict in ("better", "worse", "not told apart"):
            first = table.loc[table["data"] == row.data, "prompts"].iloc[0]
            word = "from" if row.verdict == "not told apart" else "than"
            against = f": {row.verdict} {word} {first}, gain {row.gain:+.3f}"
            against += f" [{row.gain_low:+.3f}, {row.gain_high:+.3f}]"
        votes = f"{row.votes:,} votes of {row.data}"
        found.append(f"{row.prompts} agrees with {row.accuracy:.3f}{ends} of {votes}{against}.")
    return found
