"""Activation, mean and deviation: computed as recorded or stated, and demanded otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from clipiqa_plus.clip.architectures import Architecture
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.conventions import CONFIG, MEAN, OPENAI, STD, BackboneSpec, Conventions
from clipiqa_plus.clip.text_tower import encode_embeddings
from clipiqa_plus.clip.weights import build_clip, import_clip, load_weights, random_clip
from tests.support.models import write_weights
from tests.support.weight_files import RESNET, SMALL, VIT, save_plain

HALF = (0.5, 0.5, 0.5)


def config_of(architecture: Architecture, **changes: Any) -> dict[str, Any]:
    """The open_clip_config.json of these sizes, as open_clip writes it."""
    layers = architecture.vision_layers
    model = {
        "embed_dim": architecture.embed_dim,
        "vision_cfg": {
            "image_size": architecture.image_resolution,
            "layers": list(layers) if isinstance(layers, tuple) else layers,
            "width": architecture.vision_width,
            "patch_size": architecture.vision_patch_size,
        },
        "text_cfg": {
            "context_length": architecture.context_length,
            "vocab_size": architecture.vocab_size,
            "width": architecture.transformer_width,
            "heads": architecture.transformer_heads,
            "layers": architecture.transformer_layers,
        },
        **changes,
    }
    return {"model_cfg": model, "preprocess_cfg": {"mean": list(HALF), "std": list(HALF)}}


def put_config(folder: Path, content: Any) -> None:
    (folder / CONFIG).write_text(content if isinstance(content, str) else json.dumps(content))


def with_gelu(architecture: Architecture) -> nn.Module:
    """openai-clip's model with exact GELU, put in here by hand."""
    model = random_clip(architecture, seed=3)
    for name, module in list(model.named_modules()):
        if name.endswith("mlp"):
            module.gelu = nn.GELU()
    return model


def relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.slow
@SMALL
@pytest.mark.parametrize("way", ["metadata", "config", "stated"])
def test_gelu_weights_are_computed_with_gelu(
    way: str, architecture: Architecture, tmp_path: Path
) -> None:
    path = tmp_path / "weights.safetensors"
    spec = BackboneSpec(str(path))
    state = random_clip(architecture, seed=3).state_dict()
    if way == "metadata":
        facts = {"activation": "gelu", "mean": json.dumps(HALF), "std": json.dumps(HALF)}
        save_file(state, path, metadata=facts)
    else:
        save_file(state, path)
    if way == "config":
        put_config(tmp_path, config_of(architecture))
    if way == "stated":
        spec = replace(spec, activation="gelu", mean=HALF, std=HALF)
    ours = FrozenCLIP.from_name(spec, pos_embedding="grid")
    assert ours.conventions == Conventions("gelu", HALF, HALF)
    theirs, quick = with_gelu(architecture), random_clip(architecture, seed=3)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    tokens = torch.randint(1, 98, (3, 16), generator=torch.Generator().manual_seed(0))
    end = tokens.argmax(dim=-1)
    with torch.no_grad():
        seen = F.normalize(theirs.encode_image((images - 0.5) / 0.5), dim=-1)
        read = F.normalize(theirs.encode_text(tokens), dim=-1)
        other = F.normalize(quick.encode_text(tokens), dim=-1)
    found = ours.encode_text(ours.token_embedding(tokens), end)
    # fp32 through a few layers; with QuickGELU the text features differ a hundred times as much.
    assert relative(ours.encode_image(images), seen) < 1e-5
    assert relative(found, read) < 1e-5
    assert relative(found, other) > 1e-3


@pytest.mark.slow
def test_the_compiled_text_pass_takes_the_activation_of_the_weights() -> None:
    clip = build_clip(random_clip(RESNET, seed=3).state_dict(), "gelu")
    embeddings = torch.randn(2, 16, 64, generator=torch.Generator().manual_seed(0))
    end = torch.tensor([15, 9])
    embeddings[1, :3] = embeddings[0, :3]
    run = torch.compile(encode_embeddings, backend="eager", fullgraph=True)
    found = run(clip, embeddings, end, 3)
    torch.testing.assert_close(found, encode_embeddings(clip, embeddings, end, 3))
    quick = build_clip(random_clip(RESNET, seed=3).state_dict())
    assert relative(run(quick, embeddings, end, 3), found) > 1e-3


def test_embedded_weights_have_openais() -> None:
    assert FrozenCLIP.from_name("demo").conventions == OPENAI
    with pytest.raises(ValueError, match="activation is quickgelu by the model's name, but gelu"):
        FrozenCLIP.from_name(BackboneSpec("demo", activation="gelu"))


def test_a_name_alone_is_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_plain(random_clip(RESNET), Path("RN50"))  # not OpenAI's RN50
    assert load_weights("./RN50").name == "./RN50"
    with pytest.raises(ValueError, match="RN50: nothing records activation and mean and std"):
        FrozenCLIP.from_name("./RN50")


def test_what_nothing_records_is_demanded(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    save_plain(random_clip(VIT), path)
    with pytest.raises(ValueError) as caught:
        FrozenCLIP.from_name(str(path))
    message = str(caught.value)
    assert message.startswith(f"{path}: nothing records activation and mean and std")
    ways = ("--activation gelu or quickgelu", f"--mean ({MEAN[0]}", f"--std ({STD[0]}", CONFIG)
    assert all(way in message for way in ways)
    with pytest.raises(ValueError, match="nothing records mean and std"):
        FrozenCLIP.from_name(BackboneSpec(str(path), activation="gelu"))


def test_contradictions_are_refused(tmp_path: Path) -> None:
    path = write_weights(tmp_path / "weights.safetensors", RESNET, activation="quickgelu")
    with pytest.raises(ValueError, match="activation is quickgelu by its metadata, but gelu"):
        FrozenCLIP.from_name(BackboneSpec(str(path), activation="gelu"))
    put_config(tmp_path, config_of(RESNET, quick_gelu=True))
    with pytest.raises(ValueError, match=rf"mean is 0\.5 0\.5 0\.5 by {CONFIG}, but 0\.48"):
        FrozenCLIP.from_name(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged"),
        ({"model_cfg": {}}, "is damaged"),
        (config_of(replace(VIT, embed_dim=64)), "describes another model .* embed_dim is 64"),
        (config_of(replace(VIT, vision_layers=12)), r"its vision_cfg\.layers is 12"),
        (config_of(replace(VIT, transformer_heads=1)), r"its text_cfg\.heads is 1"),
        (config_of(VIT, custom_text=True), r"does not compute \(custom_text\).*open_clip:"),
        (
            config_of(VIT, vision_cfg={"width": 64, "head_width": 80}),
            r"does not compute \(vision_cfg\.head_width\)",
        ),
    ],
)
def test_configurations_of_other_models_are_refused(
    content: Any, message: str, tmp_path: Path
) -> None:
    save_file(random_clip(VIT).state_dict(), tmp_path / "weights.safetensors")
    put_config(tmp_path, content)
    with pytest.raises(ValueError, match=message):
        FrozenCLIP.from_name(str(tmp_path / "weights.safetensors"))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"activation": "relu"}, "activation 'relu'; known are gelu, quickgelu"),
        ({"mean": (0.5, 0.5)}, "expected three numbers"),
        ({"std": "0.5"}, "expected three numbers"),
        ({"std": (0.5, 0, 0.5)}, "expected positive numbers"),
    ],
)
def test_wrong_facts_are_refused(facts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BackboneSpec("weights.pt", **facts)


@pytest.mark.slow
def test_a_wide_vit_is_refused_since_its_heads_do_not_show(tmp_path: Path) -> None:
    wide = replace(VIT, vision_width=1280, vision_layers=1)
    path = write_weights(tmp_path / "weights.safetensors", wide)
    with pytest.raises(ValueError, match="a ViT of width 1280, whose number of heads"):
        FrozenCLIP.from_name(str(path))


def test_conventions_are_in_the_settings_and_in_the_key_of_the_cache(
    tmp_path: Path, make_picture: Callable[..., Path]
) -> None:
    from clipiqa_plus.features.store import FeatureStore

    clips = [
        FrozenCLIP(build_clip(random_clip(VIT).state_dict(), activation), "a", "0" * 64, mean=mean)
        for activation in ("quickgelu", "gelu")
        for mean in (MEAN, HALF)
    ]
    assert clips[3].describe()["activation"] == "gelu"
    assert clips[3].describe()["mean"] == [0.5, 0.5, 0.5]
    assert clips[0].describe()["std"] == list(STD)
    assert len({FeatureStore(tmp_path, clip.describe(), 32).key for clip in clips}) == 4


def test_openai_clip_has_quickgelu_only() -> None:
    """The fact behind the default of build_clip."""
    block = import_clip().model.ResidualAttentionBlock(64, 1)
    x = torch.linspace(-3, 3, 7)
    torch.testing.assert_close(block.mlp.gelu(x), x * torch.sigmoid(1.702 * x))
