"""Backbones of open_clip against open_clip's own encode_image and encode_text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import clipiqa_plus as ciq
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.conventions import BackboneSpec
from clipiqa_plus.clip.open_clip.backbone import FrozenOpenCLIP
from clipiqa_plus.clip.open_clip.source import PREFIX
from clipiqa_plus.commands.main import main
from clipiqa_plus.prompts.files import load_prompts, save_prompts
from clipiqa_plus.prompts.sources import ContextPrompts, ZeroShotPrompts
from clipiqa_plus.scoring import pair_probability

pytest.importorskip("open_clip")
pytest.importorskip("transformers")

import open_clip

from tests.support.open_clip_models import (
    SIGLIP_TEXT,
    build,
    configurations,
    fixed_size,
    publish,
)

KINDS = list(configurations())

# Unit features in fp32; the same operations in the same order, but for sums over parts.
TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=KINDS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """open_clip's model and ours from the same files."""
    folder = tmp_path_factory.mktemp("repository")
    theirs = publish(folder, configurations()[request.param])
    return request.param, theirs, FrozenCLIP.from_name(f"{PREFIX}{folder}")


def pictures(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(3, 3, 5, 5, generator=generator)
    return F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)


def difference(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - F.normalize(theirs, dim=-1)).abs().max())


def tokens_of(ours: FrozenCLIP, prompts: list[str], folder: Path) -> Tensor:
    """Ids by open_clip's own tokenizer."""
    if ours.tokenizer.name == "CLIP":
        return open_clip.SimpleTokenizer(context_length=ours.context_length)(prompts)
    wrapped = open_clip.tokenizer.HFTokenizer(
        str(folder), context_length=ours.context_length, clean="canonicalize"
    )
    return wrapped(prompts)


def test_image_features_equal_open_clips(both: Any) -> None:
    _, theirs, ours = both
    images = pictures(64, 64)
    with torch.no_grad():
        expected = theirs.encode_image((images - 0.5) / 0.5)
    assert difference(ours.encode_image(images), expected) < TOLERANCE
    assert float(F.normalize(expected, dim=-1).std(dim=0).max()) > 2e-3  # not all the same


def test_text_features_equal_open_clips(both: Any, tmp_path: Path) -> None:
    kind, theirs, ours = both
    pairs = [["Good photo.", "Bad photo."], ["A sharp picture of good quality!", "blurry"]]
    folder = tmp_path
    publish(folder, configurations()[kind])
    words = [word for pair in pairs for word in pair]
    with torch.no_grad():
        expected = theirs.encode_text(tokens_of(ours, words, folder))
        found = ZeroShotPrompts(pairs, ours.tokenizer)(ours).flatten(0, 1)
    assert difference(found, expected) < TOLERANCE
    assert float((expected[0] - expected[1]).abs().max()) > 1e-3


def test_the_score_of_a_pair_is_open_clips_softmax_and_its_bias_cancels(both: Any) -> None:
    _, theirs, ours = both
    images = pictures(64, 64)
    with torch.no_grad():
        text = ZeroShotPrompts(["quality"], ours.tokenizer)(ours)
        features = ours.encode_image(images)
        scores = pair_probability(features, text, ours.logit_scale)
        logits = theirs.logit_scale.exp() * features @ text[0].T
        if theirs.logit_bias is not None:
            assert float(theirs.logit_bias) < -9
            logits = logits + theirs.logit_bias
    assert ours.logit_scale == pytest.approx(100, rel=1e-5)
    torch.testing.assert_close(scores[:, 0], logits.softmax(dim=-1)[:, 0], atol=1e-4, rtol=0)


def test_pictures_of_any_size_and_aspect(both: Any) -> None:
    kind, theirs, ours = both
    images = pictures(113, 70)
    found = ours.encode_image(images)
    assert found.shape == (3, ours.dim)
    normalised = (images - 0.5) / 0.5
    whole = normalised[:, :, :112, :64]  # 7 x 4 patches; the rest is dropped
    with torch.no_grad():
        if kind in ("siglip2", "eva"):  # timm's own argument for it, on the same weights
            from timm.layers import resample_abs_pos_embed

            reference = build(configurations()[kind])
            trunk = reference.visual.trunk
            trunk.pos_embed = torch.nn.Parameter(
                resample_abs_pos_embed(
                    trunk.pos_embed, [7, 4], num_prefix_tokens=trunk.num_prefix_tokens
                )
            )
            trunk.patch_embed.img_size, trunk.patch_embed.grid_size = (112, 64), (7, 4)
            if getattr(trunk, "rope", None) is not None:
                trunk.rope.update_feat_shape((7, 4))
            expected = reference.encode_image(whole)
        elif kind == "naflex":  # takes them itself
            expected = theirs.encode_image(whole)
        elif kind == "convnext":
            expected = theirs.encode_image(normalised)
        else:
            reference = build(configurations()[kind])
            table = reference.visual.positional_embedding
            grid = table[1:].T.reshape(1, -1, 4, 4)
            grid = F.interpolate(grid, (7, 4), mode="bicubic")[0].flatten(1).T
            reference.visual.positional_embedding = torch.nn.Parameter(torch.cat([table[:1], grid]))
            expected = reference.encode_image(whole)
    assert difference(found, expected) < TOLERANCE
    assert ours.pos_embedding == ("none" if kind == "convnext" else "grid")


def test_context_tokens_are_learned_through_the_token_embeddings(both: Any, tmp_path: Path) -> None:
    _, theirs, ours = both
    prompts = ContextPrompts(ours, n_ctx=4)
    length = ours.context_length if ours.tokenizer.padded else int(prompts.eot.max()) + 1
    assert prompts.ids.shape == (1, 2, length)
    features = prompts(ours)
    features[0, 0, 0].backward()
    assert prompts.ctx.grad is not None
    assert float(prompts.ctx.grad.abs().min(dim=-1).values.max()) > 0
    assert all(parameter.grad is None for parameter in theirs.parameters())
    # The context tokens set to the embeddings of words are those words.
    start, words, end = ours.tokenizer.split("photo of good photo")
    by_words = torch.tensor([[start + words + end, start + words + end]])
    ids, eot = ours.tokenizer.pack(by_words.tolist())
    expected = ours.encode_text(ours.token_embedding(ids[0]), eot[0])
    own = ContextPrompts(ours, [["good photo", "bad photo"]], n_ctx=2, position="end")
    with torch.no_grad():
        own.ctx.copy_(ours.token_embedding(torch.tensor(words[:2])))
        found = own(ours)[0, 0]
    if own.ids.shape[-1] == ids.shape[-1]:  # no full stop behind the words
        torch.testing.assert_close(found, expected[0], atol=TOLERANCE, rtol=0)
    own.steps += 1
    path = save_prompts(tmp_path / "p.safetensors", own, ours)
    assert torch.equal(load_prompts(path, ours).ctx, own.ctx)


def test_what_fixes_the_features_is_described(both: Any) -> None:
    kind, _, ours = both
    facts = ours.describe()
    assert facts["mean"] == [0.5, 0.5, 0.5]
    assert facts["activation"] == ("gelu_tanh" if kind in ("siglip2", "naflex") else "gelu")
    assert facts["backbone"].startswith(PREFIX)
    assert isinstance(ours, FrozenOpenCLIP)
    assert ours.parameter_count > 0
    assert next(iter(ours.state_dict()), None) is None  # not saved with a module


def test_scores_in_one_line(tmp_path: Path) -> None:
    publish(tmp_path / "repository", configurations()["siglip2"])
    scorer = ciq.load(backbone=f"{PREFIX}{tmp_path / 'repository'}", image_only=True)
    images = pictures(80, 100)
    scores = scorer(images)
    assert scores.shape == (3, 1)
    assert float(scores.std()) > 1e-3
    assert scorer.settings["activation"] == "gelu_tanh"
    with pytest.raises(ValueError, match="export takes models of openai-clip's layout"):
        ciq.export_scorer(scorer, tmp_path / "a.onnx")


@pytest.mark.slow
def test_a_model_of_openai_clips_layout_runs_as_openais_do(tmp_path: Path) -> None:
    library = open_clip
    config = library.get_model_config("ViT-B-32")
    config["vision_cfg"] |= {"layers": 2}
    config["text_cfg"] |= {"layers": 2}
    theirs = publish(tmp_path, config)
    ours = FrozenCLIP.from_name(f"{PREFIX}{tmp_path}")
    assert type(ours) is FrozenCLIP
    assert ours.conventions.activation == "gelu"
    images = pictures(224, 224)
    words = ["Good photo.", "Bad photo."]
    with torch.no_grad():
        seen = theirs.encode_image((images - 0.5) / 0.5)
        read = theirs.encode_text(library.get_tokenizer("ViT-B-32")(words))
        text = ZeroShotPrompts([words])(ours)[0]
    assert difference(ours.encode_image(images), seen) < TOLERANCE
    assert difference(text, read) < TOLERANCE
    assert ours.logit_scale == pytest.approx(math.exp(math.log(100)), rel=1e-5)


@pytest.mark.slow
def test_weights_of_an_architecture_need_their_mean(tmp_path: Path) -> None:
    config = open_clip.get_model_config("RN50")
    model = build(config)
    path = tmp_path / "weights.pt"
    torch.save(model.state_dict(), path)
    spec = BackboneSpec(f"{PREFIX}RN50", weights=str(path))
    with pytest.raises(ValueError, match="nothing records mean and std"):
        FrozenCLIP.from_name(spec)
    half = (0.5, 0.5, 0.5)
    ours = FrozenCLIP.from_name(replace(spec, mean=half, std=half))
    assert ours.conventions.activation == "gelu"
    assert ours.pos_embedding == "none"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (BackboneSpec("open_clip:ViT-B-61"), r"'ViT-B-61' is no architecture .* ViT-B-16"),
        (BackboneSpec("open_clip:ViT-B-32"), r"whose weights\? Name a tag, .*laion2b_s34b_b79k"),
        (BackboneSpec("open_clip:ViT-B-32/laion9b"), "no tag 'laion9b' of ViT-B-32; there are"),
        (BackboneSpec("open_clip:ViT-B-32/openai", weights="w.pt"), "both a tag and the weights"),
    ],
)
def test_unknown_names_are_refused(spec: BackboneSpec, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrozenCLIP.from_name(spec)


def test_weights_belong_to_an_architecture_of_open_clip() -> None:
    with pytest.raises(ValueError, match=r"RN50 is no architecture of open_clip"):
        BackboneSpec("RN50", weights="w.pt")


def test_a_failed_download_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise OSError("no route\nto host")

    monkeypatch.setattr(open_clip, "download_pretrained", fail)
    with pytest.raises(FileNotFoundError, match=r"from timm/ViT-B-16-SigLIP2-384/ \(no route to"):
        FrozenCLIP.from_name("open_clip:ViT-B-16-SigLIP2-384/webli")


@pytest.mark.slow
def test_the_tag_decides_about_the_activation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RN50 is published with QuickGELU, but open_clip's configuration of that name has GELU."""
    path = tmp_path / "weights.pt"
    torch.save(build(open_clip.get_model_config("RN50")).state_dict(), path)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda *_: str(path))
    ours = FrozenCLIP.from_name("open_clip:RN50/openai")
    assert ours.conventions.activation == "quickgelu"
    assert ours.conventions.mean[0] == pytest.approx(0.4815, abs=1e-4)


def test_a_missing_tokenizer_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    publish(tmp_path, configurations()["siglip2"])
    for file in tmp_path.glob("*token*"):
        file.unlink()
    with pytest.raises(FileNotFoundError) as caught:
        FrozenCLIP.from_name(f"{PREFIX}{tmp_path}")
    message = str(caught.value)
    assert f"its tokenizer {SIGLIP_TEXT['hf_tokenizer_name']} cannot be loaded" in message
    assert message.endswith(f"tokenizer.json and tokenizer_config.json, into {tmp_path}")
    assert "\n" not in message


def test_words_of_another_tokenizer_are_refused(both: Any) -> None:
    _, _, ours = both
    if ours.tokenizer.name != "CLIP":
        with pytest.raises(ValueError, match="in token ids of CLIP, but"):
            ZeroShotPrompts()(ours)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_cfg": {"hf_model_name": "roberta-base"}}, "has a text tower of the library"),
        ({"multimodal_cfg": {}}, "is a captioning model"),
        ({"text_cfg": {**SIGLIP_TEXT, "embed_cls": True}}, "has a class token in its text tower"),
    ],
)
def test_unsupported_models_are_refused(
    changes: dict[str, Any],
    message: str,
    tmp_path: Path,
    make_picture: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    publish(tmp_path, configurations()["siglip2"])
    file = tmp_path / "open_clip_config.json"
    content = json.loads(file.read_text())
    content["model_cfg"] |= changes
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        FrozenCLIP.from_name(f"{PREFIX}{tmp_path}")
    photo = make_picture(tmp_path / "photo.png", 64, 64)
    assert main(["score", str(photo), "--backbone", f"{PREFIX}{tmp_path}"]) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert told.startswith(f"clipiqa: {PREFIX}{tmp_path} {message}")
    assert told.endswith("own text towers, such as ViT-B-16-SigLIP2")


@pytest.mark.slow
def test_a_tower_of_one_size_scores_such_pictures_and_lists_the_others(
    tmp_path: Path, make_picture: Callable[..., Path]
) -> None:
    theirs = publish(tmp_path / "swin", fixed_size())
    for index, size in enumerate([(64, 64), (80, 64), (64, 64), (512, 384)]):
        make_picture(tmp_path / f"in/{index}.png", *size, index)
    out = tmp_path / "s.csv"
    backbone = f"{PREFIX}{tmp_path / 'swin'}"
    arguments = ["score", str(tmp_path / "in"), "--backbone", backbone, "--out", str(out)]
    assert main(arguments) == 1
    scored = pd.read_csv(out)
    assert [Path(name).name for name in scored["image"]] == ["0.png", "2.png"]
    failed = pd.read_csv(tmp_path / "s.failed.csv")
    assert list(failed["reason"]) == [
        "80x64 pixels; the backbone takes 64x64 only: resize the pictures",
        "512x384 pixels; the backbone takes 64x64 only: resize the pictures",
    ]
    pixels = np.stack([np.array(Image.open(name)) for name in scored["image"]])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    words = open_clip.SimpleTokenizer(context_length=24)(["Good photo.", "Bad photo."])
    with torch.no_grad():
        seen = F.normalize(theirs.encode_image((images - 0.5) / 0.5), dim=-1)
        said = F.normalize(theirs.encode_text(words), dim=-1)
    expected = (100 * seen @ said.T).softmax(dim=-1)[:, 0]
    # Features within 1e-5, times a logit scale of 100, times a slope of a quarter.
    assert list(scored["score"]) == pytest.approx(expected.tolist(), abs=5e-4)
    with pytest.raises(ValueError, match="takes pictures of 64x64 pixels only, not of 80x64"):
        FrozenCLIP.from_name(backbone).encode_image(torch.zeros(1, 3, 64, 80))


def test_weights_of_another_size_are_refused_and_not_resized(tmp_path: Path) -> None:
    publish(tmp_path, configurations()["wide heads"])
    file = tmp_path / "open_clip_config.json"
    content = json.loads(file.read_text())
    content["model_cfg"]["vision_cfg"]["image_size"] = 96
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"positional_embedding.*\[17, 160\].*\[37, 160\]"):
        FrozenCLIP.from_name(f"{PREFIX}{tmp_path}")
    with pytest.raises(ValueError, match="precision and text_precision are fp32"):
        FrozenCLIP.from_name(f"{PREFIX}{tmp_path}", precision="bf16")
