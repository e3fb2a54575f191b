"""What the cache looks up is what the backbone gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.data.transforms import AugmentedViews, FlipViews
from clipiqa_plus.features import FeatureCache, FeatureTable
from tests.support.feature_data import (
    ALL,
    NAMES,
    Few,
    direct,
)


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp32", 1e-5), ("fp16", 3e-4)])
def test_looks_up_what_the_backbone_gives(
    clip: FrozenCLIP, root: Path, tmp_path: Path, dtype: Any, tolerance: float
) -> None:
    data = Few(root, NAMES, train_views=FlipViews())
    cache = FeatureCache(str(tmp_path / "cache"), dtype=dtype, batch_size=5)
    tables = cache.tables(clip, data, ALL)
    for row, view in [(7, 0), (0, 1), (2, 1), (2, 0)]:
        found = tables["train"](torch.tensor([row]), torch.tensor([view]))
        assert found.dtype == torch.float32
        # Another batch size moves the last bits of fp32; fp16 keeps 11 bits of entries below 1.
        expected = direct(clip, root / NAMES[row], flip=view == 1)[None]
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)
    batch = tables["test"](torch.tensor([11, 8]), torch.tensor([0, 0]))
    expected = torch.stack([direct(clip, root / NAMES[row]) for row in (11, 8)])
    torch.testing.assert_close(batch, expected, atol=tolerance, rtol=0)


def test_resize_and_random_views_are_those_of_the_data_set(clip: FrozenCLIP, root: Path) -> None:
    views = AugmentedViews([{"RandomCrop": {"height": 36, "width": 36}}], count=3, seed=5)
    data = Few(root, NAMES, train_views=views, resize=38)
    table = FeatureCache(str(root / "cache")).tables(clip, data, ["train"])["train"]
    image = data.dataset("train").picture(4, 2)
    expected = clip.encode_image(torch.from_numpy(image.copy()).movedim(-1, 0)[None])
    assert image.shape == (36, 36, 3)
    found = table(torch.tensor([4]), torch.tensor([2]))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_table_refuses_what_it_does_not_hold() -> None:
    table = FeatureTable(torch.rand(2, 3, 4), np.array([5, 2]))
    torch.testing.assert_close(
        table(torch.tensor([2, 5]), torch.tensor([2, 0])), table.features[[5, 0]]
    )
    for row, view in [(3, 0), (6, 0), (600, 0), (-1, 0), (-7, 0), (5, 3), (5, -1)]:
        with pytest.raises(IndexError, match=f"row {row} with view {view}"):
            table(torch.tensor([2, row]), torch.tensor([0, view]))
