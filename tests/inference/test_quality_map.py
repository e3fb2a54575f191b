"""Quality maps: windows against crops of the feature map by hand, and known degraded regions."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter

import clipiqa_plus as ciq
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.image_tower import pool_first_query
from clipiqa_plus.commands.main import main
from clipiqa_plus.inference.quality_map import overlay, quality_map
from tests.support.models import small_clip

PHOTOS = sorted((Path(__file__).parents[2] / "data" / "demo").glob("*.jpg"))


def picture(width: int, height: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    resized = coarse.resize((width, height), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


@pytest.mark.parametrize("position", ["none", "grid"])
def test_a_cell_is_the_mean_of_the_windows_that_contain_it(position: str) -> None:
    clip = small_clip(position)  # type: ignore[arg-type]
    prompts = ciq.ContextPrompts(clip, seed=1)
    prompts.steps += 1
    scorer = ciq.load(backbone=clip) if position == "none" else None
    if scorer is None:
        from clipiqa_plus.inference.scorer import Scorer
        from clipiqa_plus.module import CLIPIQAPlus, PromptConfig

        scorer = Scorer(CLIPIQAPlus(clip, prompts=PromptConfig(mode="zero_shot")), "mine")
    image = picture(200, 140)  # 6 x 4 cells
    cells = clip.feature_map(image[None])
    assert cells.shape[2:] == (4, 6)
    sums, counts = np.zeros((4, 6)), np.zeros((4, 6))
    for top in range(3):
        for left in range(5):
            window = cells[:, :, top : top + 2, left : left + 2]
            feature = F.normalize(
                pool_first_query(clip.clip.visual.attnpool, window, clip.pos_embedding), dim=-1
            )
            sums[top : top + 2, left : left + 2] += float(scorer.score_features(feature))
            counts[top : top + 2, left : left + 2] += 1
    np.testing.assert_allclose(quality_map(scorer, image, 2), sums / counts, atol=1e-5)


def test_a_window_of_the_whole_picture_is_its_score(clip: FrozenCLIP) -> None:
    scorer = ciq.load(backbone=clip)
    image = picture(128, 128)
    whole = quality_map(scorer, image, 4)
    # fp32, the convolutions fused in one way and not in the other.
    np.testing.assert_allclose(whole, float(scorer(image)), atol=1e-5)


def degraded(image: Image.Image, kind: str, box: tuple[int, int, int, int]) -> Image.Image:
    """A copy whose box is blurred, noisy or a strongly compressed JPEG."""
    part, out = image.crop(box), image.copy()
    if kind == "blur":
        part = part.filter(ImageFilter.GaussianBlur(4))
    elif kind == "noise":
        noise = np.random.default_rng(0).normal(0, 40, (part.height, part.width, 3))
        part = Image.fromarray((np.asarray(part) + noise).clip(0, 255).astype(np.uint8))
    else:
        buffer = io.BytesIO()
        part.save(buffer, "JPEG", quality=5)
        part = Image.open(buffer)
    out.paste(part, box[:2])
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "backbone"), [("blur", "photo"), ("jpeg", "photo"), ("noise", "demo")]
)
def test_a_degraded_quarter_is_found_on_most_pictures(kind: str, backbone: str) -> None:
    scorer = ciq.load(backbone=backbone, device="cpu", image_only=True)
    lower = by_chance = 0
    for number, path in enumerate(PHOTOS):
        image = Image.open(path).convert("RGB")
        width, height = image.width // 2, image.height // 2
        right, down = number % 2, number // 2 % 2
        box = (right * width, down * height, (right + 1) * width, (down + 1) * height)
        maps = [
            quality_map(scorer, torch.from_numpy(np.array(i)).permute(2, 0, 1))
            for i in (image, degraded(image, kind, box))
        ]
        rows, columns = maps[0].shape
        inside = np.zeros((rows, columns), bool)
        inside[down * rows // 2 : (down + 1) * rows // 2, :] = True
        inside[:, : right * columns // 2] = inside[:, (right + 1) * columns // 2 :] = False
        before, after = (found[inside].mean() - found[~inside].mean() for found in maps)
        lower += after < min(0.0, before)
        by_chance += before < 0
    # `photo` hardly sees noise in the map of a small picture (5 of 24), `demo` no JPEG (12 of 24).
    assert by_chance <= len(PHOTOS) / 2
    assert lower >= 0.7 * len(PHOTOS)


@pytest.mark.slow
def test_files_and_refusals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], clip: FrozenCLIP
) -> None:
    out = tmp_path / "new" / "map.png"
    command = ["map", str(PHOTOS[0]), "--backbone", "demo", "--device", "cpu", "--out"]
    assert main([*command, str(out)]) == 0
    assert "result: lowest 0." in capsys.readouterr().out
    scores = np.load(out.with_suffix(".npy"))
    with Image.open(PHOTOS[0]) as photo, Image.open(out) as drawn:
        assert scores.shape == (photo.height // 32, photo.width // 32)
        assert drawn.size == (photo.width, photo.height + 24)
        facts = json.loads(drawn.text["clipiqa_plus"])  # type: ignore[attr-defined]
    assert (facts["preset"], facts["window"]) == ("clipiqa", 2)
    assert facts["note"] == "a map, not a published score"
    assert main([*command, str(out)]) == 1
    assert "exists; give another --out, or --overwrite" in capsys.readouterr().err
    assert main([*command, str(out), "--overwrite"]) == 0
    assert main([*command, str(tmp_path / "map.jpg")]) == 1
    assert "a map is a .png file" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "b.png"), "--window", "99"]) == 1
    assert "does not fit a picture of" in capsys.readouterr().err
    several = ciq.load("clipiqa-attributes", backbone=clip)
    with pytest.raises(ValueError, match="clipiqa-attributes has 12 scores"):
        quality_map(several, picture(96, 96))
    vit = ciq.load(backbone=small_clip(vit=True))
    with pytest.raises(ValueError, match="has no attention pool of openai-clip"):
        quality_map(vit, picture(96, 96))


def test_low_scores_are_darker_in_the_overlay() -> None:
    grey = np.full((64, 96, 3), 128, np.uint8)
    scores = np.array([[0.2, 0.2, 0.8], [0.2, 0.2, 0.8]], np.float32)
    drawn = overlay(grey, scores).astype(float)
    assert drawn[:64, :16].mean() < drawn[:64, 80:].mean() - 40
