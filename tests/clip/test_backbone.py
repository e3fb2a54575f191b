"""FrozenCLIP against the openai-clip model itself, in its true architectures."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.weights import build_clip, import_clip, random_clip
from clipiqa_plus.prompts.sources import ZeroShotPrompts
from clipiqa_plus.scoring import pair_probability
from tests.support.models import SMALL_RESNET, small_clip

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)


@pytest.fixture(scope="module", params=["RN50", "ViT-B/32"])
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, FrozenCLIP]:
    """The openai-clip model of a true architecture and ours, with the same random weights."""
    clip = random_clip(request.param, seed=1)
    return clip, FrozenCLIP(clip, request.param, "0" * 64, pos_embedding="grid")


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.slow
def test_image_features_equal_openai_clip(pair: tuple[nn.Module, FrozenCLIP]) -> None:
    theirs, ours = pair
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = F.normalize(theirs.encode_image((images - MEAN) / STD), dim=-1)
    # fp32 through about 50 layers, summed in another order by the fused attention.
    assert relative(ours.encode_image(images), expected) < 1e-4


@pytest.mark.slow
def test_text_features_equal_openai_clip(pair: tuple[nn.Module, FrozenCLIP]) -> None:
    theirs, ours = pair
    tokens = import_clip().tokenize(["Good photo.", "a much longer prompt about a blurry picture"])
    with torch.no_grad():
        expected = F.normalize(theirs.encode_text(tokens), dim=-1)
        got = ours.encode_text(ours.token_embedding(tokens), tokens.argmax(dim=-1))
    assert relative(got, expected) < 1e-4


@pytest.mark.slow
def test_batch_of_one_and_of_eight_agree(pair: tuple[nn.Module, FrozenCLIP]) -> None:
    _, ours = pair
    images = torch.rand(8, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    together = ours.encode_image(images)
    alone = torch.cat([ours.encode_image(image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=2e-6, rtol=0)  # fp32, features of norm 1
    with torch.no_grad():
        text = ZeroShotPrompts(["quality", "sharpness"])(ours)
    scores = pair_probability(together, text, ours.logit_scale)
    torch.testing.assert_close(
        scores, pair_probability(alone, text, ours.logit_scale), atol=1e-5, rtol=0
    )


def test_positional_embedding_is_dropped_as_if_it_were_zero() -> None:
    clip = random_clip(SMALL_RESNET, seed=2)
    dropped = FrozenCLIP(clip, "small", "0" * 64)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    got = dropped.encode_image(images)
    kept = FrozenCLIP(clip, "small", "0" * 64, pos_embedding="grid")
    assert relative(kept.encode_image(images), got) > 1e-3
    clip.visual.attnpool.positional_embedding.zero_()
    expected = F.normalize(clip.encode_image((images - MEAN) / STD), dim=-1)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("vit", [False, True])
@pytest.mark.parametrize("size", [(64, 64), (96, 160), (70, 33), (224, 64)])
def test_any_size_is_encoded(vit: bool, size: tuple[int, int]) -> None:
    features = small_clip(pos_embedding="grid", vit=vit).encode_image(torch.rand(2, 3, *size))
    assert features.shape == (2, 32)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(2))


def test_pictures_of_unequal_sizes_come_back_in_their_order() -> None:
    ours = small_clip()
    sizes = [(64, 64), (64, 96), (64, 64), (96, 64), (64, 96)]
    images = [torch.rand(3, *size) for size in sizes]
    expected = torch.cat([ours.encode_image(image[None]) for image in images])
    torch.testing.assert_close(ours.encode_image(images), expected, atol=2e-6, rtol=0)


def test_uint8_is_the_same_picture_as_its_float() -> None:
    ours = small_clip()
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    torch.testing.assert_close(ours.encode_image(image), ours.encode_image(image / 255))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(3, 64, 64), r"expected \[B, 3, H, W\]"),
        (torch.rand(1, 64, 64, 3), r"expected \[B, 3, H, W\]"),
        (torch.rand(1, 3, 64, 64) * 255, r"expected \[0, 1\]"),
        (torch.rand(1, 3, 64, 64) - 0.5, r"expected \[0, 1\]"),
        (torch.full((1, 3, 64, 64), float("nan")), r"expected \[0, 1\]"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.long), "expected uint8"),
        (torch.rand(1, 3, 64, 31), "too small"),
    ],
)
def test_wrong_pictures_are_refused(images: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_clip().encode_image(images)


def test_prompt_longer_than_the_context_is_refused() -> None:
    ours = small_clip()
    with pytest.raises(ValueError, match="90 tokens, but the model takes at most 77"):
        ours.encode_text(torch.zeros(1, 90, ours.width), torch.tensor([89]))


def test_frozen_means_frozen() -> None:
    ours = small_clip()
    holder = nn.ModuleDict({"backbone": ours, "other": nn.Linear(2, 2)})
    holder.train()
    assert not any(module.training for module in ours.clip.modules())
    assert all(key.startswith("other.") for key in holder.state_dict())
    assert {id(p) for p in holder.parameters()} == {id(p) for p in holder["other"].parameters()}
    assert not any(p.requires_grad for p in ours.clip.parameters())
    holder.half()
    assert {p.dtype for p in ours.clip.parameters()} == {torch.float32}


def test_device_moves_reach_the_hidden_model() -> None:
    assert small_clip().to("meta").device.type == "meta"


def test_gradient_reaches_the_embeddings_only() -> None:
    ours = small_clip()
    embeddings = torch.randn(2, 21, ours.width, requires_grad=True)
    ours.encode_text(embeddings, torch.tensor([20, 20])).sum().backward()
    assert embeddings.grad is not None
    assert embeddings.grad.abs().sum() > 0
    assert all(p.grad is None for p in ours.clip.parameters())


@pytest.mark.parametrize("vit", [False, True])
def test_bf16_is_near_fp32(vit: bool) -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    exact = small_clip(vit=vit).encode_image(images)
    clip = small_clip(vit=vit).clip
    rounded = FrozenCLIP(clip, "small", "0" * 64, precision="bf16").encode_image(images)
    assert rounded.dtype == torch.float32
    assert 0 < relative(rounded, exact) < 0.05  # bf16 keeps 8 bits: 0.4% per operation


def test_weights_that_are_used_again_stay_as_they_are() -> None:
    state = random_clip(SMALL_RESNET, 0).state_dict()
    before = {key: value.clone() for key, value in state.items()}
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    first, second = (
        FrozenCLIP(build_clip(state), "small", "0" * 64).encode_image(images) for _ in range(2)
    )
    assert torch.equal(first, second)
    assert all(torch.equal(state[key], before[key]) for key in before)


def test_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="choose from fp32, bf16, fp16"):
        FrozenCLIP(random_clip(SMALL_RESNET, 0), "small", "0" * 64, precision="int8")  # type: ignore[arg-type]
