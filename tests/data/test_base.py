"""From an annotation table to batches: what is drawn, normalised, checked and refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from clipiqa_plus.data.base import BatchSampler, IQADataModule, validate
from clipiqa_plus.data.images import read_rgb
from clipiqa_plus.data.transforms import FlipViews
from tests.support.tiny_data import ROWS, Tiny


class LowerIsBetter(Tiny):
    higher_is_better = False


@pytest.fixture
def root(tmp_path: Path, make_picture: Callable[..., Path]) -> Path:
    for i in range(ROWS):
        width, height = (40, 56) if i % 2 else (64, 48)
        make_picture(tmp_path / f"p/{i}.png", width, height, seed=i)
    return tmp_path


def ready(module: IQADataModule) -> IQADataModule:
    module.setup()
    return module


def test_test_batches_hold_every_row_once_in_order(root: Path) -> None:
    data = ready(Tiny(root, batch_size=2, num_workers=0))
    batches = list(data.test_dataloader())
    assert torch.cat([b["id"] for b in batches]).tolist() == [6 + 1, 8, 9]
    assert [len(b["id"]) for b in batches] == [2, 1]
    for batch in batches:
        for image, row in zip(batch["image"], batch["id"].tolist(), strict=True):
            expected = read_rgb(root / f"p/{row}.png").transpose(2, 0, 1)
            assert np.array_equal(image.numpy(), expected)


def test_equal_sizes_stack_and_unequal_ones_stay_a_list(root: Path) -> None:
    dataset = ready(Tiny(root)).dataset("test")
    zeros = np.zeros(2, np.int64)
    assert dataset[np.array([0, 2]), zeros]["image"].shape == (2, 3, 48, 64)
    unequal = dataset[np.array([0, 1]), zeros]["image"]
    assert [tuple(i.shape) for i in unequal] == [(3, 48, 64), (3, 56, 40)]


def test_mos_is_normalised_and_raw_is_kept(root: Path) -> None:
    data = ready(Tiny(root, targets=["mos", "sharpness"]))
    expected = (np.linspace(1, 5, ROWS) - 1) / 4
    np.testing.assert_allclose(data.mos[:, 0], expected, atol=1e-7)  # float32
    np.testing.assert_allclose(data.mos[:, 1], 1 - expected, atol=1e-7)
    assert data.mos_raw[:, 0].tolist() == np.linspace(1, 5, ROWS).tolist()


def test_lower_better_is_turned_once(root: Path) -> None:
    up, down = ready(Tiny(root)), ready(LowerIsBetter(root))
    torch.testing.assert_close(down.mos, 1 - up.mos)
    assert torch.equal(down.mos_raw, up.mos_raw)


def test_training_draws_every_row_once_per_epoch_with_both_views() -> None:
    rows = np.arange(100, 164)
    sampler = BatchSampler(rows, 10, views=2, shuffle=True, epoch=lambda: 3)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 7
    assert sorted(np.concatenate([r for r, _ in batches])) == rows.tolist()
    views = np.concatenate([v for _, v in batches])
    assert set(views) == {0, 1}
    assert 20 < views.sum() < 44  # 64 fair draws: 3 standard deviations are 12


def test_a_draw_depends_on_seed_and_epoch_alone() -> None:
    def draw(seed: int, epoch: int) -> list:
        sampler = BatchSampler(np.arange(50), 7, 2, True, seed, lambda: epoch)
        return [(r.tolist(), v.tolist()) for r, v in sampler]

    assert draw(0, 1) == draw(0, 1)
    assert draw(0, 1) != draw(0, 2)
    assert draw(0, 1) != draw(1, 1)


def test_endless_views_are_drawn_from_many() -> None:
    sampler = BatchSampler(np.arange(1000), 1000, None, True)
    ((_, views),) = list(sampler)
    assert len(set(views.tolist())) > 990


def test_flipped_view_reaches_the_batch(root: Path) -> None:
    data = ready(Tiny(root, train_views=FlipViews(), num_workers=0))
    batch = data.dataset("train")[np.array([0, 0]), np.array([0, 1])]
    assert torch.equal(batch["image"][1], batch["image"][0].flip(-1))


def test_cached_features_replace_decoding(root: Path) -> None:
    data = ready(Tiny(root, num_workers=0))
    table = torch.randn(ROWS, 1, 4)
    data.features["test"] = lambda rows, views: table[rows, views]
    batch = next(iter(data.test_dataloader()))
    assert "image" not in batch
    assert torch.equal(batch["features"], table[batch["id"], 0])


def test_batch_of_cached_features_is_where_they_are(root: Path) -> None:
    data = ready(Tiny(root, num_workers=0))
    table = torch.randn(ROWS, 1, 4, device="meta")  # a device of its own, as a GPU is
    data.features["test"] = lambda rows, views: table[rows, views]
    batch = next(iter(data.test_dataloader()))
    assert {value.device.type for value in batch.values()} == {"meta"}
    assert batch["mos"].shape == (3, 1)


def test_a_batch_of_cached_features_may_be_the_whole_part(root: Path) -> None:
    data = ready(Tiny(root, batch_size=10**6, num_workers=0))
    table = torch.randn(ROWS, 1, 4)
    data.features["test"] = lambda rows, views: table[rows, views]
    (batch,) = data.test_dataloader()
    rows = data.rows("test")
    assert torch.equal(batch["features"], table[rows, 0])
    assert torch.equal(batch["mos"], data.mos[rows])
    assert torch.equal(batch["mos_raw"], data.mos_raw[rows])


def test_split_without_a_part_says_so(root: Path) -> None:
    data = ready(Tiny(root, split="random", fractions=(0.8, 0.0, 0.2)))
    assert data.val_dataloader() == []
    data = ready(Tiny(root, split="random", fractions=(1.0, 0.0, 0.0)))
    with pytest.raises(ValueError, match="the random split has no test part"):
        data.test_dataloader()


def test_missing_pictures_are_named_before_anything_runs(root: Path) -> None:
    (root / "p/3.png").unlink()
    (root / "p/7.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"2 of 10 pictures are missing \(p/3.png, p/7"):
        Tiny(root).setup()


def test_zero_byte_picture_is_named(root: Path) -> None:
    (root / "p/7.png").write_bytes(b"")
    data = ready(Tiny(root, num_workers=0))
    with pytest.raises(ValueError, match=r"p/7\.png: not a readable image"):
        list(data.test_dataloader())


def test_unreadable_pictures_are_skipped_counted_and_listed_on_request(root: Path) -> None:
    (root / "p/7.png").write_bytes(b"")
    (root / "p/2.png").write_text("<html>")
    data = Tiny(root, num_workers=0, skip_unreadable=True)
    with pytest.warns(UserWarning, match="2 of 10 pictures cannot be decoded and are excluded"):
        data.setup()
    assert list(data.unreadable) == [2, 7]
    assert "p/7.png: not a readable image" in data.unreadable[7]
    assert data.rows("test").tolist() == [8, 9]
    assert data.rows("train").tolist() == [0, 1, 3, 4, 5]
    assert torch.cat([b["id"] for b in data.test_dataloader()]).tolist() == [8, 9]


TABLE = pd.DataFrame({"image": ["a", "b", "c"], "mos": [1.0, 2.0, 3.0]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mos": [1.0, np.nan, 3.0]}, r"row 2 \(b\): mos is empty or not a number \(1 such rows"),
        ({"mos": ["1", "x", "3"]}, r"row 2 \(b\): mos is empty or not a number"),
        ({"mos": [1.0, 2.0, np.inf]}, r"row 3 \(c\): mos is empty or not a number"),
        ({"mos": [1.0, 7.5, 9.0]}, r"row 2 \(b\): mos 7.5 is outside .* 0 to 5 \(2 such rows"),
        ({"image": ["a", "b", "a"]}, r"row 3 \(a\): image name repeats"),
        ({"image": ["a", None, "c"]}, "row 2 .* image name is empty"),
    ],
)
def test_bad_rows_are_named(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        validate(TABLE.assign(**change), ["mos"], (0, 5), "table")


def test_missing_column_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match="no column 'sharpness'; there are image, mos"):
        validate(TABLE, ["mos", "sharpness"], (0, 5), "table")


def test_table_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        validate(TABLE.iloc[:0], ["mos"], (0, 5), "table")


def test_batch_size_of_nothing_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Tiny(root, batch_size=0)


def test_the_whole_training_part_is_one_batch_of_all_views(root: Path) -> None:
    data = ready(Tiny(root, batch_size="all", num_workers=0, train_views=FlipViews()))
    data.features["train"] = lambda rows, views: torch.stack([rows, views], dim=1).float()
    (batch,) = data.train_dataloader()
    expected = [[row, view] for row in range(6) for view in (0, 1)]
    assert sorted(batch["features"].tolist()) == expected
    assert torch.equal(batch["features"][:, 0].long(), batch["id"])
    assert torch.equal(batch["mos"], data.mos[batch["id"]])
    assert sum(len(b["id"]) for b in data.test_dataloader()) == 3  # in batches of 64


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_of_nothing_is_refused(root: Path, size: int) -> None:
    with pytest.raises(ValueError, match="give at least 1, or all"):
        Tiny(root, batch_size=size)
