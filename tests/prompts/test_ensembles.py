"""Ensembles: one file of several contexts, the mean of their scores, and how far they differ."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.evaluation.interpolation import between, pair_cosines
from clipiqa_plus.inference.scorer import load
from clipiqa_plus.module import CLIPIQAPlus, PromptConfig
from clipiqa_plus.prompts.ensembles import combine_prompts
from clipiqa_plus.prompts.files import load_prompts, save_prompts
from clipiqa_plus.prompts.nearest_words import nearest_words, text_cosines
from clipiqa_plus.prompts.sources import ContextPrompts

PAIRS = ["quality", "sharpness"]


def member(clip: FrozenCLIP, seed: int, **layout: object) -> ContextPrompts:
    prompts = ContextPrompts(clip, PAIRS, seed=seed, **layout)  # type: ignore[arg-type]
    with torch.no_grad():
        prompts.ctx.mul_(20)  # far apart, so that members differ
    prompts.steps += 1
    return prompts


def saved(clip: FrozenCLIP, folder: Path, seed: int, **layout: object) -> Path:
    prompts, path = member(clip, seed, **layout), folder / f"{seed}.safetensors"
    return save_prompts(path, prompts, clip, reduction="mean", mos_range=[0, 1])


@pytest.mark.parametrize("class_specific", [False, True])
def test_score_is_the_mean_over_members_and_spread_their_deviation(
    clip: FrozenCLIP, tmp_path: Path, class_specific: bool
) -> None:
    files = [saved(clip, tmp_path, seed, class_specific=class_specific) for seed in range(3)]
    out = combine_prompts(files, tmp_path / "all.safetensors")
    images = torch.randint(0, 256, (4, 3, 48, 64), dtype=torch.uint8)
    each = torch.stack([load("clipiqa+", f, clip)(images) for f in files])  # [M, B, 1]
    scorer = load("clipiqa+", out, clip)
    # float32 in one product or in three.
    torch.testing.assert_close(scorer(images), each.mean(dim=0), atol=1e-6, rtol=0)
    assert scorer.columns == ["score", "spread"]
    columns = scorer.score_columns(images)
    torch.testing.assert_close(columns[:, 1:], each.std(dim=0), atol=1e-6, rtol=0)
    module = CLIPIQAPlus(clip, prompts=PromptConfig(file=str(out)))
    with torch.no_grad():
        torch.testing.assert_close(module(images), each.mean(dim=0), atol=1e-6, rtol=0)


def test_what_the_report_shows_of_prompts_takes_ensembles(clip: FrozenCLIP, tmp_path: Path) -> None:
    files = [saved(clip, tmp_path, seed) for seed in range(2)]
    prompts = load_prompts(combine_prompts(files, tmp_path / "all.safetensors"), clip)
    singles = [load_prompts(file, clip) for file in files]
    assert between(prompts, clip, 2)[0.5].shape == (2, 2, 2, clip.dim)
    both = [pair_cosines(p, clip) for p in singles]
    expected = ((both[0] + both[1]) / 2).to_numpy()
    assert pair_cosines(prompts, clip).to_numpy() == pytest.approx(expected, abs=1e-5)
    firsts = [text_cosines(p, clip)[0][1] for p in singles]
    assert text_cosines(prompts, clip)[0][1] == pytest.approx(sum(firsts) / 2, abs=1e-5)
    assert nearest_words(prompts, clip) == {}


def test_an_ensemble_of_an_ensemble_has_all_members(clip: FrozenCLIP, tmp_path: Path) -> None:
    files = [saved(clip, tmp_path, seed) for seed in range(3)]
    two = combine_prompts(files[:2], tmp_path / "two.safetensors")
    three = load_prompts(combine_prompts([two, files[2]], tmp_path / "three.safetensors"), clip)
    assert three.members == 3
    assert torch.equal(three.ctx[2], member(clip, 2).ctx)


def test_members_of_another_layout_are_refused(clip: FrozenCLIP, tmp_path: Path) -> None:
    files = [saved(clip, tmp_path, 0), saved(clip, tmp_path, 1, position="front")]
    with pytest.raises(ValueError, match="position front, but"):
        combine_prompts(files, tmp_path / "all.safetensors")
    with pytest.raises(ValueError, match="takes at least 2 prompt files, not 1"):
        combine_prompts(files[:1], tmp_path / "all.safetensors")
