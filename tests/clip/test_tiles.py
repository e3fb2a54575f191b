"""Large pictures in tiles: the features of one piece, whatever the size."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.image_tower import PosEmbedding, feature_map
from clipiqa_plus.clip.tiles import STRIDE, _spans, halo_of, map_in_tiles
from clipiqa_plus.clip.weights import Architecture, random_clip
from clipiqa_plus.module import CLIPIQAPlus, PromptConfig
from tests.support.models import SMALL_RESNET, small_clip

DEEPER = Architecture(32, 64, (1, 2, 2, 1), 8, None, 64, 1, 1, context_length=16, vocab_size=99)


def noise(height: int, width: int, count: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize(
    ("architecture", "reach"),
    # By hand: 5 in the stem, then one step of the grid for each 3x3 convolution: 4, 4, 8, 16 in
    # blocks that pool; 8 and 16 more in the second blocks of stages two and three.
    [(SMALL_RESNET, 5 + 4 + 4 + 8 + 16), (DEEPER, 5 + 4 + 4 + 8 + 8 + 16 + 16)],
)
def test_halo_covers_what_a_cell_depends_on(architecture: Architecture, reach: int) -> None:
    visual = random_clip(architecture, 0).visual.double()
    halo = halo_of(visual)
    assert halo == math.ceil(reach / STRIDE) * STRIDE
    side = 2 * halo + STRIDE
    picture = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    cell = halo // STRIDE  # the one in the middle
    with torch.enable_grad():
        feature_map(visual, picture)[0, :, cell, cell].square().sum().backward()
    assert picture.grad is not None
    touched = picture.grad.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
    before, after = halo - int(touched.min()), int(touched.max()) - (halo + STRIDE - 1)
    assert max(before, after) <= reach
    assert before == reach  # to the left it is reached exactly: no smaller halo would do


def test_halo_of_the_papers_backbone() -> None:
    with torch.device("meta"):
        from dataclasses import asdict

        from clipiqa_plus.clip.architectures import ARCHITECTURES, import_clip

        model = import_clip().model.CLIP(**asdict(ARCHITECTURES["RN50"]))
    # 213 = 5 + 3 * 4 + (4 + 3 * 8) + (8 + 5 * 16) + (16 + 2 * 32), rounded up.
    assert halo_of(model.visual) == 224


@given(st.integers(32, 5000), st.sampled_from([64, 224]), st.integers(1, 3000))
def test_tiles_keep_every_cell_once_and_read_its_halo(length: int, halo: int, side: int) -> None:
    spans = _spans(length, max(side, 4 * halo), halo)
    kept = [cell for span in spans for cell in range(span.cells.start, span.cells.stop)]
    assert kept == list(range(math.ceil(length / 2) // 16))  # as the strides round
    for span in spans:
        assert span.pixels.start % STRIDE == 0
        left = span.cells.start * STRIDE - span.pixels.start
        right = span.pixels.stop - span.cells.stop * STRIDE
        assert left == halo or span.pixels.start == 0
        assert right >= halo or span.pixels.stop == length
        assert span.kept.stop - span.kept.start == span.cells.stop - span.cells.start
        assert span.pixels.stop - span.pixels.start <= max(side, 4 * halo) + STRIDE + 31


@pytest.mark.slow
@pytest.mark.parametrize("size", [(300, 517), (257, 800), (64, 1100), (701, 95), (256, 256)])
def test_map_equals_that_of_one_piece(size: tuple[int, int]) -> None:
    visual = random_clip(SMALL_RESNET, 0).visual
    picture = noise(*size).float() / 255
    calls = []

    def run(part: Tensor) -> Tensor:
        calls.append(part.shape)
        return feature_map(visual, part)

    with torch.no_grad():
        expected = feature_map(visual, picture)
        found = map_in_tiles(run, picture, halo_of(visual), piece_pixels=1)
        assert len(calls) > 1 or size == (256, 256)
        # fp32 with sums in another order for other shapes.
        assert relative(found, expected) < 1e-5
        if len(calls) > 1:  # without margins it is another map
            assert relative(map_in_tiles(run, picture, 0, 128**2), expected) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("way", ["none", "grid", "table"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_features_and_scores_equal_those_of_one_piece(way: PosEmbedding, precision: Any) -> None:
    clip = random_clip(SMALL_RESNET, 0)
    clip.logit_scale.fill_(math.log(100))
    ours = FrozenCLIP(clip, "small", "0" * 64, way, precision)
    model = CLIPIQAPlus(ours, prompts=PromptConfig("zero_shot"))
    pictures = noise(300, 460, count=2)
    with torch.no_grad():
        whole, scores = ours.encode_image(pictures), model(pictures)
        ours.piece_pixels = 1
        tiled, again = ours.encode_image(pictures), model(pictures)
        apart = ours.encode_image([pictures[0], noise(64, 64)[0], pictures[1]])
    tolerance = 1e-5 if precision == "fp32" else 0.02  # bf16 keeps 8 bits
    assert relative(tiled, whole) < tolerance
    assert relative(apart[[0, 2]], whole) < tolerance
    assert float((again - scores).abs().max()) <= (1e-4 if precision == "fp32" else 0.1)


def test_the_plain_path_has_tiles_too() -> None:
    ours = small_clip()
    picture = noise(300, 460)
    ours._fused = None
    whole = ours.encode_image(picture)
    ours.piece_pixels = 1
    assert 0 < relative(ours.encode_image(picture), whole) + 1e-12 < 1e-5


def test_gradients_need_one_piece() -> None:
    ours = small_clip()
    ours.piece_pixels = 1
    picture = (noise(300, 300).float() / 255).requires_grad_()
    ours.encode_image(picture, differentiable=True)[0, 0].backward()
    assert picture.grad is not None
    assert float(picture.grad.abs().min(dim=1).values.max()) > 0


def test_a_vit_is_never_cut() -> None:
    ours = small_clip(vit=True)
    assert not ours.tiles
    picture = noise(96, 128)
    whole = ours.encode_image(picture)
    ours.piece_pixels = 1
    assert torch.equal(ours.encode_image(picture), whole)
