"""``clipiqa report``: the page of an evaluation."""

from __future__ import annotations

from cyclopts import App

app = App("report")


@app.default
def report(folder: str, /) -> None:
    """Write the HTML page of an evaluation again, without a model.

    Args:
        folder: The --out of the evaluation.
    """
    from clipiqa_plus.report.page import write_report

    print(write_report(folder))
