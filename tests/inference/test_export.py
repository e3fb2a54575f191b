"""Exported files against openai-clip's parts and the Scorer, run without this package."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from hashlib import sha256
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

import clipiqa_plus as ciq
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.weights import import_clip, random_clip
from clipiqa_plus.commands.main import main
from clipiqa_plus.inference import export
from clipiqa_plus.inference.export import LEAST_TORCH, can_export, export_scorer
from clipiqa_plus.inference.scorer import Scorer
from clipiqa_plus.module import CLIPIQAPlus, PromptConfig
from clipiqa_plus.prompts.scales import PAIRS
from tests.support.models import SMALL_RESNET, SMALL_VIT, small_clip
from tests.support.reference_scores import pictures, scores_by_hand

needs_torch = pytest.mark.skipif(not can_export(), reason=f"export needs torch {LEAST_TORCH}")
NAMES = ["quality", "sharpness"]
WORDS = [word for name in NAMES for word in PAIRS[name]]
ODD = [(65, 97), (200, 131), (129, 321)]


def small_scorer(kind: str) -> Scorer:
    """Two pairs: a regressor on a ResNet whose positional embedding is a table, or a ViT."""
    clip = small_clip("grid" if kind == "vit" else "table", vit=kind == "vit")
    reduction: Any = "none" if kind == "vit" else "regressor"
    prompts = PromptConfig(mode="zero_shot", pairs=list(NAMES))
    model = CLIPIQAPlus(clip, prompts=prompts, reduction=reduction)
    if model.regressor is not None:
        torch.nn.init.constant_(model.regressor.bias, 0.25)
        with torch.no_grad():
            model.regressor.weight.copy_(torch.tensor([[3.0, -1.0]]))
    return Scorer(model, "mine").eval()


@cache  # torch.export.load takes seconds
def opened(path: Path) -> Callable[[Tensor], Tensor]:
    """What a program does that does not know this package."""
    if path.suffix == ".pt2":
        return torch.export.load(path).module()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["scores"], {"images": images.numpy()})[0])


def unit(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope="module", params=["resnet", "vit"])
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Scorer, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    scorer = small_scorer(request.param)
    export_scorer(scorer, folder / "m.onnx")
    export_scorer(scorer, folder / "m.pt2", "pt2")
    return request.param, scorer, folder


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize("name", ["m.onnx", "m.pt2"])
def test_scores_of_any_size_and_batch(exported: tuple[str, Scorer, Path], name: str) -> None:
    _, scorer, folder = exported
    run = opened(folder / name)
    images = [unit(image) for image in pictures(ODD)]
    got = torch.cat([run(image) for image in images])
    expected = scorer([image[0] for image in images])
    assert float(expected.std(dim=0).min()) > 1e-3  # else constants would pass
    # fp32 in another order of summation; the promise to users is 1e-4.
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    batch = torch.cat([images[0], images[0].flip(3), images[0] / 2])
    torch.testing.assert_close(run(batch), scorer(batch), atol=1e-5, rtol=0)


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize("name", ["m.onnx", "m.pt2"])
def test_scores_are_those_of_openai_clip(exported: tuple[str, Scorer, Path], name: str) -> None:
    kind, _, folder = exported
    reference = random_clip(SMALL_VIT if kind == "vit" else SMALL_RESNET, 0)
    images = pictures([(64, 64)] * 3)  # it takes the size of its positional embedding alone
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    batch = torch.cat([(unit(image) - mean) / std for image in images])
    with torch.no_grad():
        logits = reference(batch, import_clip().tokenize(WORDS))[0]
    expected = logits.unflatten(1, (-1, 2)).softmax(dim=-1)[..., 0]
    if kind == "resnet":
        expected = 0.25 + expected @ torch.tensor([[3.0], [-1.0]])
    run = opened(folder / name)
    got = torch.cat([run(unit(image)) for image in images])
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


@needs_torch
@pytest.mark.slow
def test_the_card_and_the_file_say_what_was_exported(exported: tuple[str, Scorer, Path]) -> None:
    kind, scorer, folder = exported
    assert {path.name for path in folder.iterdir()} == {
        "m.onnx",
        "m.onnx.json",
        "m.pt2",
        "m.pt2.json",
    }
    card = json.loads((folder / "m.onnx.json").read_text())
    assert card["file_sha256"] == sha256((folder / "m.onnx").read_bytes()).hexdigest()
    assert scorer.settings.items() <= card.items()
    assert card["preset"] == "mine"
    assert card["pos_embedding"] == ("grid" if kind == "vit" else "table")
    assert card["output"]["scores"] == scorer.names
    sizes = {(check["height"], check["width"]) for check in card["checked"]}
    assert len(sizes) >= 3
    assert any(height % 2 and width % 2 and height != width for height, width in sizes)
    assert 0 <= card["largest_deviation"] <= card["tolerance"] == 1e-4
    assert card["largest_deviation"] == max(c["largest_deviation"] for c in card["checked"])
    model = onnx.load(folder / "m.onnx")
    assert card["opset"] == model.opset_import[0].version
    assert json.loads(model.metadata_props[0].value) == scorer.settings
    axes = [
        axis.dim_param or axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim
    ]
    assert axes == card["input"]["shape"]
    extra = {"clipiqa_plus.json": ""}
    torch.export.load(folder / "m.pt2", extra_files=extra)
    assert json.loads(extra["clipiqa_plus.json"]) == scorer.settings


@pytest.mark.slow
@needs_torch
def test_the_least_side_is_taken_and_a_smaller_one_refused(
    exported: tuple[str, Scorer, Path],
) -> None:
    _, scorer, folder = exported
    least = json.loads((folder / "m.pt2.json").read_text())["input"]["least_side"]
    run = opened(folder / "m.pt2")
    images = torch.rand(1, 3, least, least, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(run(images), scorer(images), atol=1e-5, rtol=0)
    with pytest.raises((AssertionError, RuntimeError), match=f">= {least}"):
        run(images[..., 1:])


@needs_torch
@pytest.mark.slow
def test_what_deviates_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = small_scorer("vit")
    right = scorer.score_images
    monkeypatch.setattr(scorer, "score_images", lambda images: right(images) + 2e-4)
    (tmp_path / "m").write_text("from before")
    with pytest.raises(RuntimeError, match=r"m: its scores differ .* by up to 0\.0002.*nothing is"):
        export_scorer(scorer, tmp_path / "m")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["from before"]
    monkeypatch.setattr(
        export, "_write_onnx", lambda *_: (lambda images: images[:, 0, 0, :2] * nan, {})
    )
    with pytest.raises(RuntimeError, match="nothing is written"):
        export_scorer(scorer, tmp_path / "m")


def test_an_older_torch_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.12.1+cpu")
    with pytest.raises(ImportError, match=rf"torch {LEAST_TORCH} or newer, and this is 2\.12\.1"):
        export_scorer(small_scorer("resnet"), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@needs_torch
def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[export\]'"):
        export_scorer(small_scorer("vit"), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_unknown_format_and_half_precision_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="format 'tflite'; choose from onnx, pt2"):
        export_scorer(small_scorer("vit"), tmp_path / "m", "tflite")  # type: ignore[arg-type]
    clip = FrozenCLIP(random_clip(SMALL_RESNET, 0), "half", "0" * 64, precision="bf16")
    model = CLIPIQAPlus(clip, prompts=PromptConfig(mode="zero_shot"))
    with pytest.raises(ValueError, match="bf16 on cpu; export needs fp32"):
        export_scorer(Scorer(model, "mine"), tmp_path / "m")


@needs_torch
@pytest.mark.slow
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "demo.pt2"
    assert main(["export", "--backbone", "demo", "--format", "pt2", "--out", str(out)]) == 0
    assert f"card in {out}.json" in capsys.readouterr().out
    images = pictures([(90, 131), (64, 200)])
    expected = ciq.score(images, backbone="demo", device="cpu")
    assert [float(opened(out)(unit(i))) for i in images] == pytest.approx(expected, abs=1e-5)
    assert main(["export", "--preset", "best", "--out", str(out)]) == 1
    assert "unknown preset 'best'" in capsys.readouterr().err


@needs_torch
@pytest.mark.slow
def test_rn50_equals_openai_clip(tmp_path: Path) -> None:
    reference = random_clip("RN50", seed=3)
    scorer = ciq.load("clipiqa", backbone=FrozenCLIP(deepcopy(reference), "RN50", "0" * 64))
    export_scorer(scorer, tmp_path / "rn50.onnx")
    images = pictures([(97, 64), (65, 129), (96, 96)])
    expected = scores_by_hand(reference, images, ["Good photo.", "Bad photo."])
    assert float(expected.std()) > 1e-3  # else any constant would pass
    run = opened(tmp_path / "rn50.onnx")
    got = torch.cat([run(unit(image)) for image in images])
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)  # the promise to users


@pytest.mark.slow
@needs_torch
@pytest.mark.parametrize("format", ["onnx", "pt2"])
def test_a_scale_with_grades_of_its_own(tmp_path: Path, format: Any) -> None:
    clip = small_clip("none")
    words, grades = ["Sharp photo.", "Soft photo.", "Blurry photo."], [1.0, 0.7, 0.1]
    scorer = ciq.load(backbone=clip, device="cpu", scales=[words], grades=grades)
    card = json.loads(export_scorer(scorer, tmp_path / f"m.{format}", format).read_text())
    assert (card["pairs"], card["grades"]) == ([words], grades)
    assert card["output"]["scores"] == ["score"]
    images = torch.cat([unit(image) for image in pictures([(70, 90)] * 3)])
    got = opened(tmp_path / f"m.{format}")(images)
    # fp32 in another order of summation; the promise to users is 1e-4.
    torch.testing.assert_close(got, scorer(images), atol=1e-5, rtol=0)
