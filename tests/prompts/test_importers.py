"""Prompt files in the structure of pyiqa's and the official code's, with invented numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.image_tower import PosEmbedding
from clipiqa_plus.clip.weights import import_clip
from clipiqa_plus.prompts.files import load_prompts, read_prompts, save_prompts
from clipiqa_plus.prompts.importers import export_pyiqa, imported_position
from clipiqa_plus.prompts.sources import ContextPrompts
from tests.support.models import small_clip


def context(clip: FrozenCLIP, *shape: int) -> Tensor:
    return torch.randn(*shape, clip.width, generator=torch.Generator().manual_seed(5)) * 0.02


def by_hand(clip: FrozenCLIP, ctx: Tensor) -> Tensor:
    """Text features [2, D] in pyiqa's way: 16 X, the words, ctx put around the first 3 tokens."""
    ids = import_clip().tokenize([" ".join(["X"] * 16) + f" {w} photo.." for w in ("Good", "Bad")])
    embedded = clip.clip.token_embedding(ids)
    ctx = ctx.expand(2, -1, -1)
    start, words, rest = embedded[:, :1], embedded[:, 17:20], embedded[:, 20:]
    x = torch.cat([start, ctx[:, :8], words, ctx[:, 8:], rest], dim=1)
    x = x + clip.clip.positional_embedding
    x = clip.clip.ln_final(clip.clip.transformer(x.transpose(0, 1)).transpose(0, 1))
    x = x[torch.arange(2), ids.argmax(dim=-1)] @ clip.clip.text_projection
    return x / x.norm(dim=-1, keepdim=True)


def learner(clip: FrozenCLIP, ctx: Tensor, stem: str = "prompt_learner.") -> dict[str, Tensor]:
    ids = import_clip().tokenize([" ".join(["X"] * 16) + f" {w} photo.." for w in ("Good", "Bad")])
    embedded = clip.clip.token_embedding(ids)
    parts = {"ctx": ctx, "token_prefix": embedded[:, :1], "token_suffix": embedded[:, 17:]}
    return {stem + name: tensor.clone() for name, tensor in parts.items()}


@pytest.mark.parametrize("form", ["bare", "bare per class", "params", "official", "official 3-D"])
def test_each_format_gives_the_text_features_of_its_own_program(form: str, tmp_path: Path) -> None:
    clip = small_clip("table" if form == "params" else "none")
    ctx = context(clip, *((16,) if form in ("bare", "official") else (2, 16)))
    content: Any = ctx
    if form.startswith("official"):
        ctx = ctx.half()
        stem = "generator.clipmodel_0.prompt_learner."
        state = {k: v.half() for k, v in learner(clip, ctx, stem).items()}
        state["generator.clipmodel_0.logit_scale"] = torch.tensor(4.6)
        content = {"meta": {"iter": 80000}, "state_dict": state, "optimizer": {"lr": 0.002}}
    elif form == "params":
        content = {"params": learner(clip, ctx)}
    torch.save(content, tmp_path / "p.pth")
    prompts = load_prompts(tmp_path / "p.pth", clip)
    assert prompts.learned
    assert prompts.ctx.dtype == torch.float32
    with torch.no_grad():
        # fp32, the same sum in another order (cut at the end of text, fused attention).
        torch.testing.assert_close(prompts(clip)[0], by_hand(clip, ctx.float()), atol=3e-6, rtol=0)


@pytest.mark.parametrize("pos_embedding", ["none", "table"])
@pytest.mark.parametrize("class_specific", [False, True])
def test_export_to_pyiqa_and_back(
    tmp_path: Path, pos_embedding: PosEmbedding, class_specific: bool
) -> None:
    clip = small_clip(pos_embedding)
    prompts = ContextPrompts(clip, class_specific=class_specific, seed=3)
    prompts.steps += 1
    path = export_pyiqa(tmp_path / "p.pth", prompts, clip)
    again = load_prompts(path, clip)
    with torch.no_grad():
        assert torch.equal(again.embeddings(clip), prompts.embeddings(clip))
        assert torch.equal(again.eot, prompts.eot)
    content = torch.load(path, weights_only=True)
    if pos_embedding == "table":
        shapes = {name: list(tensor.shape) for name, tensor in content["params"].items()}
        assert shapes == {
            "prompt_learner.ctx": [2, 16, clip.width],
            "prompt_learner.token_prefix": [2, 1, clip.width],
            "prompt_learner.token_suffix": [2, 60, clip.width],
        }
        expected = learner(clip, content["params"]["prompt_learner.ctx"])
        assert all(torch.equal(content["params"][k], v) for k, v in expected.items())
    else:
        assert list(content.shape) == ([2] if class_specific else []) + [16, clip.width]


def test_imported_prompts_are_saved_in_our_format(clip: FrozenCLIP, tmp_path: Path) -> None:
    torch.save(context(clip, 16).half(), tmp_path / "p.pth")
    prompts = load_prompts(tmp_path / "p.pth", clip)
    path = save_prompts(tmp_path / "p.safetensors", prompts, clip)
    assert read_prompts(path)[1]["init"] == "imported from pyiqa's tensor"
    assert torch.equal(load_prompts(path, clip).ctx, prompts.ctx)


def test_another_backbone_is_refused(clip: FrozenCLIP, tmp_path: Path) -> None:
    with_position = small_clip("table")
    params = {"params": learner(with_position, context(clip, 2, 16))}
    torch.save(params, tmp_path / "params.pth")
    with pytest.raises(ValueError, match=r"pos_embedding table, but .* pos_embedding none"):
        load_prompts(tmp_path / "params.pth", clip)
    with pytest.raises(ValueError, match=r"token_prefix .* is not small-resnet-1's embedding"):
        load_prompts(tmp_path / "params.pth", small_clip("table", seed=1))
    params["params"]["prompt_learner.token_suffix"][1, 0, 0] += 0.01
    torch.save(params, tmp_path / "params.pth")
    with pytest.raises(ValueError, match=r"token_suffix .* is not .*embedding of"):
        load_prompts(tmp_path / "params.pth", with_position)
    torch.save(context(clip, 16), tmp_path / "bare.pth")
    with pytest.raises(ValueError, match=r"pos_embedding none, but .* pos_embedding grid"):
        load_prompts(tmp_path / "bare.pth", small_clip(vit=True))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(16, 48), "width 48, but small-resnet-0 takes 32"),
        (torch.zeros(3, 16, 32), r"shape \[3, 16, 32\]"),
        (torch.full((16, 32), float("nan")), "NaN"),
        ({"state_dict": {"weight": torch.zeros(1)}}, "no prompts in it"),
        ([1, 2], "no prompts in it"),
        ({"meta": Path("x")}, r"Python objects \(pathlib"),
        (
            {"state_dict": {f"{k}.prompt_learner.ctx": torch.zeros(16, 32) for k in "ab"}},
            r"several prompts, a\.prompt_learner\.ctx and b",
        ),
    ],
)
def test_other_content_is_refused(
    clip: FrozenCLIP, tmp_path: Path, content: Any, message: str
) -> None:
    torch.save(content, tmp_path / "p.pth")
    with pytest.raises(ValueError, match=rf"p\.pth: .*{message}"):
        load_prompts(tmp_path / "p.pth", clip)


def test_damaged_file_is_refused(clip: FrozenCLIP, tmp_path: Path) -> None:
    path = tmp_path / "p.pth"
    torch.save(context(clip, 16), path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"p\.pth: .*(damaged|cut short)"):
        load_prompts(path, clip)


def test_what_pyiqa_cannot_say_is_not_exported(clip: FrozenCLIP, tmp_path: Path) -> None:
    prompts = ContextPrompts(clip, pairs=["sharpness"])
    with pytest.raises(RuntimeError, match="untrained"):
        export_pyiqa(tmp_path / "p.pth", prompts, clip)
    prompts.steps += 1
    with pytest.raises(ValueError, match="pyiqa supports only the pair"):
        export_pyiqa(tmp_path / "p.pth", prompts, clip)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["bare", "official", "params"])
def test_prompts_learned_on_a_vit(form: str, tmp_path: Path) -> None:
    """The official code's and pyiqa's classes drop a ViT's positional embedding unless asked."""
    clip = small_clip("table" if form == "params" else "none", vit=True)
    ctx = context(clip, 2, 16)
    stem = "generator.clipmodel_0.prompt_learner."
    contents: dict[str, Any] = {
        "bare": ctx,
        "official": {"state_dict": learner(clip, ctx, stem)},
        "params": {"params": learner(clip, ctx)},
    }
    path = tmp_path / "p.pth"
    torch.save(contents[form], path)
    assert imported_position(path) == clip.pos_embedding
    prompts = load_prompts(path, clip)
    with torch.no_grad():
        torch.testing.assert_close(prompts(clip)[0], by_hand(clip, ctx), atol=3e-6, rtol=0)
    with pytest.raises(ValueError, match=f"pos_embedding {clip.pos_embedding}, but .* grid; set"):
        load_prompts(path, small_clip(vit=True))


def test_prompts_learned_by_grid_are_none_of_pyiqa(tmp_path: Path) -> None:
    clip = small_clip("grid")
    prompts = ContextPrompts(clip, seed=3)
    prompts.steps += 1
    with pytest.raises(ValueError, match="grid, which pyiqa does not support"):
        export_pyiqa(tmp_path / "p.pth", prompts, clip)
    assert not list(tmp_path.iterdir())
