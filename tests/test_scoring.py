"""Scores against a softmax written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from clipiqa_plus.scoring import pair_probability


def unit(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return functional.normalize(values, dim=-1).to(dtype)


def softmax_by_hand(image: Tensor, text: Tensor, scale: float) -> list[list[float]]:
    """One softmax at a time, in Python floats."""
    scores = []
    for f in image.double().tolist():
        row = []
        for pair in text.double().tolist():
            logits = [scale * sum(a * b for a, b in zip(f, t, strict=True)) for t in pair]
            top = max(logits)
            powers = [math.exp(logit - top) for logit in logits]
            row.append(powers[0] / sum(powers))
        scores.append(row)
    return scores


@settings(derandomize=True, deadline=None)  # the same cases in every run; no timing
@given(
    batch=st.integers(1, 4),
    pairs=st.integers(1, 3),
    dim=st.integers(1, 8),
    scale=st.floats(0.1, 100.0),
    seed=st.integers(0, 2**16),
)
def test_equals_softmax(batch: int, pairs: int, dim: int, scale: float, seed: int) -> None:
    image, text = unit(batch, dim, seed=seed), unit(pairs, 2, dim, seed=seed + 1)
    scores = pair_probability(image, text, scale)
    assert scores.shape == (batch, pairs)
    assert scores.dtype == torch.float32
    expected = torch.tensor(softmax_by_hand(image, text, scale))
    # float32 cosines err by about 1e-7; x 100 (scale) x 0.25 (slope of the sigmoid) = 3e-6.
    torch.testing.assert_close(scores, expected, atol=5e-6, rtol=0)


def test_first_prompt_is_the_good_one() -> None:
    good, bad = torch.eye(2)
    text = torch.stack([good, bad])[None]
    scores = pair_probability(torch.stack([good, bad]), text, 1.0)
    e = math.e
    assert scores.flatten().tolist() == pytest.approx([e / (e + 1), 1 / (e + 1)], abs=1e-7)


def test_swapped_pair_is_the_complement() -> None:
    image, text = unit(5, 16, seed=0), unit(3, 2, 16, seed=1)
    total = pair_probability(image, text, 100.0) + pair_probability(image, text.flip(1), 100.0)
    torch.testing.assert_close(total, torch.ones(5, 3), atol=1e-6, rtol=0)


def test_huge_scale_saturates_without_overflow() -> None:
    text = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]], requires_grad=True)
    image = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    scores = pair_probability(image, text, 1e4)
    assert scores.flatten().tolist() == [1.0, 0.0, 0.5]
    scores.sum().backward()
    assert text.grad is not None
    assert bool(text.grad.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_features_are_scored_in_float32(dtype: torch.dtype) -> None:
    image, text = unit(6, 64, seed=2, dtype=dtype), unit(2, 2, 64, seed=3, dtype=dtype)
    scores = pair_probability(image, text, torch.tensor(100.0, dtype=dtype))
    assert scores.dtype == torch.float32
    # The reference starts from the same rounded features: only the arithmetic is compared.
    expected = torch.tensor(softmax_by_hand(image, text, 100.0))
    torch.testing.assert_close(scores, expected, atol=5e-6, rtol=0)


def test_autocast_does_not_lower_the_precision() -> None:
    image, text = unit(6, 64, seed=4), unit(2, 2, 64, seed=5)
    expected = pair_probability(image, text, 100.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = pair_probability(image, text, 100.0)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, expected)


def test_batch_of_one_equals_batch_of_many() -> None:
    image, text = unit(8, 512, seed=6), unit(3, 2, 512, seed=7)
    together = pair_probability(image, text, 100.0)
    alone = torch.cat([pair_probability(row[None], text, 100.0) for row in image])
    # Matrix products of different sizes sum in another order: 1e-7 on the cosine, as above.
    torch.testing.assert_close(alone, together, atol=5e-6, rtol=0)


def test_gradient_reaches_the_text_features() -> None:
    image = unit(4, 5, seed=8, dtype=torch.float64)
    text = unit(2, 2, 5, seed=9, dtype=torch.float64).requires_grad_()
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t, s: pair_probability(image, t, s), (text, scale))
    pair_probability(image, text, scale).sum().backward()
    assert text.grad is not None
    assert bool((text.grad != 0).all())
    torch.testing.assert_close(text.grad[:, 0], -text.grad[:, 1])  # f·t0 and f·t1 pull apart


@pytest.mark.parametrize(
    ("image", "text", "scale", "message"),
    [
        ((8,), (1, 2, 8), 100.0, r"image features must be \[B, D\], got \[8\]"),
        ((4, 8), (2, 8), 100.0, r"text features must be \[P, 2, D\], got \[2, 8\]"),
        ((4, 8), (1, 3, 8), 100.0, r"text features must be \[P, 2, D\], got \[1, 3, 8\]"),
        ((4, 8), (1, 2, 6), 100.0, "8 dimensions, text features 6"),
        ((4, 8), (1, 2, 8), torch.ones(2), r"one element, got shape \[2\]"),
    ],
)
def test_wrong_shapes_are_named(
    image: tuple[int, ...], text: tuple[int, ...], scale: float | Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pair_probability(torch.zeros(image), torch.zeros(text), scale)
