"""An evaluation as one HTML page that opens offline.

In comes the folder of an evaluation, without a model; out go the page, its charts and the gallery
of best and worst pictures, the page on which people rate pictures, and what is sent to loggers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipiqa_plus import import_on_first_use

if TYPE_CHECKING:
    from clipiqa_plus.report import study_page
    from clipiqa_plus.report.compare_page import write_comparison
    from clipiqa_plus.report.gallery import write_gallery
    from clipiqa_plus.report.loggers import log_evaluation, require_loggers
    from clipiqa_plus.report.page import write_report
    from clipiqa_plus.report.rating import write_rating_page
    from clipiqa_plus.report.sentences import closing

__all__ = [
    "closing",
    "log_evaluation",
    "require_loggers",
    "study_page",
    "write_comparison",
    "write_gallery",
    "write_rating_page",
    "write_report",
]

__getattr__, __dir__ = import_on_first_use(
    __name__,
    {
        "compare_page": ["write_comparison"],
        "gallery": ["write_gallery"],
        "loggers": ["log_evaluation", "require_loggers"],
        "page": ["write_report"],
        "rating": ["write_rating_page"],
        "sentences": ["closing"],
    },
)
