"""What each choice between a picture and its CLIP-IQA score does to the scores.

Packages that score by CLIP-IQA differ in prompts, size, colour order, precision and positional
embedding. Here one choice at a time is changed, with the same backbone and the same pictures: the
test part of the demo benchmark, 8 photographs under 8 distortions at 4 levels, 320x240. The
reference is the preset clipiqa, and for the filters its scores of pictures that Pillow shrank.
"SRCC, both" compares the two ways, "SRCC, MOS" each of them with the demo's MOS. Floats in 0 to 255
have no row: they are refused.

Run it from the repository root: python benchmarks/score_differences.py --threads 1
The demo backbone is a small CLIP that this project trained; for OpenAI's: --backbone RN50.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.stats import spearmanr
from timing import Row, options, report
from torch import Tensor

from clipiqa_plus import PRESETS
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.image_tower import PosEmbedding, Precision
from clipiqa_plus.data import DemoIQA
from clipiqa_plus.data.images import RGBImage
from clipiqa_plus.data.transforms import resize
from clipiqa_plus.inference.presets import AntonymPairs
from clipiqa_plus.module import CLIPIQAPlus, PromptConfig

CROP = 224  # what CLIP was trained on, and what its usual preprocessing cuts out


def own_size(image: RGBImage) -> RGBImage:
    return image


def bgr(image: RGBImage) -> RGBImage:
    return image[..., ::-1].copy()


def short_side(image: RGBImage, size: int) -> RGBImage:
    return resize(image, size)


def centre_crop(image: RGBImage) -> RGBImage:
    image = resize(image, CROP)
    top, left = ((side - CROP) // 2 for side in image.shape[:2])
    return image[top : top + CROP, left : left + CROP].copy()


def half_pillow(image: RGBImage) -> RGBImage:
    return resize(image, [image.shape[0] // 2, image.shape[1] // 2])


def half_opencv(image: RGBImage) -> RGBImage:
    half = (image.shape[1] // 2, image.shape[0] // 2)
    return np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def half_torch(image: RGBImage, antialias: bool) -> RGBImage:
    """Shrink as torchvision does on tensors, whose ``resize`` calls this function."""
    half = (image.shape[0] // 2, image.shape[1] // 2)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    small = F.interpolate(batch, half, mode="bicubic", antialias=antialias)[0]
    return small.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()


@dataclass(frozen=True)
class Way:
    """One way from pictures to scores; by default that of the preset clipiqa."""

    view: Callable[[RGBImage], RGBImage] = own_size
    pairs: AntonymPairs = PRESETS["clipiqa"].pairs
    pos_embedding: PosEmbedding = "none"
    precision: Precision = "fp32"


PAPER = Way()
HALF = Way(half_pillow)
POSITIONS = "positional embedding (grid), not none"
TABLE = "positional embedding: table, not grid"
COMPARED: dict[str, tuple[Way, Way]] = {
    "five-pair mean, not the single pair": (PAPER, Way(pairs=PRESETS["clipiqa-pyiqa"].pairs)),
    POSITIONS: (PAPER, Way(pos_embedding="grid")),
    TABLE: (Way(pos_embedding="grid"), Way(pos_embedding="table")),
    "short side 224, centre crop": (PAPER, Way(centre_crop)),
    "short side 512": (PAPER, Way(partial(short_side, size=512))),
    "half size": (PAPER, HALF),
    "BGR, not RGB": (PAPER, Way(bgr)),
    "one more full stop": (PAPER, Way(pairs=(("Good photo..", "Bad photo.."),))),
    "fp16 image tower": (PAPER, Way(precision="fp16")),
    "bf16 image tower": (PAPER, Way(precision="bf16")),
    "half size: OpenCV bicubic, not Pillow's": (HALF, Way(half_opencv)),
    "half size: torch bicubic, no antialias": (HALF, Way(partial(half_torch, antialias=False))),
    "half size: torch bicubic, antialias": (HALF, Way(partial(half_torch, antialias=True))),
}
"""By what is changed: the reference and the other way."""


def main() -> None:
    parser = options(__doc__, timed=False)
    parser.add_argument("--backbone", default="demo", help="name or weights file of a ResNet CLIP")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    images, mos = demo_pictures(every=24 if chosen.quick else 1)
    compared = dict(COMPARED)
    if not FrozenCLIP.from_name(chosen.backbone).clip.visual.attnpool.positional_embedding.any():
        del compared[POSITIONS], compared[TABLE]
        print(f"{chosen.backbone} was trained without positional embedding: nothing to compare")
    ways = {way for pair in compared.values() for way in pair}
    scores = {way: score(way, images, chosen.backbone) for way in ways}
    rows = [
        difference(what, scores[reference], scores[other], mos)
        for what, (reference, other) in compared.items()
    ]
    report(f"{chosen.backbone}, {len(images)} pictures", rows, chosen.json)


def demo_pictures(every: int) -> tuple[list[RGBImage], NDArray[np.float64]]:
    """Return pictures of the demo's test part and their MOS."""
    data = DemoIQA(num_workers=0)
    data.setup()
    rows = data.rows("test")[::every]
    return [data.reader()(row) for row in rows], data.mos[rows, 0].double().numpy()


@torch.no_grad()
def score(way: Way, images: Sequence[RGBImage], backbone: str) -> NDArray[np.float64]:
    """Score pictures in one way: float64 [N]."""
    clip = FrozenCLIP.from_name(backbone, way.pos_embedding, way.precision)
    pairs = [pair if isinstance(pair, str) else list(pair) for pair in way.pairs]
    model = CLIPIQAPlus(clip, prompts=PromptConfig(mode="zero_shot", pairs=pairs)).eval()
    views = [_tensor(way.view(image)) for image in images]
    chunks = [model(views[i : i + 8]) for i in range(0, len(views), 8)]
    return torch.cat(chunks)[:, 0].double().numpy()


def _tensor(image: RGBImage) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)


def difference(
    what: str,
    reference: NDArray[np.float64],
    other: NDArray[np.float64],
    mos: NDArray[np.float64],
) -> Row:
    """Compare two ways."""
    apart = np.abs(other - reference)
    return {
        "what": what,
        "mean |difference|": _rounded(apart.mean()),
        "largest": _rounded(apart.max()),
        "SRCC, both": round(float(spearmanr(reference, other).statistic), 4),
        "SRCC, MOS: reference": round(float(spearmanr(reference, mos).statistic), 3),
        "SRCC, MOS: changed": round(float(spearmanr(other, mos).statistic), 3),
    }


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")


if __name__ == "__main__":
    main()
