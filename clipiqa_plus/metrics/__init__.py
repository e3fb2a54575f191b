"""Agreement of scores with opinion scores: pure functions, and torchmetrics classes around them.

In: one score and one MOS per picture. Out: SRCC, PLCC, KRCC and RMSE with their intervals and
p-values, and the statistics of rating panels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipiqa_plus import import_on_first_use

if TYPE_CHECKING:
    from clipiqa_plus.metrics import (
        by_set,
        conformal,
        distributions,
        functional,
        krasula,
        p1401,
        rank_tests,
        ratings,
        resampling,
        significance,
        votes,
    )
    from clipiqa_plus.metrics.classes import (
        KRCC,
        PLCC,
        RMSE,
        SRCC,
        IQAMetric,
        full_iqa_metrics,
        iqa_metrics,
    )
    from clipiqa_plus.metrics.functional import krcc, logistic_mapping, plcc, rmse, srcc

__all__ = [
    "KRCC",
    "PLCC",
    "RMSE",
    "SRCC",
    "IQAMetric",
    "by_set",
    "conformal",
    "distributions",
    "full_iqa_metrics",
    "functional",
    "iqa_metrics",
    "krasula",
    "krcc",
    "logistic_mapping",
    "p1401",
    "plcc",
    "rank_tests",
    "ratings",
    "resampling",
    "rmse",
    "significance",
    "srcc",
    "votes",
]

__getattr__, __dir__ = import_on_first_use(
    __name__,
    {
        "classes": ["KRCC", "PLCC", "RMSE", "SRCC", "IQAMetric", "full_iqa_metrics", "iqa_metrics"],
        "functional": ["krcc", "logistic_mapping", "plcc", "rmse", "srcc"],
    },
)
