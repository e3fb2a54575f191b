"""FusedTower against the plain modules whose weights it uses."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import clipiqa_plus.clip.fused_tower
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.fused_tower import FusedTower, is_offered
from clipiqa_plus.clip.weights import random_clip
from tests.support.models import small_clip

needs_operators = pytest.mark.skipif(
    not is_offered(), reason="this torch has no fused convolutions for this processor"
)


def both_ways(clip: FrozenCLIP, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    fused = clip.encode_image(images)
    tower, clip._fused = clip._fused, None
    plain = clip.encode_image(images)
    clip._fused = tower
    return fused, plain


@needs_operators
@pytest.mark.parametrize("size", [(32, 32), (64, 64), (97, 131), (224, 64)])
@pytest.mark.parametrize("count", [1, 3])
def test_fused_equals_plain(size: tuple[int, int], count: int) -> None:
    clip = small_clip()
    images = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(0))
    fused, plain = both_ways(clip, images)
    # The same sums in fp32, in another order; features have norm 1.
    torch.testing.assert_close(fused, plain, atol=2e-6, rtol=0)


@pytest.mark.slow
@needs_operators
def test_fused_equals_plain_through_a_whole_rn50() -> None:
    clip = FrozenCLIP(random_clip("RN50", seed=3), "RN50", "0" * 64)
    assert clip._fused is not None
    images = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    fused, plain = both_ways(clip, images)
    torch.testing.assert_close(fused, plain, atol=2e-6, rtol=0)  # as above


@needs_operators
def test_sizes_in_turns_keep_their_features() -> None:
    clip = small_clip()
    images = [torch.rand(1, 3, 64, 64), torch.rand(1, 3, 96, 64)]
    first = [clip.encode_image(image) for image in images]
    again = [clip.encode_image(image) for image in images]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@needs_operators
def test_parts_of_a_batch_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = small_clip()
    images = torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    together = clip.encode_image(images)
    monkeypatch.setattr(clipiqa_plus.clip.fused_tower, "PIXELS", 2 * 64 * 64)  # parts of 2, 2 and 1
    assert torch.equal(clip.encode_image(images), together)


@needs_operators
def test_copies_and_pickles_encode_alike() -> None:
    clip = small_clip()
    image = torch.rand(1, 3, 64, 64)
    expected = clip.encode_image(image)  # packs the weights, which nothing can copy
    for other in (copy.deepcopy(clip), pickle.loads(pickle.dumps(clip))):
        assert torch.equal(other.encode_image(image), expected)
        assert other._fused.visual is other.clip.visual


@needs_operators
def test_gradients_take_the_plain_way() -> None:
    clip = small_clip()
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    clip.encode_image(image, differentiable=True).sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0


def test_processor_without_the_operators_takes_the_plain_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert not is_offered.__wrapped__()
    monkeypatch.setattr("clipiqa_plus.clip.backbone.is_offered", lambda: False)
    assert small_clip()._fused is None


def test_torch_of_another_signature_takes_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(*args: object) -> torch.Tensor:
        raise RuntimeError("expected at most 3 arguments")

    monkeypatch.setattr(torch.ops.mkldnn, "_convolution_pointwise", changed)
    assert not is_offered.__wrapped__()


def test_operators_that_compute_something_else_are_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wrong(x: torch.Tensor, *args: object) -> torch.Tensor:
        return torch.zeros(1, 8, 8, 8)

    monkeypatch.setattr(torch.ops.mkldnn, "_convolution_pointwise", wrong)
    assert not is_offered.__wrapped__()


def test_only_resnets_in_fp32_are_fused() -> None:
    assert small_clip(vit=True)._fused is None
    half = FrozenCLIP(small_clip().clip, "small", "0" * 64, precision="bf16")
    assert half._fused is None


def test_fused_tower_is_what_a_resnet_holds() -> None:
    assert isinstance(small_clip()._fused, FusedTower) is is_offered()
