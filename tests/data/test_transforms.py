"""Views are functions of (row, view) alone; resizing is Pillow's to the pixel."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from PIL import Image

from clipiqa_plus.data.transforms import (
    QUALITY_PRESERVING,
    AugmentedViews,
    FlipViews,
    PlainView,
    resize,
)

PICTURE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
CROP = {"RandomCrop": {"height": 32, "width": 32}}


def test_plain_view_is_the_picture() -> None:
    assert np.array_equal(PlainView()(PICTURE, 0, 0), PICTURE)


def test_flip_views_are_the_picture_and_its_mirror() -> None:
    views = FlipViews()
    assert views.count == 2
    assert np.array_equal(views(PICTURE, 3, 0), PICTURE)
    assert np.array_equal(views(PICTURE, 3, 1), PICTURE[:, ::-1])


def test_a_view_is_fixed_by_seed_row_and_number() -> None:
    views, again = AugmentedViews([CROP]), AugmentedViews([CROP])
    drawn = {(r, v): views(PICTURE, r, v) for r in range(4) for v in range(4)}
    for (row, view), crop in reversed(drawn.items()):
        assert np.array_equal(again(PICTURE, row, view), crop)
    assert len({crop.tobytes() for crop in drawn.values()}) > 10
    other = AugmentedViews([CROP], seed=1)
    assert any(not np.array_equal(other(PICTURE, *key), crop) for key, crop in drawn.items())


def test_crops_are_windows_of_the_picture() -> None:
    crop = AugmentedViews([CROP])(PICTURE, 0, 0)
    windows = np.lib.stride_tricks.sliding_window_view(PICTURE, (32, 32, 3))
    assert any(np.array_equal(window, crop) for window in windows.reshape(-1, 32, 32, 3))


def test_quality_changing_augmentation_warns_and_preserving_does_not() -> None:
    with pytest.warns(UserWarning, match="GaussianBlur changes the quality"):
        AugmentedViews([{"HorizontalFlip": {"p": 0.5}}, {"GaussianBlur": {}}])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AugmentedViews([CROP, {"HorizontalFlip": {"p": 0.5}}])


@pytest.mark.parametrize("name", sorted(QUALITY_PRESERVING))
def test_quality_preserving_ones_change_no_pixel(name: str) -> None:
    sized = {
        "RandomCrop": {"height": 48, "width": 64},
        "CenterCrop": {"height": 48, "width": 64},
        "Crop": {"x_min": 0, "y_min": 0, "x_max": 64, "y_max": 48},
    }
    view = AugmentedViews([{name: sized.get(name, {})}])(PICTURE, 0, 0)
    assert sorted(map(tuple, view.reshape(-1, 3))) == sorted(map(tuple, PICTURE.reshape(-1, 3)))


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"HorizontalFlop": {}}, "no transform named 'HorizontalFlop'"),
        ({"RandomCrop": {"hight": 3}}, "RandomCrop"),
        ({"Compose": {}}, "no transform named 'Compose'"),
    ],
)
def test_wrong_steps_are_refused(step: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AugmentedViews([step])


def test_crop_larger_than_the_picture_names_both() -> None:
    views = AugmentedViews([{"RandomCrop": {"height": 384, "width": 384}}])
    with pytest.raises(ValueError, match="RandomCrop fails on a picture of 64x48"):
        views(PICTURE, 0, 0)


def test_keys_differ_where_pixels_may() -> None:
    keys = [
        PlainView().key(0, 0),
        FlipViews().key(0, 1),
        AugmentedViews([CROP]).key(0, 0),
        AugmentedViews([CROP]).key(0, 1),
        AugmentedViews([CROP]).key(1, 0),
        AugmentedViews([CROP], seed=1).key(0, 0),
        AugmentedViews([{"RandomCrop": {"height": 31, "width": 32}}]).key(0, 0),
    ]
    assert len(set(keys)) == len(keys)


def test_the_plain_picture_has_one_key_in_every_row() -> None:
    assert {FlipViews().key(0, 0), FlipViews().key(5, 0), PlainView().key(9, 0)} == {"plain"}
    assert FlipViews().key(0, 1) == FlipViews().key(5, 1)


@pytest.mark.parametrize(
    ("size", "expected"), [(24, (24, 32)), (96, (96, 128)), ([20, 30], (20, 30))]
)
def test_resize_equals_pillow(size: int | list[int], expected: tuple[int, int]) -> None:
    bicubic = Image.Resampling.BICUBIC
    theirs = np.asarray(Image.fromarray(PICTURE).resize(expected[::-1], bicubic))
    assert np.array_equal(resize(PICTURE, size), theirs)


def test_short_side_of_a_portrait() -> None:
    assert resize(PICTURE.transpose(1, 0, 2), 24).shape == (32, 24, 3)


def test_no_resize_keeps_the_pixels() -> None:
    assert resize(PICTURE, None) is PICTURE
    assert resize(PICTURE, [48, 64]) is PICTURE


def test_resize_to_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="each side must be positive"):
        resize(PICTURE, [0, 10])
