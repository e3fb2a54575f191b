"""Published presets against openai-clip's layers and the formula of each program, by hand."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import clipiqa_plus as ciq
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.weights import Architecture, import_clip, random_clip
from clipiqa_plus.commands.main import main
from clipiqa_plus.inference.presets import PRESETS
from clipiqa_plus.inference.published_files import PublishedFile
from clipiqa_plus.prompts.importers import QUALICLIP_PAIRS
from tests.support.mirror_server import Mirror, serve
from tests.support.models import SMALL_RESNET, SMALL_VIT
from tests.support.reference_scores import MEAN, STD, pictures

# Weights files do not show the number of heads; it is read as one for each 64 channels.
RESNET = replace(SMALL_RESNET, transformer_heads=1)
VIT = replace(SMALL_VIT, transformer_heads=1)
PUBLISHED = [preset for preset in PRESETS.values() if preset.files]


def samples() -> list[np.ndarray]:
    """Pictures whose features differ: smooth ones, noise and plain colours."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)
    plain = [np.full((64, 80, 3), c, np.uint8) for c in ((10, 10, 10), (250, 20, 20))]
    return [*pictures([(96, 128), (64, 80), (97, 65), (128, 64)]), noise, *plain]


def random_reference(architecture: Architecture = RESNET, scale: float = 10.0) -> Any:
    """A CLIP of random weights whose scores spread over 0 to 1.

    Random features share a large mean, which is taken out. They then differ so much that at
    OpenAI's logit scale of 100 most scores would be 0 or 1, which hides errors.
    """
    clip = random_clip(architecture, 0)
    clip.logit_scale.fill_(math.log(scale))
    with torch.no_grad():
        features = torch.cat([raw_features(clip, image) for image in units(samples())])
        if architecture.vision_patch_size is None:
            clip.visual.attnpool.c_proj.bias -= features.mean(dim=0)
        else:
            clip.visual.ln_post.bias -= features.mean(dim=0) @ torch.linalg.pinv(clip.visual.proj)
    return clip


def raw_features(clip: Any, image: Tensor, table: bool = False) -> Tensor:
    """openai-clip's own layers on a picture in [0, 1]: [1, D], not normalised.

    Positional embedding: none, or the whole table resized along its rows, as pyiqa does it.
    """
    visual, x = clip.visual, ((image - MEAN) / STD)[None]
    vit = hasattr(visual, "class_embedding")
    if vit:
        x = visual.conv1(x).flatten(2).permute(0, 2, 1)
        x = torch.cat([visual.class_embedding.expand(1, 1, -1), x], dim=1)
        position = visual.positional_embedding
    else:
        x = visual.relu1(visual.bn1(visual.conv1(x)))
        x = visual.relu2(visual.bn2(visual.conv2(x)))
        x = visual.avgpool(visual.relu3(visual.bn3(visual.conv3(x))))
        x = visual.layer4(visual.layer3(visual.layer2(visual.layer1(x)))).flatten(2).mT
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)
        position = visual.attnpool.positional_embedding
    if table:
        x = x + F.interpolate(position[None, None], x.shape[1:], mode="bicubic")[0]
    if vit:
        x = visual.transformer(visual.ln_pre(x).permute(1, 0, 2))
        return visual.ln_post(x[0]) @ visual.proj
    pool, x = visual.attnpool, x.permute(1, 0, 2)
    biases = torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias])
    weights = {f"{n}_proj_weight": getattr(pool, f"{n}_proj").weight for n in "qkv"}
    x, _ = F.multi_head_attention_forward(
        x, x, x, x.shape[-1], pool.num_heads, None, biases, None, None, False, 0.0,
        pool.c_proj.weight, pool.c_proj.bias, training=False, need_weights=False,
        use_separate_proj_weight=True, **weights,
    )  # fmt: skip
    return x[0]


def units(images: list[np.ndarray]) -> list[Tensor]:
    return [torch.from_numpy(image).permute(2, 0, 1).float() / 255 for image in images]


def image_features(clip: Any, images: list[np.ndarray], table: bool = False) -> Tensor:
    with torch.no_grad():
        return F.normalize(torch.cat([raw_features(clip, i, table) for i in units(images)]), dim=-1)


def tokens(words: list[str], n_ctx: int = 16) -> Tensor:
    return import_clip().tokenize([" ".join(["X"] * n_ctx) + " " + word for word in words])


def learned_features(clip: Any, words: list[str], lengths: list[int], ctx: Tensor) -> Tensor:
    """Text features [2P, D] in pyiqa's way: 16 X and the words, ctx put around those."""
    ids = tokens(words)
    embedded = clip.token_embedding(ids)
    rows = []
    for row, length, own in zip(embedded, lengths, ctx.expand(len(words), -1, -1), strict=True):
        rest = row[17 + length :]
        rows.append(torch.cat([row[:1], own[:8], row[17 : 17 + length], own[8:], rest]))
    with torch.no_grad():
        x = torch.stack(rows) + clip.positional_embedding
        x = clip.ln_final(clip.transformer(x.permute(1, 0, 2)).permute(1, 0, 2))
        x = x[torch.arange(len(ids)), ids.argmax(dim=-1)] @ clip.text_projection
    return F.normalize(x, dim=-1)


def first_of_pairs(logits: Tensor) -> Tensor:
    """Softmax over each two of [B, 2P], the mean of the first ones: [B, 1]."""
    return logits.unflatten(1, (-1, 2)).softmax(dim=-1)[..., 0].mean(dim=1, keepdim=True)


def context(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5)) * 0.5


def learner(clip: Any, words: list[str], ctx: Tensor) -> dict[str, Tensor]:
    embedded = clip.token_embedding(tokens(words)).detach()
    parts = {"ctx": ctx, "token_prefix": embedded[:, :1], "token_suffix": embedded[:, 17:]}
    return {f"prompt_learner.{name}": part.clone() for name, part in parts.items()}


def frozen(clip: Any, position: Any = None) -> FrozenCLIP:
    copied = random_clip(VIT if hasattr(clip.visual, "class_embedding") else RESNET, 0)
    copied.load_state_dict(clip.state_dict())
    return FrozenCLIP(copied, "small", "0" * 64, position)


def close_pairs(dim: int) -> Tensor:
    """Unit text features [14, D] whose pairs are as close as CLIP's: 100 x cosine tells them."""
    base, away = context(7, 1, dim), context(7, 2, dim).flip(0)
    return F.normalize(base + 0.03 * away, dim=-1).flatten(0, 1)


def assert_spread(scores: Tensor) -> None:
    """Any constant would pass for scores that are equal, and saturated ones hide errors."""
    assert float(scores.std()) > 0.02
    assert 0.1 < float(scores.mean()) < 0.9


Publish = Callable[..., Mirror]


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Publish]:
    """Put content behind the address of a preset's file, on a server of this machine."""
    servers = []

    def put(name: str, kind: str, content: Any, fault: str = "good") -> Mirror:
        path = tmp_path / "published.pth"
        torch.save(content, path)
        data = path.read_bytes()
        server = serve(data)
        servers.append(server)
        mirror = server.__enter__()
        known = getattr(PRESETS[name], kind)
        file = replace(
            known,
            sha256=hashlib.sha256(data).hexdigest(),
            size=len(data),
            addresses=(mirror.url(fault, known.name),),
        )
        changed: Any = {kind: file}
        if PRESETS[name].weights is None:
            changed["backbone"] = "small"
        monkeypatch.setitem(PRESETS, name, replace(PRESETS[name], **changed))
        return mirror

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    yield put
    for server in servers:
        server.__exit__(None, None, None)


def test_facts_of_published_files() -> None:
    for preset in PUBLISHED:
        for file in preset.files:
            assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
            stated = re.search(r"-([0-9a-f]{8})\.pth$", file.name)
            assert stated is None or file.sha256.startswith(stated[1])
            assert all(address.startswith("https://") for address in file.addresses)
            assert "non-commercial" in file.licence
    assert {p.name for p in PUBLISHED} == {
        *("clipiqa+", "clipiqa+-rn50-512", "clipiqa+-vitl14-512"),
        *("qualiclip", "qualiclip-pyiqa", "qualiclip+"),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "vit", "table"),
    [
        ("clipiqa+", False, False),
        ("clipiqa+-rn50-512", False, True),
        ("clipiqa+-vitl14-512", True, True),
    ],
)
def test_learned_presets(name: str, vit: bool, table: bool, publish: Publish) -> None:
    reference = random_reference(VIT if vit else RESNET)
    words = ["Good photo..", "Bad photo.."]
    width = reference.token_embedding.weight.shape[1]
    ctx = context(16, width).half() if name == "clipiqa+" else context(2, 16, width)
    content = ctx if name == "clipiqa+" else {"params": learner(reference, words, ctx)}
    publish(name, "prompts", content)
    images = samples()
    text = learned_features(reference, words, [3, 3], ctx.float())
    expected = first_of_pairs(10 * image_features(reference, images, table) @ text.T)
    assert_spread(expected)
    scorer = ciq.load(name, backbone=frozen(reference, "table" if table else "none"))
    # fp32, the same sums in another order, times the logit scale.
    torch.testing.assert_close(scorer(images), expected, atol=1e-4, rtol=0)
    assert scorer.settings["preset"] == name
    (file,) = scorer.settings["files"]
    assert file["licence"] == PRESETS[name].prompts.licence  # type: ignore[union-attr]
    assert file["sha256"] == scorer.settings["prompts_sha256"]


def quality_clip(scale: float = 10.0) -> tuple[Any, dict[str, Tensor], Tensor]:
    """Weights in the layout of QualiCLIP's file, with text features that no text tower gives."""
    reference = random_reference(scale=scale)
    text = close_pairs(32)
    state = {f"clip_model.{name}": tensor for name, tensor in reference.state_dict().items()}
    return reference, {**state, "prompts_features": text}, text


@pytest.mark.slow
def test_qualiclip_takes_its_stored_text_features_at_100(publish: Publish) -> None:
    reference, content, text = quality_clip(scale=50)
    publish("qualiclip", "weights", content)
    images = samples()
    expected = first_of_pairs(100 * image_features(reference, images) @ text.T)
    assert_spread(expected)
    scorer = ciq.load("qualiclip", device="cpu")
    torch.testing.assert_close(scorer(images), expected, atol=1e-4, rtol=0)
    assert scorer.settings["logit_scale"] == pytest.approx(100)
    assert scorer.settings["pairs"] == [list(pair) for pair in QUALICLIP_PAIRS]
    own = ciq.load("qualiclip", device="cpu", pairs=["quality"])
    ids = import_clip().tokenize(["Good photo.", "Bad photo."])
    with torch.no_grad():
        words = F.normalize(reference.encode_text(ids), dim=-1)
    expected = first_of_pairs(100 * image_features(reference, images) @ words.T)
    torch.testing.assert_close(own(images), expected, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_pyiqas_qualiclip_halves_the_logits(publish: Publish) -> None:
    reference, content, text = quality_clip(scale=60)
    publish("qualiclip-pyiqa", "weights", content)
    images = samples()
    logits = (60 * image_features(reference, images) @ text.T).unflatten(1, (-1, 2))
    exponents = torch.exp(logits / 2)
    expected = (exponents / exponents.sum(dim=-1, keepdim=True))[..., 0].mean(dim=1, keepdim=True)
    assert_spread(expected)
    torch.testing.assert_close(
        ciq.load("qualiclip-pyiqa", device="cpu")(images), expected, atol=1e-4, rtol=0
    )


def test_qualiclips_file_as_the_backbone_of_own_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference, content, _ = quality_clip()
    torch.save(content, tmp_path / "QualiCLIP.pth")
    (image,) = pictures([(96, 128)])
    Image.fromarray(image).save(tmp_path / "photo.png")
    asked = ["score", str(tmp_path / "photo.png"), "--backbone", str(tmp_path / "QualiCLIP.pth")]
    words = ["Sharp photo.", "Blurry photo."]
    assert main([*asked, "--pair", *words]) == 1  # other weights than the published ones
    assert "activation" in capsys.readouterr().err
    mean, std = ([str(value) for value in each.flatten().tolist()] for each in (MEAN, STD))
    facts = ["--activation", "quickgelu", "--mean", *mean, "--std", *std]
    assert main([*asked, "--pair", *words, *facts, "--device", "cpu"]) == 0
    with torch.no_grad():
        text = F.normalize(reference.encode_text(import_clip().tokenize(words)), dim=-1)
    expected = first_of_pairs(10 * image_features(reference, [image]) @ text.T)
    printed = float(capsys.readouterr().out.split()[-1])
    assert printed == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.slow
def test_qualiclip_plus_has_seven_pairs_without_a_further_stop(
    publish: Publish, tmp_path: Path
) -> None:
    reference, content, _ = quality_clip()
    words = [word for pair in QUALICLIP_PAIRS for word in pair]
    lengths = [len(import_clip().simple_tokenizer.SimpleTokenizer().encode(w)) for w in words]
    ctx = context(14, 16, 32)
    publish("qualiclip+", "weights", content)
    publish("qualiclip+", "prompts", {"params": learner(reference, words, ctx)})
    images = samples()
    text = learned_features(reference, words, lengths, ctx)
    logits = 10 * image_features(reference, images) @ text.T
    expected = first_of_pairs(logits / 2)
    assert_spread(expected)
    scorer = ciq.load("qualiclip+", device="cpu")
    torch.testing.assert_close(scorer(images), expected, atol=1e-4, rtol=0)
    # Converted to a prompt file they keep layout and temperature.
    clip = frozen(reference)
    prompts = ciq.load_prompts(PRESETS["qualiclip+"].prompts.fetch(), clip)  # type: ignore[union-attr, arg-type]
    path = ciq.save_prompts(tmp_path / "p.safetensors", prompts, clip, reduction="mean")  # type: ignore[arg-type]
    again = ciq.load("clipiqa+", path, clip)
    torch.testing.assert_close(again(images), expected, atol=1e-4, rtol=0)
    clip.name = "RN50"
    with pytest.raises(ValueError, match=r"learned on QualiCLIP's image tower, not on OpenAI's"):
        ciq.load_prompts(PRESETS["qualiclip+"].prompts.fetch(), clip)  # type: ignore[union-attr, arg-type]


@pytest.mark.slow
def test_maclip_fuses_cosine_and_magnitude_over_its_crops() -> None:
    reference = random_reference()
    words = ["Good image", "bad image", "Sharp image", "blurry image", "sharp edges"]
    words += ["blurry edges", "High resolution image", "low resolution image"]
    words += ["Noise-free image", "noisy image"]
    images = pictures([(224, 224), (360, 500), (479, 225)])
    expected = []
    with torch.no_grad():
        text = F.normalize(reference.encode_text(import_clip().tokenize(words)), dim=-1)
        for image in units(images):
            unfolded = torch.nn.Unfold(kernel_size=(224, 224), stride=128)(image[None])
            crops = unfolded.view(3, 224, 224, -1).permute(3, 0, 1, 2)
            small = F.interpolate(image[None], (224, 224), mode="bilinear", align_corners=False)
            raw = torch.cat([raw_features(reference, v) for v in torch.cat([crops, small])])
            cosine = first_of_pairs(10 * F.normalize(raw, dim=-1) @ text.T)[:, 0]
            x = raw.abs() / (raw.abs().std(dim=1, keepdim=True) + 1e-6)
            magnitude = (((x + 1) ** 0.5 - 1) / 0.5).mean(dim=-1)
            d = cosine - magnitude
            weights = torch.stack([1.0 + d, 0.6 - d], dim=-1).softmax(dim=-1)
            expected.append((weights * torch.stack([cosine, magnitude], dim=-1)).sum(-1).mean())
    scorer = ciq.load("maclip", backbone=frozen(reference))
    got = scorer(images)
    assert float(torch.stack(expected).std()) > 0.01
    # pyiqa's 1e-6 beside the deviation is left out: less than 1e-4 for features of length 1.
    torch.testing.assert_close(got[:, 0], torch.stack(expected), atol=1e-4, rtol=0)
    assert scorer.least_size == 224
    assert scorer.settings["cue"] == "magnitude"
    with pytest.raises(ValueError, match="maclip takes sides of 224 or more"):
        scorer(pictures([(223, 300)]))


def test_a_file_is_fetched_once_and_its_licence_shown_once(
    publish: Publish, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = publish("clipiqa+", "prompts", context(16, 32).half())
    file = PRESETS["clipiqa+"].prompts
    assert isinstance(file, PublishedFile)
    assert file.find() is None
    assert file.fetch() == file.path
    assert file.fetch() == file.path == file.find()
    assert len(mirror.requests) == 1
    shown = [line for line in capsys.readouterr().err.splitlines() if line.startswith("clipiqa_")]
    assert shown == [
        f"clipiqa_plus: {file.name}: S-Lab License 1.0, non-commercial use; by {file.authors}; "
        f"from {file.addresses[0]}"
    ]


def test_a_file_of_pyiqas_cache_serves_if_it_is_the_same(publish: Publish, tmp_path: Path) -> None:
    mirror = publish("clipiqa+", "prompts", context(16, 32).half())
    file = PRESETS["clipiqa+"].prompts
    assert isinstance(file, PublishedFile)
    theirs = tmp_path / "torch/hub/pyiqa" / file.name
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"another file")
    assert file.find() is None
    theirs.write_bytes(mirror.content)
    assert file.fetch() == theirs
    assert not mirror.requests


@pytest.mark.parametrize("fault", ["absent", "wrong", "page"])
def test_a_file_that_cannot_be_had_is_one_error_with_address_and_place(
    publish: Publish, fault: str
) -> None:
    publish("clipiqa+-rn50-512", "prompts", {"params": {}}, fault)
    file = PRESETS["clipiqa+-rn50-512"].prompts
    assert isinstance(file, PublishedFile)
    with pytest.raises(FileNotFoundError) as caught:
        ciq.load("clipiqa+-rn50-512")
    message = str(caught.value)
    for part in (file.name, file.addresses[0], file.sha256, str(file.path), file.licence):
        assert part in message
    assert not file.path.exists()


@pytest.mark.slow
def test_what_does_not_go_with_a_published_preset(publish: Publish, clip: FrozenCLIP) -> None:
    publish("clipiqa+", "prompts", context(16, 32).half())
    with pytest.raises(ValueError, match=r"prompts published for small; the backbone is small-res"):
        ciq.load("clipiqa+", backbone=clip)
    with pytest.raises(ValueError, match="has its own published prompts"):
        ciq.load("clipiqa+-rn50-512", prompts="p.pth")
    publish("clipiqa+", "prompts", context(16, 48).half())
    with pytest.raises(ValueError, match="width 48, but small takes 32"):
        ciq.load("clipiqa+", backbone=frozen(random_reference()))
    _, content, _ = quality_clip()
    publish("qualiclip", "weights", content)
    with pytest.raises(ValueError, match=r"needs the weights QualiCLIP.pth"):
        ciq.load("qualiclip", backbone=clip)
    publish("qualiclip", "weights", {**content, "prompts_features": torch.ones(14, 32)})
    with pytest.raises(ValueError, match="not of unit length"):
        ciq.load("qualiclip")
    del content["prompts_features"]
    publish("qualiclip", "weights", content)
    with pytest.raises(ValueError, match="no text features of pairs in it"):
        ciq.load("qualiclip")


@pytest.mark.slow
def test_maclip_cannot_be_exported(tmp_path: Path) -> None:
    scorer = ciq.load("maclip", backbone=frozen(random_reference()))
    with pytest.raises(ValueError, match="scores several views of a picture"):
        ciq.export_scorer(scorer, tmp_path / "m.onnx")
    assert not list(tmp_path.glob("*.onnx*"))


@pytest.mark.slow
def test_qualiclip_on_the_true_architecture(publish: Publish) -> None:
    reference = random_clip("RN50", 3)
    reference.logit_scale.fill_(math.log(100))
    text = close_pairs(1024)
    state = {f"clip_model.{name}": tensor for name, tensor in reference.state_dict().items()}
    publish("qualiclip", "weights", {**state, "prompts_features": text})
    images = pictures([(96, 128), (70, 64)])
    expected = first_of_pairs(100 * image_features(reference, images) @ text.T)
    scorer = ciq.load("qualiclip", device="cpu", image_only=True)
    torch.testing.assert_close(scorer(images), expected, atol=1e-4, rtol=0)
