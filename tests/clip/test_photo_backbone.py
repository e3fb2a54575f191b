"""The embedded backbone trained on photographs: size, provenance, and what its words know."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.weights import build_clip, import_clip, load_weights
from clipiqa_plus.data.demo import DemoIQA, render
from clipiqa_plus.prompts.sources import ZeroShotPrompts
from clipiqa_plus.scoring import pair_probability


@pytest.fixture(scope="module")
def weights():
    return load_weights("photo")


@pytest.fixture(scope="module")
def photo_clip() -> FrozenCLIP:
    return FrozenCLIP.from_name("photo")


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    """The 24 photographs of the demo benchmark, none of which the backbone has seen."""
    module = DemoIQA(num_workers=0)
    reader = module.reader()
    return [reader(int(row)) for row in np.flatnonzero(module.annotations["level"] == 0)]


def test_the_file_is_small_and_half_precision(weights):
    assert weights.path.stat().st_size <= 10e6
    assert weights.sha256 == hashlib.sha256(weights.path.read_bytes()).hexdigest()
    with safe_open(weights.path, "pt") as file:
        dtypes = {file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118
    assert dtypes == {torch.float16, torch.int64}  # int64: the batch norms' counters


def test_the_metadata_says_where_the_weights_come_from(weights):
    facts = weights.metadata
    assert "scripts/train_embedded_clip.py" in facts["script"]
    assert facts["license"] == "Apache-2.0"
    assert "no opinion" in facts["data"]
    assert {"seed", "steps", "torch", "list_sha256"} <= facts.keys()
    assert json.loads(facts["architecture"])["vocab_size"] == 49408


def test_features_equal_those_of_openai_clip(weights, photo_clip):
    clip = build_clip(weights)
    images = torch.rand(2, 3, 224, 224)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    with torch.no_grad():
        expected = clip.encode_image((images - mean) / std)
        words = clip.encode_text(import_clip().tokenize(["Good photo.", "Bad photo."]))
        prompts = ZeroShotPrompts()(photo_clip)[0]
    expected = expected / expected.norm(dim=-1, keepdim=True)
    words = words / words.norm(dim=-1, keepdim=True)
    # fp32: sums in another order. The whitened projection raises rounding with what is faint.
    torch.testing.assert_close(photo_clip.encode_image(images), expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(prompts, words, rtol=0, atol=1e-5)


def score(clip: FrozenCLIP, pair: str, pictures: list[np.ndarray]) -> Tensor:
    images = torch.from_numpy(np.stack(pictures)).movedim(-1, 1)
    with torch.no_grad():
        text = ZeroShotPrompts([pair])(clip)
        return pair_probability(clip.encode_image(images), text, clip.logit_scale)[:, 0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pair", "distortion"),
    [
        ("quality", "gaussian_blur"),
        ("quality", "gaussian_noise"),
        ("quality", "pixelation"),
        ("quality", "jpeg"),
        ("sharpness", "gaussian_blur"),
        ("noisiness", "gaussian_noise"),
        ("brightness", "darkening"),
        ("contrast", "flat_contrast"),
    ],
)
def test_zero_shot_prefers_the_photograph_to_its_strongest_degradation(
    photo_clip, photos, pair, distortion
):
    worse = [render(photo, distortion, 4, seed=i) for i, photo in enumerate(photos)]
    better = score(photo_clip, pair, photos) > score(photo_clip, pair, worse)
    # Chance gives 12 of 24; at least 20 has a probability of 0.0008 under it.
    assert better.sum() >= 20, f"{int(better.sum())} of 24"
