"""Nearest words and cosines: context tokens that are known words, and features by hand."""

from __future__ import annotations

import pytest
import torch

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.prompts.nearest_words import nearest_words, text_cosines
from clipiqa_plus.prompts.sources import ContextPrompts, ZeroShotPrompts


def test_a_context_of_words_is_nearest_to_them(clip: FrozenCLIP) -> None:
    prompts = ContextPrompts(clip, n_ctx=3, init="a sharp photo")
    found = nearest_words(prompts, clip, count=2)
    assert list(found) == ["c1", "c2", "c3"]
    assert [near[0].word for near in found.values()] == ["a", "sharp", "photo"]
    # The distance of a row to itself, in float32.
    assert all(near[0].distance == pytest.approx(0, abs=1e-6) for near in found.values())
    assert all(near[0].distance < near[1].distance for near in found.values())


def test_distance_is_euclidean(clip: FrozenCLIP) -> None:
    prompts = ContextPrompts(clip, n_ctx=1, init="photo")
    with torch.no_grad():
        prompts.ctx[0, 0] += 0.003
    (near,) = nearest_words(prompts, clip, count=1)["c1"]
    assert near.word == "photo"
    assert near.distance == pytest.approx(0.003, rel=1e-3)  # float32 near 0.02


def test_class_specific_tokens_are_named(clip: FrozenCLIP) -> None:
    pairs = ["quality", "sharpness"]
    prompts = ContextPrompts(clip, pairs, n_ctx=2, class_specific=True, init="new moon")
    found = nearest_words(prompts, clip, count=1)
    assert list(found)[:3] == ["pair 1 high c1", "pair 1 high c2", "pair 1 low c1"]
    assert len(found) == 8
    assert found["pair 2 low c2"][0].word == "moon"


def test_cosines_by_hand(clip: FrozenCLIP) -> None:
    prompts = ContextPrompts(clip, ["quality"], seed=3)
    found = text_cosines(prompts, clip)
    assert [word for word, _ in found] == ["Good photo.", "Bad photo."]
    with torch.no_grad():
        learned, fixed = prompts(clip), ZeroShotPrompts(["quality"])(clip)
    for side, (_, cosine) in enumerate(found):
        expected = torch.cosine_similarity(learned[0, side], fixed[0, side], dim=0)
        assert cosine == pytest.approx(float(expected), abs=1e-6)
