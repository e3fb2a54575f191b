"""Mean ranks of the sources over data sets, for a critical-difference diagram."""

from __future__ import annotations

import pandas as pd

from clipiqa_plus.metrics.rank_tests import FEWEST_SETS, FEWEST_SOURCES, friedman

COLUMNS = ("prompts", "mean_rank", "critical_difference", "data_sets", "p_friedman", "verdict")


def ranks(results: pd.DataFrame) -> pd.DataFrame:
    """Rank the sources by SRCC on every data set.

    The targets of a data set share its pictures, so a source has one value per data set: the mean
    SRCC over its targets. Data sets on which a source has no SRCC are left out.

    Args:
        results: Results of an evaluation, with ``data``, ``target``, ``prompts`` and ``SRCC``.

    Returns:
        One row per source, the best first: ``prompts``, ``mean_rank`` (1 is the best),
        ``critical_difference`` of two mean ranks by Nemenyi's test at 5%, ``data_sets``,
        ``p_friedman``, and ``verdict`` against the first source of the results: ``better``,
        ``worse`` or ``not told apart``. Empty for fewer than
        :data:`~clipiqa_plus.metrics.rank_tests.FEWEST_SETS` data sets or
        :data:`~clipiqa_plus.metrics.rank_tests.FEWEST_SOURCES` sources.
    """
    nothing = pd.DataFrame(columns=list(COLUMNS))
    if results.empty:
        return nothing
    sources = results["prompts"].unique()
    values = results.pivot_table("SRCC", "data", "prompts", "mean", dropna=False)
    values = values.reindex(columns=sources).dropna()
    if len(values) < FEWEST_SETS or len(sources) < FEWEST_SOURCES:
        return nothing
    found = friedman(values.to_numpy())
    table = pd.DataFrame({"prompts": sources, "mean_rank": found.ranks})
    table["critical_difference"] = found.critical_difference
    table["data_sets"] = len(values)
    table["p_friedman"] = found.p
    gain = found.ranks[0] - found.ranks
    apart = abs(gain) >= found.critical_difference
    words = ["better" if g > 0 else "worse" for g in gain]
    table["verdict"] = [
        (word if far else "not told apart") if index else ""
        for index, (word, far) in enumerate(zip(words, apart, strict=True))
    ]
    return table.sort_values("mean_rank", kind="stable", ignore_index=True)
