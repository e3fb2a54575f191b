"""Prompt sources times data sets: scores per picture, and the tables that compare them.

In come prompt sources and data modules; out go a score for each picture, correlations with
intervals, paired differences, and the folder from which the report is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipiqa_plus import import_on_first_use

if TYPE_CHECKING:
    from clipiqa_plus.evaluation import (
        analyses,
        before_after,
        comparison,
        evaluation,
        interpolation,
        naming,
        random_splits,
        rank_changes,
        rating,
        reproduction,
        results,
        studies,
        terminal,
        votes,
    )
    from clipiqa_plus.evaluation.comparison import Comparison, compare_sources
    from clipiqa_plus.evaluation.coverage import coverage_lines
    from clipiqa_plus.evaluation.evaluation import evaluate, load_sources
    from clipiqa_plus.evaluation.published import PUBLISHED

__all__ = [
    "PUBLISHED",
    "Comparison",
    "analyses",
    "before_after",
    "compare_sources",
    "comparison",
    "coverage_lines",
    "evaluate",
    "evaluation",
    "interpolation",
    "load_sources",
    "naming",
    "random_splits",
    "rank_changes",
    "rating",
    "reproduction",
    "results",
    "studies",
    "terminal",
    "votes",
]

__getattr__, __dir__ = import_on_first_use(
    __name__,
    {
        "comparison": ["Comparison", "compare_sources"],
        "coverage": ["coverage_lines"],
        "evaluation": ["evaluate", "load_sources"],
        "published": ["PUBLISHED"],
    },
)
