"""Views of a picture over which a score is averaged."""

from __future__ import annotations

import numpy as np
import pytest

from clipiqa_plus.data.transforms import EVALUATION_VIEWS, evaluation_views, resize

IMAGE = np.arange(40 * 60 * 3, dtype=np.uint32).astype(np.uint8).reshape(40, 60, 3)


def test_crops_lie_at_the_corners_and_in_the_centre() -> None:
    views = evaluation_views("five-crop")
    crops = [views(IMAGE, 0, view) for view in range(5)]
    expected = [IMAGE[:30, :45], IMAGE[:30, 15:], IMAGE[10:, :45], IMAGE[10:, 15:]]
    expected.append(IMAGE[5:35, 7:52])
    assert all(np.array_equal(*pair) for pair in zip(crops, expected, strict=True))
    ten = evaluation_views("ten-crop")
    assert ten.count == 10
    for view in range(5):
        assert np.array_equal(ten(IMAGE, 0, view), expected[view])
        assert np.array_equal(ten(IMAGE, 0, 5 + view), expected[view][:, ::-1])


def test_scales_are_antialiased_resizes() -> None:
    views = evaluation_views("scales")
    found = [views(IMAGE, 0, view) for view in range(3)]
    assert [image.shape[:2] for image in found] == [(40, 60), (30, 45), (20, 30)]
    assert np.array_equal(found[0], IMAGE)
    assert np.array_equal(found[2], resize(IMAGE, (20, 30)))


def test_keys_tell_all_views_apart_but_plain_ones() -> None:
    keys = {
        (name, view): evaluation_views(name).key(3, view)
        for name in EVALUATION_VIEWS
        for view in range(evaluation_views(name).count or 0)
    }
    plain = {key for key, text in keys.items() if text == "plain"}
    assert plain == {("flip", 0), ("scales", 0)}
    others = [text for key, text in keys.items() if key not in plain and key[0] != "five-crop"]
    assert len(set(others)) == len(others)
    assert all(keys["five-crop", v] == keys["ten-crop", v] for v in range(5))  # cached once


def test_unknown_views() -> None:
    with pytest.raises(ValueError, match="unknown views 'six-crop'; choose from flip, five-crop"):
        evaluation_views("six-crop")
