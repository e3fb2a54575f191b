"""Scores and gradients of pyiqa's own CLIP-IQA code and ours, on shared random weights.

pyiqa need not be installed: --pyiqa names a checkout of chaofengc/IQA-PyTorch, whose files
pyiqa/archs/clipiqa_arch.py and clip_model.py are run as they are. They import requests, tqdm and
huggingface_hub. Learned prompts are random, written in pyiqa's two formats and read by our
importer.

Random weights alone give all pictures the same feature and all scores the same value, which would
hide any difference. So the mean feature of the pictures is taken off, and the logit scale is 100,
as in OpenAI's weights: scores then spread over 0 to 1. Gradients are those of a weighted sum of the
scores, in the pictures and in the context tokens; their differences are relative to the largest
entry. "grid instead" is by how much scores would be off if a table were resized as a grid. The last
rows are how far image features in fp16 are from fp32.

The exit code is 1 if anything differs by more than 1e-4. Run it from the repository root:
python benchmarks/parity.py --pyiqa IQA-PyTorch
"""

from __future__ import annotations

import copy
import importlib
import math
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from peers import MEAN, STD, pictures
from timing import Row, options, report
from torch import Tensor, nn

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.image_tower import PosEmbedding
from clipiqa_plus.clip.weights import build_clip, random_clip
from clipiqa_plus.inference.presets import PRESETS
from clipiqa_plus.module import CLIPIQAPlus, PromptConfig

if TYPE_CHECKING:
    from clip.model import CLIP

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Case:
    """One configuration of pyiqa's class, and the name of ours for its positional embedding."""

    name: str
    pos_embedding: PosEmbedding
    contexts: int = 0
    """Contexts that are learned: none, one for both prompts, or one for each."""


CASES = (
    Case("clipiqa", "none"),
    Case("clipiqa", "table"),
    Case("clipiqa+", "none", contexts=1),
    Case("clipiqa+_512", "table", contexts=2),
)


def main() -> int:
    parser = options(__doc__, timed=False)
    parser.add_argument("--pyiqa", type=Path, required=True, help="a checkout of IQA-PyTorch")
    parser.add_argument("--backbones", nargs="+", default=["RN50", "ViT-B/32"])
    parser.add_argument("--sizes", nargs="+", default=["224x224", "512x384", "131x320"])
    parser.add_argument("--pictures", type=int, default=4)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.quick:
        chosen.sizes, chosen.pictures = ["96x128"], 2
    theirs = import_pyiqa(chosen.pyiqa)
    rows = []
    for backbone in chosen.backbones:
        for case in CASES:
            weights = spread(random_clip(backbone, seed=0), case.pos_embedding)
            clip = theirs.build_model(dict(weights.state_dict())).float()  # by way of fp16
            peer, ours = pair(theirs, clip, backbone, case)
            for size in chosen.sizes:
                width, height = map(int, size.split("x"))
                images = pictures(chosen.pictures, width, height)
                rows.append(compare(f"{backbone} {case.name}, {size}", peer, ours, images))
        rows.append(half_precision(theirs, clip, backbone, chosen.pictures))
    report("pyiqa's code against ours, random weights", rows, chosen.json)
    worst = max(float(v) for row in rows for k, v in row.items() if k.endswith("difference"))
    print(f"largest difference {worst:.1e}, tolerance {TOLERANCE:g}")
    return 0 if worst <= TOLERANCE else 1


def import_pyiqa(folder: Path) -> Any:
    """Import pyiqa's clipiqa_arch without pyiqa's __init__, which imports all of its metrics."""
    if not (folder / "pyiqa" / "archs" / "clipiqa_arch.py").is_file():
        raise SystemExit(
            f"{folder}: no pyiqa/archs/clipiqa_arch.py; give a checkout of IQA-PyTorch"
        )
    for name in ("pyiqa", "pyiqa.archs", "pyiqa.utils"):
        package = types.ModuleType(name)
        package.__path__ = [str(folder.joinpath(*name.split(".")))]
        sys.modules[name] = package
    arch: Any = importlib.import_module("pyiqa.archs.clipiqa_arch")
    arch.build_model = importlib.import_module("pyiqa.archs.clip_model").build_model
    return arch


@torch.no_grad()
def spread(clip: CLIP, way: PosEmbedding) -> CLIP:
    """Make features of pictures point apart: take off their mean, in the last bias of the tower."""
    visual = clip.visual
    images = pictures(8, visual.input_resolution, visual.input_resolution, seed=1)
    if way == "none":
        (visual if hasattr(visual, "ln_post") else visual.attnpool).positional_embedding.zero_()
    last = visual.ln_post if hasattr(visual, "ln_post") else visual.attnpool.c_proj
    outputs = []
    hook = last.register_forward_hook(lambda layer, given, output: outputs.append(output))
    features = clip.encode_image((images - MEAN) / STD)
    hook.remove()
    last.bias -= (outputs[0] if outputs else features).mean(dim=0)
    clip.logit_scale.fill_(math.log(100))
    return clip


def pair(theirs: Any, clip: CLIP, backbone: str, case: Case) -> tuple[nn.Module, CLIPIQAPlus]:
    """Return pyiqa's model and ours, of one CLIP and the same prompts."""
    theirs.load = lambda name, device: copy.deepcopy(clip)
    peer = theirs.CLIPIQA(case.name, backbone, False, case.pos_embedding == "table").eval()
    frozen = FrozenCLIP(build_clip(clip.state_dict()), backbone, "0" * 64, case.pos_embedding)
    if not case.contexts:
        pairs = [list(p) for p in PRESETS["clipiqa-pyiqa"].pairs]
        return peer, CLIPIQAPlus(frozen, prompts=PromptConfig("zero_shot", [*pairs])).eval()
    shape = (case.contexts, 16, frozen.width) if case.contexts > 1 else (16, frozen.width)
    generator = torch.Generator().manual_seed(2)
    peer.prompt_learner.ctx = nn.Parameter(0.02 * torch.randn(shape, generator=generator))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "prompts.pth"
        parameters = {"params": peer.state_dict()}
        torch.save(parameters if case.contexts > 1 else peer.prompt_learner.ctx.data, path)
        return peer, CLIPIQAPlus(frozen, prompts=PromptConfig(file=str(path))).eval()


def compare(what: str, peer: nn.Module, ours: CLIPIQAPlus, images: Tensor) -> Row:
    """Compare scores and gradients on pictures [B, 3, H, W] in [0, 1]."""
    learner = getattr(peer, "prompt_learner", None)
    weights = torch.randn(len(images), 1, generator=torch.Generator().manual_seed(3))
    results = []
    for score, ctx in (
        (peer, getattr(learner, "ctx", None)),
        (lambda x: scores_of(ours, ours.backbone, x), getattr(ours.prompts, "ctx", None)),
    ):
        given = images.clone().requires_grad_()
        scores = score(given)
        wanted = [given] if ctx is None else [given, ctx]
        results.append((scores.detach(), *torch.autograd.grad((scores * weights).sum(), wanted)))
    (expected, *their_gradients), (got, *our_gradients) = results
    apart = [
        float((mine.flatten() - other.flatten()).abs().max() / other.abs().max())
        for mine, other in zip(our_gradients, their_gradients, strict=True)
    ]
    way = ours.backbone.pos_embedding
    row = {
        "what": f"{what}, {way}",
        "scores": f"{float(expected.min()):.2f} to {float(expected.max()):.2f}",
        "score difference": f"{float((got - expected).abs().max()):.1e}",
        "gradient difference": f"{max(apart):.1e}",
    }
    clip = ours.backbone
    grid = FrozenCLIP(clip.clip, clip.name, clip.fingerprint, "grid")
    with torch.no_grad():
        off = float((scores_of(ours, grid, images) - expected).abs().max())
    return {**row, "grid instead": f"{off:.1e}" if way == "table" else ""}


@torch.no_grad()
def half_precision(theirs: Any, clip: CLIP, backbone: str, count: int) -> Row:
    """Compare how far features in fp16 are from those in fp32, relative to their length."""
    side = clip.visual.input_resolution
    images = pictures(count, side, side)
    normalised = (images - MEAN) / STD
    exact = F.normalize(clip.encode_image(normalised, False), dim=-1)
    rounded = theirs.build_model(dict(clip.state_dict()))  # in fp16, as the official code runs it
    peer = F.normalize(rounded.encode_image(normalised, False).float(), dim=-1)
    own = build_clip(clip.state_dict())
    ours = FrozenCLIP(own, backbone, "0" * 64, "none", "fp16").encode_image(images)
    off = {"peer": peer - exact, "ours": ours - exact}
    found = {f"{name}, off by": f"{float(o.norm() / exact.norm()):.1e}" for name, o in off.items()}
    return {"what": f"{backbone}, features in fp16", **found}


def scores_of(ours: CLIPIQAPlus, clip: FrozenCLIP, images: Tensor) -> Tensor:
    return ours.score_features(clip.encode_image(images, differentiable=True))


if __name__ == "__main__":
    sys.exit(main())
