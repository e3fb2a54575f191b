"""The text pass: what may be left out, number formats, and its compiled form."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clipiqa_plus.clip import text_tower as text_pass
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.weights import random_clip
from clipiqa_plus.module import CLIPIQAPlus
from clipiqa_plus.prompts.sources import ContextPrompts, ZeroShotPrompts
from tests.support.models import SMALL_RESNET, small_clip


def test_positions_behind_the_end_of_text_change_rounding_only() -> None:
    ours = small_clip()
    embeddings = torch.randn(3, 77, ours.width, generator=torch.Generator().manual_seed(0))
    eot = torch.tensor([5, 20, 11])
    whole = ours.encode_text(embeddings, eot)
    # fp32 through two blocks; sums of the same numbers in another order.
    torch.testing.assert_close(ours.encode_text(embeddings[:, :21], eot), whole, atol=3e-6, rtol=0)


@pytest.mark.parametrize("pairs", [["quality"], ["quality", ["Sharp.", "A very blurry photo."]]])
def test_prompt_sources_give_no_position_too_many(clip: FrozenCLIP, pairs: list) -> None:
    for prompts in (ZeroShotPrompts(pairs), ContextPrompts(clip, pairs)):
        assert prompts.embeddings(clip).shape[2] == int(prompts.eot.max()) + 1


@pytest.mark.parametrize("count", [1, 2, 6])
@pytest.mark.parametrize("shared", [1, 9, 12])
def test_shared_beginning_changes_rounding_only(count: int, shared: int) -> None:
    ours = small_clip()
    generator = torch.Generator().manual_seed(0)
    beginning = torch.randn(shared, ours.width, generator=generator, requires_grad=True)
    rests = torch.randn(count, 21 - shared, ours.width, generator=generator, requires_grad=True)
    eot = torch.tensor([20, 13, 17, 20, 19, 15][:count])
    weights = torch.randn(count, ours.dim, generator=generator)
    found = []
    for claimed in (0, shared):
        embeddings = torch.cat([beginning.expand(count, -1, -1), rests], dim=1)
        features = ours.encode_text(embeddings, eot, claimed)
        gradients = torch.autograd.grad((features * weights).sum(), [beginning, rests])
        found.append((features.detach(), *gradients))
    for apart, together in zip(*found, strict=True):
        # fp32 through two blocks; sums of the same numbers in another order.
        torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)


def test_no_value_of_a_tensor_is_asked_for() -> None:
    """On a GPU each such look would wait for the device: a meta tensor has no values at all."""
    clip = small_clip().to("meta")
    prompts = ContextPrompts(small_clip()).to("meta")
    assert prompts(clip).shape == (1, 2, 32)


def test_bf16_is_near_fp32() -> None:
    exact = ContextPrompts(small_clip())(small_clip())
    rough = FrozenCLIP(random_clip(SMALL_RESNET, 0), "small", "0" * 64, text_precision="bf16")
    found = ContextPrompts(rough)(rough)
    assert found.dtype == torch.float32
    assert 0 < float((found - exact).norm() / exact.norm()) < 0.02  # bf16 keeps 8 bits
    found[..., 0].sum().backward()


def test_unknown_text_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="choose from fp32, bf16"):
        FrozenCLIP(random_clip(SMALL_RESNET, 0), "small", "0" * 64, text_precision="fp8")  # type: ignore[arg-type]


def test_text_options_reach_the_backbone_and_the_checkpoint() -> None:
    module = CLIPIQAPlus("demo", text_precision="bf16", compile_text=True)
    assert module.backbone.compile_text
    assert module.backbone.clip.transformer.resblocks[0].mlp.c_fc.weight.dtype == torch.bfloat16
    assert module.hparams["text_precision"] == "bf16"
    assert module.hparams["compile_text"] is True


def features_and_gradient(clip: FrozenCLIP) -> tuple[torch.Tensor, torch.Tensor]:
    prompts = ContextPrompts(clip, ["quality", "sharpness"])
    features = prompts(clip)
    return features.detach(), torch.autograd.grad(features[..., 0].sum(), prompts.ctx)[0]


@pytest.mark.slow
def test_one_graph_of_it_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as for the compiler, forward and backward, but run without a C++ compiler."""
    calls = []

    def traced(device: str) -> Any:
        calls.append(device)
        return torch.compile(text_pass.encode_embeddings, backend="aot_eager", fullgraph=True)

    clip = small_clip()
    plain = features_and_gradient(clip)
    clip.compile_text = True
    monkeypatch.setattr("clipiqa_plus.clip.backbone.compiled", traced)
    for found, expected in zip(features_and_gradient(clip), plain, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)  # rounding of fp32
    assert calls == ["cpu"]
    with torch.no_grad():  # scores take the plain way: a CUDA graph would overwrite what is kept
        ContextPrompts(clip)(clip)
    ZeroShotPrompts()(clip)
    assert calls == ["cpu"]


@pytest.mark.parametrize(("device", "mode"), [("cpu", None), ("cuda", "reduce-overhead")])
def test_cuda_graphs_are_asked_for_on_a_gpu_only(
    device: str, mode: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **options: options["mode"])
    assert text_pass.compiled.__wrapped__(device) == mode
