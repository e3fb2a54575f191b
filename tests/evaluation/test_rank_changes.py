"""Pictures that tuning moved: their ranks by hand, their thumbnails in order."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clipiqa_plus.data.tables import TableData
from clipiqa_plus.evaluation.rank_changes import (
    data_uris,
    largest_rank_changes,
    rank_errors,
    thumbnails,
)

N = 12


@pytest.fixture
def moved() -> pd.DataFrame:
    """All in place, but for two that changed places."""
    scores = pd.DataFrame({"id": range(N), "target": "mos", "mos": np.arange(N) / N})
    scores["image"] = [f"{i}.png" for i in range(N)]
    scores["before"] = scores["mos"]
    scores["after"] = scores["mos"]
    scores.loc[[0, 7], "after"] = [7 / N, 0]
    return scores


def test_rank_errors_by_hand() -> None:
    # Ranks 1 2 3 4 by MOS, 1 4 2.5 2.5 by score.
    np.testing.assert_allclose(
        rank_errors([0.1, 0.9, 0.5, 0.5], [1, 2, 3, 4]), [0, 0.5, 0.125, 0.375]
    )


def test_helped_and_hurt_by_hand(moved: pd.DataFrame) -> None:
    helped, hurt = largest_rank_changes(moved, "before", "after")
    assert helped == []
    assert {picture.id for picture in hurt} == {0, 7}
    assert [picture.gain for picture in hurt] == pytest.approx([-7 / N] * 2)
    helped, hurt = largest_rank_changes(moved, "after", "before")
    assert hurt == []
    first = next(picture for picture in helped if picture.id == 7)
    assert first.image == "7.png"
    assert (first.mos, first.first, first.other) == pytest.approx((7 / N, 0, 7 / N))


def test_thumbnails_begin_with_what_moved_most(
    tmp_path: Path, moved: pd.DataFrame, make_picture: Callable[..., Path]
) -> None:
    for i in range(N):
        make_picture(tmp_path / f"{i}.png", width=48 + 160 * (i % 2), seed=i)
    moved[["image", "mos"]].to_csv(tmp_path / "scores.csv", index=False)
    data = TableData(str(tmp_path / "scores.csv"), (0, 1), split="whole", num_workers=0)
    data.setup()
    found = thumbnails(data, moved, ["before", "after"], 5)
    assert len(found) == 5
    assert set(found["id"][:2]) == {0, 7}
    # Those that the page shows have a large one.
    assert found["large"].notna().tolist() == [True, True, False, False, False]
    also = thumbnails(data, moved, ["before", "after"], 5, [11])
    assert also["id"].tolist()[2] == 11
    assert also["large"].notna().tolist() == [True, True, True, False, False]
    large = Image.open(io.BytesIO(next(p.large for p in found.itertuples() if p.id == 7)))
    assert large.size == (208, 48)
    for picture in found.itertuples():
        small = Image.open(io.BytesIO(picture.jpeg))
        assert small.format == "JPEG"
        assert small.size == ((112, 26) if picture.id % 2 else (48, 48))  # never enlarged


def test_data_uris_stay_within_their_budget(tmp_path: Path) -> None:
    path = tmp_path / "thumbnails.parquet"
    assert data_uris(path, 1000) == {}
    pd.DataFrame({"id": [4, 2, 9], "jpeg": [b"x" * 30] * 3}).to_parquet(path)
    uri = "data:image/jpeg;base64," + base64.b64encode(b"x" * 30).decode()
    assert data_uris(path, 1000) == {"4": [uri], "2": [uri], "9": [uri]}
    assert list(data_uris(path, 2 * (len(uri) + 14))) == ["4", "2"]
    # Those that the page shows get their small one first, then the large one, then the others.
    table = pd.DataFrame({"id": [4, 2, 9], "jpeg": [b"x" * 30] * 3})
    table.assign(large=[b"x" * 30, None, b"x" * 30]).to_parquet(path)
    assert data_uris(path, 1000) == {"4": [uri, uri], "9": [uri, uri], "2": [uri]}
    assert data_uris(path, 3 * (len(uri) + 14)) == {"4": [uri, uri], "9": [uri]}
