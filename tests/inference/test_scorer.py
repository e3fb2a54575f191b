"""Scores of every preset and form of input against openai-clip's parts put together by hand."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import clipiqa_plus as ciq
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.weights import ARCHITECTURES, random_clip
from clipiqa_plus.inference import scorer as scorer_module
from clipiqa_plus.inference.scorer import Scorer
from clipiqa_plus.prompts.files import save_prompts
from clipiqa_plus.prompts.scales import PAIRS
from clipiqa_plus.prompts.sources import ContextPrompts
from clipiqa_plus.scoring import grade_deviation
from tests.support.models import SMALL_RESNET, small_clip, write_weights
from tests.support.reference_scores import pictures, scores_by_hand


@pytest.fixture(scope="module")
def rn50() -> Iterator[tuple[Any, FrozenCLIP]]:
    reference = random_clip("RN50", seed=3)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine threads that wait for each other cost minutes
    yield reference, FrozenCLIP(deepcopy(reference), "RN50", "0" * 64)
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_clipiqa_on_rn50_equals_openai_clip(rn50: tuple[Any, FrozenCLIP]) -> None:
    assert ARCHITECTURES["RN50"].vision_layers == (3, 4, 6, 3)
    rng = np.random.default_rng(1)
    images = pictures([tuple(rng.integers(33, 97, 2)) for _ in range(18)] + [(96, 64)] * 2)
    reference, clip = rn50
    expected = scores_by_hand(reference, images, ["Good photo.", "Bad photo."])
    got = ciq.load("clipiqa", backbone=clip)(images)
    assert got.shape == (20, 1)
    assert float(expected.std()) > 1e-3  # else any constant would pass
    # The promise to users; fp32 sums in another order stay far below it.
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


def test_pyiqa_preset_is_the_mean_over_its_five_pairs(clip: FrozenCLIP) -> None:
    words = ["Good image", "bad image", "Sharp image", "blurry image", "sharp edges"]
    words += ["blurry edges", "High resolution image", "low resolution image"]
    words += ["Noise-free image", "noisy image"]
    images = pictures([(48, 64), (64, 48), (80, 33)])
    reference = small_reference()
    expected = scores_by_hand(reference, images, words).mean(dim=1, keepdim=True)
    got = ciq.load("clipiqa-pyiqa", backbone=clip)(images)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def small_reference() -> Any:
    return random_clip(SMALL_RESNET, 0)


def test_attributes_preset_names_a_score_for_each_pair(clip: FrozenCLIP) -> None:
    scorer = ciq.load("clipiqa-attributes", backbone=clip)
    assert scorer.names == list(PAIRS)
    images = pictures([(48, 64)])
    words = [word for pair in PAIRS.values() for word in pair]
    torch.testing.assert_close(
        scorer(images), scores_by_hand(small_reference(), images, words), atol=1e-5, rtol=0
    )


def test_settings_name_all_that_fixes_a_score(clip: FrozenCLIP) -> None:
    settings = ciq.load("clipiqa", backbone=clip).settings
    assert settings["preset"] == "clipiqa"
    assert settings["weights_sha256"] == clip.fingerprint
    assert settings["pairs"] == [["Good photo.", "Bad photo."]]
    assert (settings["pos_embedding"], settings["precision"]) == ("none", "fp32")


def test_every_form_of_a_picture_scores_the_same(clip: FrozenCLIP, tmp_path: Path) -> None:
    scorer = ciq.load(backbone=clip)
    (array,) = pictures([(48, 64)])
    image = Image.fromarray(array)
    image.save(tmp_path / "a.png")
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    unit = tensor.float() / 255
    forms = [array, image, tmp_path / "a.png", str(tmp_path / "a.png"), tensor, unit]
    forms += [tensor[None], unit[None]]
    alone = torch.cat([scorer(form) for form in forms])
    assert alone.shape == (8, 1)
    # Sizes in batches differ: fp32 sums in another order.
    torch.testing.assert_close(alone, alone[:1].expand_as(alone), atol=1e-6, rtol=0)
    mixed = scorer([*forms[:6], pictures([(33, 90)])[0]])
    torch.testing.assert_close(mixed[:6], alone[:6], atol=1e-6, rtol=0)
    assert mixed.shape == (7, 1)
    assert scorer([]).shape == (0, 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.rand(1, 3, 48, 64) * 255, r"range from .* expected \[0, 1\]"),
        (torch.rand(48, 64, 3), r"\[48, 64, 3\]; expected \[3, H, W\]"),
        (torch.rand(2, 48, 64, 3), r"expected \[B, 3, H, W\]"),
        (np.zeros((48, 64, 3), np.float32), "array is float32"),
        (np.zeros((3, 48, 64), np.uint8), r"expected uint8 \[H, W, 3\]"),
        (np.zeros((2, 48, 64, 3), np.uint8), r"expected uint8 \[H, W, 3\]"),
        (torch.rand(1, 3, 16, 64), "too small"),
        ([3], "a picture cannot be a int"),
        ([torch.rand(1, 3, 48, 64)], r"expected \[3, H, W\]"),
    ],
)
def test_what_would_give_a_wrong_score_is_refused(
    clip: FrozenCLIP, wrong: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ciq.load(backbone=clip)(wrong)


def test_differentiable_when_asked_and_only_then(clip: FrozenCLIP) -> None:
    images = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    images.requires_grad_()
    assert not ciq.load(backbone=clip)(images).requires_grad
    scorer = ciq.load(backbone=clip, differentiable=True)
    assert not list(scorer.parameters())
    score = scorer(images)[0, 0]
    (gradient,) = torch.autograd.grad(score, images)
    assert gradient[1].abs().max() == 0  # the other picture has no part in this score
    step = 1e-2 * gradient / gradient.norm()
    with torch.no_grad():
        change = scorer((images + step).clamp(0, 1))[0, 0] - scorer(images - step)[0, 0]
    # Central difference along the gradient; fp32 and curvature leave some percent.
    assert float(change / 2e-2) == pytest.approx(float(gradient.norm()), rel=0.1)
    with torch.no_grad():
        assert not scorer(images).requires_grad


def test_learned_prompts(tmp_path: Path) -> None:
    clip = small_clip(pos_embedding="table")
    prompts = ContextPrompts(clip, seed=4)
    prompts.steps += 1
    ours = save_prompts(tmp_path / "p.safetensors", prompts, clip)
    theirs = ciq.export_pyiqa(tmp_path / "p.pth", prompts, clip)
    images = pictures([(48, 64), (64, 64)])
    features = clip.encode_image([torch.from_numpy(i).permute(2, 0, 1) for i in images])
    with torch.no_grad():
        logits = clip.logit_scale * features @ prompts(clip)[0].T
    for path in (ours, theirs):
        scorer = ciq.load("clipiqa+", path, clip)
        expected = logits.softmax(dim=1)[:, :1]
        torch.testing.assert_close(scorer(images), expected, atol=1e-6, rtol=0)
        assert len(scorer.settings["prompts_sha256"]) == 64
    with pytest.raises(ValueError, match="does not record its backbone"):
        ciq.load("clipiqa+", theirs)


def test_presets_and_prompts_that_do_not_go_together(clip: FrozenCLIP) -> None:
    with pytest.raises(ValueError, match=r"unknown preset 'x'; choose from clipiqa, "):
        ciq.load("x")
    with pytest.raises(ValueError, match=r"zero-shot; use clipiqa\+ with a prompt file"):
        ciq.load("clipiqa", prompts="p.safetensors")
    with pytest.raises(FileNotFoundError, match=r"p\.safetensors: no such prompt file"):
        ciq.load("clipiqa+", prompts="p.safetensors")
    with pytest.raises(ValueError, match=r"needs pos_embedding none.*has pos_embedding grid"):
        ciq.load(backbone=small_clip(pos_embedding="grid"))


def test_presets_on_a_vit() -> None:
    """pyiqa's class drops the positional embedding of any backbone; the paper has no ViT."""
    kept, dropped = small_clip(vit=True), small_clip("none", vit=True)
    assert ciq.load("clipiqa", backbone=kept).settings["pos_embedding"] == "grid"
    assert ciq.load("clipiqa-pyiqa", backbone=dropped).settings["pos_embedding"] == "none"
    with pytest.raises(ValueError, match=r"needs pos_embedding none.*has pos_embedding grid"):
        ciq.load("clipiqa-pyiqa", backbone=kept)


def test_image_only_drops_the_text_tower_and_keeps_the_scores(
    make_picture: Callable[..., Path], tmp_path: Path, clip: FrozenCLIP
) -> None:
    path = make_picture(tmp_path / "a.png")
    whole, slim = (ciq.load(backbone="demo", image_only=only) for only in (False, True))
    assert torch.equal(whole(path), slim(path))
    assert slim.backbone.parameter_count < whole.backbone.parameter_count / 2
    with pytest.raises(RuntimeError, match=r"\(demo\) has dropped its text tower"):
        ciq.load(backbone=slim.backbone)
    with pytest.raises(ValueError, match="text tower of a shared backbone"):
        ciq.load(backbone=clip, image_only=True)


def test_score_is_a_number_for_a_picture_and_a_list_for_several(
    tmp_path: Path, make_picture: Callable[..., Path]
) -> None:
    path = make_picture(tmp_path / "a.png")
    one = ciq.score(path, backbone="demo")
    assert 0 < one < 1
    assert ciq.score([path, path], backbone="demo") == pytest.approx([one, one], abs=1e-6)
    named = ciq.score(path, "clipiqa-attributes", backbone="demo")
    assert list(named) == list(PAIRS)
    assert named["quality"] == pytest.approx(one, abs=1e-6)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Scorer]]:
    """The scorers that are loaded during a test."""
    loaded: list[weakref.ref[Scorer]] = []
    load = scorer_module.load

    def record(*given: Any, **options: Any) -> Scorer:
        scorer = load(*given, **options)
        loaded.append(weakref.ref(scorer))
        return scorer

    monkeypatch.setattr(scorer_module, "load", record)
    scorer_module._loaded.cache_clear()
    return loaded


def test_score_loads_once_and_again_when_a_file_has_changed(
    tmp_path: Path, make_picture: Callable[..., Path], loads: list[weakref.ref[Scorer]]
) -> None:
    picture, weights = make_picture(tmp_path / "a.png"), tmp_path / "clip.pt"
    write_weights(weights)
    first = [ciq.score(picture, backbone=str(weights)) for _ in range(3)]
    assert len(loads) == 1
    write_weights(weights, seed=1)
    again = ciq.score(picture, backbone=str(weights))
    assert len(loads) == 2
    assert first == [first[0]] * 3
    assert again != first[0]
    assert again == pytest.approx(float(ciq.load(backbone=str(weights))(picture)), abs=1e-6)


@pytest.mark.slow
def test_score_keeps_two_scorers(
    tmp_path: Path, make_picture: Callable[..., Path], loads: list[weakref.ref[Scorer]]
) -> None:
    picture = make_picture(tmp_path / "a.png")
    presets = ["clipiqa", "clipiqa-pyiqa", "clipiqa-attributes"]
    for preset in presets:
        ciq.score(picture, preset, backbone="demo")
    gc.collect()
    assert [scorer() is not None for scorer in loads] == [False, True, True]


def test_the_package_imports_without_torch() -> None:
    code = "import sys, clipiqa_plus; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_own_words_score_as_they_do_by_hand(clip: FrozenCLIP) -> None:
    images = pictures([(48, 64), (64, 48), (80, 33)])
    crisp, calm = ("Crisp details.", "Soft details."), ("Calm sea.", "Rough sea.")
    expected = scores_by_hand(small_reference(), images, [*crisp, *calm])
    assert float(expected.std(dim=0).min()) > 1e-4  # else any constant would pass
    for pairs, reduction, names, columns in (
        ([crisp], None, ["score"], expected[:, :1]),
        ({"crisp": crisp}, None, ["crisp"], expected[:, :1]),
        (
            [crisp, calm],
            None,
            ["Crisp details. / Soft details.", "Calm sea. / Rough sea."],
            expected,
        ),
        ({"crisp": crisp, "calm": calm}, None, ["crisp", "calm"], expected),
        ([crisp, calm], "mean", ["score"], expected.mean(dim=1, keepdim=True)),
    ):
        scorer = ciq.load(backbone=clip, pairs=pairs, reduction=reduction)
        assert scorer.names == names
        torch.testing.assert_close(scorer(images), columns, atol=1e-5, rtol=0)
        assert scorer.settings["preset"] == "clipiqa, own words"
        assert scorer.settings["pairs"] == [list(crisp), list(calm)][: len(pairs)]


def test_own_words_that_do_not_go_with_a_preset(clip: FrozenCLIP) -> None:
    with pytest.raises(ValueError, match=r"clipiqa\+ takes its words from a prompt file"):
        ciq.load("clipiqa+", pairs=["quality"], backbone=clip)
    with pytest.raises(ValueError, match="reduction goes with own pairs"):
        ciq.load(backbone=clip, reduction="mean")
    with pytest.raises(ValueError, match="is longer than 77 tokens"):
        ciq.load(backbone=clip, pairs=[("sharp " * 80, "blurry")])


def test_score_with_own_words_loads_once_for_each(
    tmp_path: Path, make_picture: Callable[..., Path], loads: list[weakref.ref[Scorer]]
) -> None:
    path = make_picture(tmp_path / "a.png")
    words = {"crisp": ["Crisp photo.", "Soft photo."], "quality": ["Good photo.", "Bad photo."]}
    first, again = (ciq.score(path, backbone="demo", pairs=words) for _ in range(2))
    assert first == again
    assert list(first) == ["crisp", "quality"]
    assert len(loads) == 1
    assert ciq.score(path, backbone="demo", pairs=["quality"]) == pytest.approx(first["quality"])
    assert len(loads) == 2


def five_crops(image: np.ndarray) -> list[np.ndarray]:
    """Corners and centre, three quarters of both sides, by hand."""
    height, width = image.shape[:2]
    tall, wide = round(0.75 * height), round(0.75 * width)
    down, right = height - tall, width - wide
    corners = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    return [image[y : y + tall, x : x + wide] for y, x in corners]


@pytest.mark.parametrize("pooling", ["mean", "median"])
def test_views_are_averaged(clip: FrozenCLIP, pooling: Any) -> None:
    images = pictures([(64, 96), (80, 48), (60, 60)])
    plain = ciq.load(backbone=clip)
    each = torch.stack([plain([c.copy() for c in five_crops(image)])[:, 0] for image in images])
    expected = each.mean(dim=1) if pooling == "mean" else each.median(dim=1).values
    assert float((expected - plain(images)[:, 0]).abs().min()) > 1e-5
    scorer = ciq.load(backbone=clip, views="five-crop", over_views=pooling)
    # Batches of other sizes: fp32 sums in another order.
    torch.testing.assert_close(scorer(images)[:, 0], expected, atol=1e-6, rtol=0)
    tensors = [torch.from_numpy(image).permute(2, 0, 1).float() / 255 for image in images]
    torch.testing.assert_close(scorer.score_images(tensors)[:, 0], expected, atol=1e-6, rtol=0)
    assert scorer.settings["preset"] == f"clipiqa, {pooling} of five-crop"
    assert scorer.settings["note"] == "over views of the picture: not the published score"
    assert scorer.least_size == 43  # three quarters of 43 are 32


def test_a_median_of_two_views_is_between_them(clip: FrozenCLIP) -> None:
    (image,) = pictures([(64, 96)])
    plain = ciq.load(backbone=clip)([image, image[:, ::-1].copy()])
    scorer = ciq.load(backbone=clip, views="flip", over_views="median")
    torch.testing.assert_close(scorer(image)[0], plain.mean(dim=0), atol=1e-6, rtol=0)


def test_views_that_do_not_go(clip: FrozenCLIP) -> None:
    with pytest.raises(ValueError, match="unknown views 'six-crop'"):
        ciq.load(backbone=clip, views="six-crop")
    with pytest.raises(ValueError, match="neither with intervals nor with gradients"):
        ciq.load(backbone=clip, views="flip", differentiable=True)
    with pytest.raises(ValueError, match="maclip has views of its own"):
        ciq.load("maclip", backbone=clip, views="flip")
    with pytest.raises(ValueError, match=r"views scales take uint8 pictures, not torch.float32"):
        ciq.load(backbone=clip, views="scales")(torch.rand(1, 3, 64, 64))


def test_deviation_of_a_scale_is_that_of_its_distribution(clip: FrozenCLIP) -> None:
    images = [torch.from_numpy(image).permute(2, 0, 1) for image in pictures([(80, 64)] * 4)]
    words = ["acr", ["Sharp photo.", "Crisp photo.", "Fair photo.", "Soft photo.", "Blurry photo."]]
    each = ciq.load(backbone=clip, scales=words)
    assert each.columns == [*each.names, *(f"{name} deviation" for name in each.names)]
    mean = ciq.load(backbone=clip, scales=words, reduction="mean")
    assert mean.columns == ["score", "deviation"]
    scores, deviations = each.score_columns(images).split(2, dim=1)
    got = mean.score_columns(images)
    torch.testing.assert_close(got[:, 0], scores.mean(dim=1), atol=1e-6, rtol=0)
    # Of a mixture: the mean second moment less the squared mean.
    moment = (deviations.square() + scores.square()).mean(dim=1)
    expected = (moment - got[:, 0].square()).sqrt()
    torch.testing.assert_close(got[:, 1], expected, atol=1e-4, rtol=0)
    assert ciq.load(backbone=clip).columns == ["score"]
    over = ciq.load(backbone=clip, scales=["acr"], views="flip", over_views="mean")
    assert over.columns == ["score", "deviation"]
    median = ciq.load(backbone=clip, scales=["acr"], views="flip", over_views="median")
    assert median.columns == ["score"]
    flipped = [image.flip(-1) for image in images]
    plain, mirrored = (over._grades(clip.encode_image(given)) for given in (images, flipped))
    both = grade_deviation((plain + mirrored) / 2)
    torch.testing.assert_close(over.score_columns(images)[:, 1:], both, atol=1e-4, rtol=0)
