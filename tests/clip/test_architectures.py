"""Architectures: the published ones, those read from sizes, and CLIPs of random weights."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import clipiqa_plus
from clipiqa_plus.clip.architectures import (
    ARCHITECTURES,
    Architecture,
    architecture_of,
    import_clip,
    random_clip,
)
from tests.support.weight_files import RESNET, SMALL, pictures

# Millions of parameters, whole and image tower: from open_clip's docs/model_profile.csv.
PROFILE = {
    "RN50": (102.01, 38.32),
    "RN101": (119.69, 56.26),
    "RN50x4": (178.30, 87.14),
    "RN50x16": (290.98, 167.33),
    "RN50x64": (623.26, 420.38),
    "ViT-B/32": (151.28, 87.85),
    "ViT-B/16": (149.62, 86.19),
    "ViT-L/14": (427.62, 303.97),
    "ViT-L/14@336px": (427.94, 304.29),
}


def unit(features: Tensor) -> Tensor:
    return features / features.norm(dim=-1, keepdim=True)


def test_names_are_those_of_openai_clip() -> None:
    assert list(ARCHITECTURES) == import_clip().available_models()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_published_architectures(name: str) -> None:
    with torch.device("meta"):
        model = import_clip().model.CLIP(**asdict(ARCHITECTURES[name]))
    total = sum(parameter.numel() for parameter in model.parameters())
    image = sum(parameter.numel() for parameter in model.visual.parameters())
    # The profile rounds to 0.01 million.
    assert (total / 1e6, image / 1e6) == pytest.approx(PROFILE[name], abs=0.0051)
    assert architecture_of(model.state_dict()) == ARCHITECTURES[name]
    # The text towers' heads leave no trace in the sizes: OpenAI's are all 64 channels wide.
    assert {block.attn.head_dim for block in model.transformer.resblocks} == {64}


@pytest.mark.parametrize(("name", "count"), [("RN50", 102_007_137), ("ViT-B/32", 151_277_313)])
def test_parameter_counts_to_the_last(name: str, count: int) -> None:
    with torch.device("meta"):
        model = import_clip().model.CLIP(**asdict(ARCHITECTURES[name]))
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_architecture_of_a_narrow_text_tower_has_one_head() -> None:
    narrow = replace(RESNET, transformer_width=32)
    assert architecture_of(random_clip(narrow).state_dict()) == narrow


@SMALL
def test_random_clip_depends_on_the_seed_alone(architecture: Architecture) -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = random_clip(architecture, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(6)
    again, other = random_clip(architecture, seed=1), random_clip(architecture, seed=2)
    for key, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
        if value.numel() > 1:
            assert not torch.equal(value, other.state_dict()[key]), key
    assert not first.training
    assert not any(parameter.requires_grad for parameter in first.parameters())


@SMALL
def test_random_clip_tells_pictures_and_texts_apart(architecture: Architecture) -> None:
    model = random_clip(architecture)
    with torch.no_grad():
        image = unit(model.encode_image(pictures(4, 64)))
        tokens = torch.randint(1, 98, (4, 16), generator=torch.Generator().manual_seed(1))
        text = unit(model.encode_text(tokens))
    # Parity with openai-clip is asked to 1e-4: features this far apart cannot pass for each other.
    assert nn.functional.pdist(image).min() > 0.01
    assert nn.functional.pdist(text).min() > 0.01


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Hundreds of tiny passes: waking a second thread costs more than it computes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@SMALL
@pytest.mark.usefixtures("one_thread")
@torch.no_grad()
def test_every_weight_of_a_random_clip_shows_in_the_features(architecture: Architecture) -> None:
    model = random_clip(architecture)
    images = pictures(2, 64)
    tokens = torch.randint(1, 98, (2, 16), generator=torch.Generator().manual_seed(1))
    image_features, text_features = model.encode_image(images), model.encode_text(tokens)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        # A key's bias adds the same to every logit of a query: softmax cancels it.
        if name.endswith(("num_batches_tracked", "k_proj.bias")) or name == "logit_scale":
            continue
        saved = tensor.clone()
        tensor.data.fill_(1.0 if name.endswith(("var", "weight")) and tensor.ndim == 1 else 0.0)
        if name.startswith("visual."):
            change = (model.encode_image(images) - image_features).norm() / image_features.norm()
        else:
            change = (model.encode_text(tokens) - text_features).norm() / text_features.norm()
        assert change > 1e-3, name  # ten times what parity with openai-clip tolerates
        tensor.data.copy_(saved)


@pytest.mark.slow
def test_import_clip_is_quiet() -> None:
    code = "from clipiqa_plus.clip.architectures import import_clip; import_clip().tokenize('a')"
    root = Path(clipiqa_plus.__file__).parents[1]
    run = subprocess.run(
        [sys.executable, "-W", "always", "-c", code],
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "pkg_resources" not in run.stderr


def test_import_clip_without_pkg_resources_tells_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("clip", "clip.clip", "clip.model"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "pkg_resources", None)  # as setuptools 82 leaves it
    with pytest.raises(ImportError, match=r"pkg_resources.*pip install openai-clip.*setuptools"):
        import_clip.__wrapped__()
