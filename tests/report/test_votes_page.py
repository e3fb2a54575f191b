"""The page of an evaluation on votes alone, in a browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clipiqa_plus.evaluation import results
from clipiqa_plus.evaluation.votes import added, sentences, vote_table
from clipiqa_plus.report import write_report
from tests.support.browser import VIEWS, violations, visited
from tests.support.votes import thurstone_votes

COUNT = 40


def saved(folder: Path) -> pd.DataFrame:
    """An evaluation of two sources on planted votes: the first guesses, the second nearly knows."""
    quality = np.linspace(0, 1, COUNT)
    votes = thurstone_votes(quality, 400, 0.1, raters=8)
    votes = votes.assign(n=1, row_first=votes["first"], row_second=votes["second"])
    rng = np.random.default_rng(0)
    scores = pd.DataFrame({"id": np.arange(COUNT), "mos": np.nan, "target": "mos"})
    scores = scores.assign(guess=rng.random(COUNT), learned=quality + 0.05 * rng.random(COUNT))
    table = added(pd.DataFrame(), "mine", vote_table(scores, votes, ["guess", "learned"]))
    about = {"part": "test", "split": "pairs", "split_sha256": "a" * 64, "pictures": COUNT}
    record = results.start_record([])
    results.save_votes(folder, "mine", scores, {**about, "sources": {}}, table, record)
    return table


@pytest.mark.slow
def test_the_table_tells_sources_apart(tmp_path: Path) -> None:
    table = saved(tmp_path).set_index("prompts")
    assert table.loc["learned", "verdict"] == "better"
    assert table.loc["learned", "gain_low"] > 0
    assert table.loc["guess", "accuracy_low"] < 0.5 < table.loc["guess", "accuracy_high"]
    assert table.loc["learned", "accuracy"] <= table.loc["learned", "majority"]
    assert table.loc["guess", "resampled"] == "40 pictures x 8 raters"
    assert table.loc["guess", "votes"] == 400
    words = sentences(table.reset_index())
    assert words[1].startswith("learned agrees with 0.")
    assert "better than guess, gain +0." in words[1]


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_the_page_is_quiet_and_accessible(tmp_path: Path, width: int, scheme: str) -> None:
    saved(tmp_path)
    page = write_report(tmp_path)
    with visited(page, width, scheme) as tab:
        assert violations(tab) == []
        assert "better than guess" in tab.locator(".verdict").inner_text()
        assert tab.locator("main table tbody tr").count() == 2
