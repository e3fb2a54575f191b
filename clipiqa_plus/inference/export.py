"""Export of a preset to one file that scores without this package: ONNX or torch.export.

The file holds the image tower, the text features as constants, logit scale, softmax and reduction,
for any batch, height and width. It is written only if its scores match PyTorch's, together with a
JSON card.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from copy import deepcopy
from importlib import metadata
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
import torch.nn.functional as F
from packaging.version import Version
from torch import Tensor, nn

from clipiqa_plus.clip.image_tower import encode_normalised
from clipiqa_plus.data.fetch.download import sha256_of
from clipiqa_plus.inference.scorer import Scorer

if TYPE_CHECKING:
    from torch.export import ExportedProgram

Format = Literal["onnx", "pt2"]

TOLERANCE = 1e-4
"""Largest allowed difference between a score of the file and PyTorch's."""

LEAST_TORCH = "2.14"
"""Oldest torch with which exported scores were checked; 2.12 fixes the size of the pictures."""

_PACKAGES = {"onnx": ("torch", "onnx", "onnxscript", "onnxruntime"), "pt2": ("torch",)}
_INPUT, _OUTPUT = "images", "scores"
_CONTENT = (
    "RGB in [0, 1] (uint8 divided by 255), equal sizes within a batch, at native size: neither "
    "resized nor normalised (the file subtracts CLIP's mean itself)"
)
_UNCHECKED = (
    "the range [0, 1] and the channel order: a wrong input gets a wrong score, not an error; an "
    "ONNX file does not check the minimum side either"
)


class ScoringProgram(nn.Module):
    """The exported module: a Scorer without its checks, and with its image tower registered.

    Args:
        scorer: Any scorer; its image tower is copied.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.scorer = scorer
        # Channels-last weights would be stored with strides that other programs do not expect.
        visual = deepcopy(scorer.backbone.clip.visual)
        self.visual = visual.to(memory_format=torch.contiguous_format)
        self.pos_embedding = scorer.backbone.pos_embedding
        conventions = scorer.backbone.conventions
        self.register_buffer("mean", torch.tensor(conventions.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(conventions.std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return scores, float32 [B, T], of pictures, float32 [B, 3, H, W] in [0, 1]."""
        features = encode_normalised(
            self.visual, (images - self.mean) / self.std, self.pos_embedding
        )
        return self.scorer.score_features(F.normalize(features, dim=-1))


def export_scorer(scorer: Scorer, path: str | PathLike[str], format: Format = "onnx") -> Path:
    """Write a preset as one file, with a card ``<path>.json`` beside it.

    The file maps ``images``, float32 [B, 3, H, W], RGB in [0, 1], to ``scores``, float32 [B, T].
    Each side of a picture must cover at least two cells of the image tower's grid: 64 pixels for
    ResNets, two patches for ViTs.

    Args:
        scorer: From :func:`clipiqa_plus.load`, on the CPU.
        path: File to write; it and its card are replaced only after the file has been checked.
        format: ``onnx``, checked with ONNX Runtime; or ``pt2``, for ``torch.export.load`` (load
            only files that you trust: it unpickles).

    Returns:
        The path of the card.

    Raises:
        ValueError: If the format is unknown, the scorer is not on the CPU in fp32, or it scores
            several views of a picture.
        RuntimeError: If the file's scores differ from PyTorch's by more than :data:`TOLERANCE`.
        ImportError: If torch is older than :data:`LEAST_TORCH`, or a package that ONNX needs is
            missing.
    """
    if format not in get_args(Format):
        raise ValueError(f"format {format!r}; choose from {', '.join(get_args(Format))}")
    clip = scorer.backbone
    if clip.device.type != "cpu" or clip.precision != "fp32":
        raise ValueError(
            f"the scorer is in {clip.precision} on {clip.device}; export needs fp32 on the CPU: "
            "load(preset, device='cpu')"
        )
    if scorer.conditions.views is not None:
        raise ValueError(
            f"{scorer.settings['preset']} scores several views of a picture "
            f"({scorer.conditions.views.name}); an exported file scores the picture itself"
        )
    if not hasattr(clip.clip.visual, "input_resolution"):
        raise ValueError(f"{clip.name}: export takes models of openai-clip's layout only")
    if not can_export():
        raise ImportError(
            f"export needs torch {LEAST_TORCH} or newer, and this is {torch.__version__}; older "
            f"ones fix the size of the pictures. pip install 'torch>={LEAST_TORCH}' torchvision"
        )
    path = Path(path)
    card_path = path.with_name(f"{path.name}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part.{format}")
    unfinished_card = unfinished.with_suffix(".json")
    write = _write_onnx if format == "onnx" else _write_pt2
    try:
        with torch.no_grad():
            run, facts = write(scorer, unfinished)
            checks = _compare(scorer, run)
        largest = max(check["largest_deviation"] for check in checks)
        if not all(check["largest_deviation"] <= TOLERANCE for check in checks):  # NaN too
            raise RuntimeError(
                f"{path}: its scores differ from PyTorch's by up to {largest:.2g}, more than "
                f"{TOLERANCE:g}; nothing is written"
            )
        facts |= {"file": path.name, "file_sha256": sha256_of(unfinished), "format": format}
        facts |= {"largest_deviation": largest, "checked": checks}
        facts["versions"] = {name: metadata.version(name) for name in _PACKAGES[format]}
        card = {**facts, **_contract(scorer)}
        unfinished_card.write_text(json.dumps(card, indent=2) + "\n")
        os.replace(unfinished_card, card_path)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
        unfinished_card.unlink(missing_ok=True)
    return card_path


def _contract(scorer: Scorer) -> dict[str, Any]:
    """Facts for users of the file: settings of the scores, input and output."""
    return {
        **scorer.settings,
        "input": {
            "name": _INPUT,
            "type": "float32",
            "shape": ["batch", 3, "height", "width"],
            "least_side": least_side(scorer),
            "content": _CONTENT,
        },
        "output": {
            "name": _OUTPUT,
            "type": "float32",
            "shape": ["batch", len(scorer.names)],
            "scores": scorer.names,
        },
        "not_checked": _UNCHECKED,
        "tolerance": TOLERANCE,
    }


def least_side(scorer: Scorer) -> int:
    """Minimum side in pixels of a picture for the exported program: two cells of the grid.

    torch.export specialises axes of length one, so a grid one cell wide would need another program.
    """
    return 2 * scorer.backbone.least_size


def can_export() -> bool:
    """Return whether the installed torch exports programs for pictures of any size."""
    return Version(torch.__version__) >= Version(LEAST_TORCH)


def _trace(scorer: Scorer) -> ExportedProgram:
    least = least_side(scorer)
    dim = torch.export.Dim
    axes = {0: dim("batch"), 2: dim("height", min=least), 3: dim("width", min=least)}
    example = torch.zeros(2, 3, least + 1, 2 * least + 3)
    return torch.export.export(ScoringProgram(scorer).eval(), (example,), dynamic_shapes=(axes,))


Runner = Callable[[Tensor], Tensor]


def _write_pt2(scorer: Scorer, path: Path) -> tuple[Runner, dict[str, Any]]:
    settings = json.dumps(scorer.settings)
    torch.export.save(_trace(scorer), path, extra_files={"clipiqa_plus.json": settings})
    return torch.export.load(path).module(), {}


def _write_onnx(scorer: Scorer, path: Path) -> tuple[Runner, dict[str, Any]]:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 (used by torch.onnx)
    except ImportError as error:
        raise ImportError(f"ONNX files need {error.name}: pip install '.[export]'") from error

    program = torch.onnx.export(
        _trace(scorer),
        dynamo=True,
        input_names=[_INPUT],
        output_names=[_OUTPUT],
        dynamic_shapes=({0: "batch", 2: "height", 3: "width"},),  # their names in the file
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props["clipiqa_plus"] = json.dumps(scorer.settings)
    program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {_INPUT: images.numpy()})[0])

    return run, {"opset": program.model.opset_imports[""]}


def _compare(scorer: Scorer, run: Runner) -> list[dict[str, Any]]:
    """Compare the file with the scorer at the native size, an odd size and the minimum size."""
    native = int(scorer.backbone.clip.visual.input_resolution)
    least = least_side(scorer)
    sizes = [(2, native, native), (1, 2 * native - 3, native + 35), (3, least, 2 * least + 3)]
    checks = []
    for count, height, width in sizes:
        images = _pictures(count, height, width)
        deviation = (run(images) - scorer.score_images(images)).abs().max()
        size = {"batch": count, "height": height, "width": width}
        checks.append({**size, "largest_deviation": float(deviation)})
    return checks


def _pictures(count: int, height: int, width: int) -> Tensor:
    """Random pictures that differ in colour, brightness and noise: [B, 3, H, W] in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    coarse = F.interpolate(torch.rand(count, 3, 4, 5, generator=generator), (height, width))
    noise = torch.randn(count, 3, height, width, generator=generator)
    return (coarse + 0.3 * torch.rand(count, 1, 1, 1, generator=generator) * noise).clamp(0, 1)
