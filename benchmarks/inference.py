"""How much faster pictures are scored; aims: 1.6 at 512x384, batch 8, and 1.3 at 1024x768.

Peer: openai-clip's image tower in fp32. Ours: BatchNorm folded, channels last, convolutions fused
with what follows them, one query in the attention pool; fp32 and bf16, which pays only on
processors with bf16 instructions. Text features are computed once on both sides. Scores are
compared in two ways: ours with the peer's, over random pictures; and, by the demo backbone that is
trained, ours in each precision with ours in fp32, over the demo's photographs. --sweep adds many
sizes, to show that ours is at none of them slower.

Run it from the repository root: python benchmarks/inference.py --json inference.json
"""

from __future__ import annotations

import statistics
from pathlib import Path

import torch
import torch.nn.functional as F
from peers import make_pair, pictures
from scipy.stats import spearmanr
from timing import Row, alternate, compare, flops_of, options, peak_flops, report, roofline
from torch import Tensor
from torchvision.io import ImageReadMode, read_image

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.image_tower import Precision
from clipiqa_plus.module import CLIPIQAPlus, PromptConfig

SIZES = ["224x224x1", "512x384x8", "1024x768x1"]
SWEEP = [f"{size}x{batch}" for size in ("32x32", "64x64", "224x224", "384x384") for batch in (1, 8)]
SWEEP += ["512x384x1", "1024x768x8"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
DEMO = Path(__file__).parents[1] / "data" / "demo"


def main() -> None:
    parser = options(__doc__, device=True)
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="width x height x batch")
    parser.add_argument("--sweep", action="store_true", help="many more sizes")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--pictures", type=int, default=128, help="random pictures for SRCC")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.quick:
        chosen.sizes, chosen.pictures = ["64x64x2"], 8
    if chosen.sweep:
        chosen.sizes = [*chosen.sizes, *SWEEP]
    rows = []
    for precision in chosen.precisions:
        for size in chosen.sizes:
            rows += measure(precision, size, chosen.repeats, chosen.quick, chosen.device)
    for precision in chosen.precisions:
        rows.append(agreement(precision, chosen.pictures, chosen.quick, chosen.device))
        rows.append(trained_agreement(precision, chosen.quick, chosen.device))
    report("Inference, pictures to scores", rows, chosen.json)


@torch.no_grad()
def measure(precision: Precision, size: str, repeats: int, quick: bool, device: str) -> list[Row]:
    """Time both sides at one size, and set ours beside the peak of the device."""
    width, height, batch = (int(number) for number in size.split("x"))
    ours, peer = make_pair(quick, precision, device=device)
    images = pictures(batch, width, height).to(device)
    text = peer.text_features()
    times = alternate(
        {"peer": lambda: peer.score(images, text), "ours": lambda: ours(images)}, repeats, device
    )
    what = f"{precision}, {width}x{height}, batch {batch}"
    row = compare(what, times)
    seconds = statistics.median(times["ours"])
    row["ours, pictures/s"] = round(batch / seconds, 2)
    ours.backbone._fused = None  # the count needs torch's own operators; the sums are the same
    flops = flops_of(lambda: ours(images))
    return [row, roofline(what, flops, seconds, peak_flops(device, DTYPES[precision]))]


@torch.no_grad()
def agreement(precision: Precision, count: int, quick: bool, device: str) -> Row:
    """Compare the scores of both sides over random pictures of 224x224."""
    ours, peer = make_pair(quick, precision, device=device)
    text = peer.text_features()
    scores = []
    for start in range(0, count, 8):
        images = pictures(min(8, count - start), 224, 224, seed=start).to(device)
        scores.append(torch.cat([peer.score(images, text), ours(images)], dim=1))
    theirs, mine = torch.cat(scores).double().cpu().unbind(dim=1)
    return _agreement(f"{precision}, {count} random pictures against the peer's fp32", theirs, mine)


@torch.no_grad()
def trained_agreement(precision: Precision, quick: bool, device: str) -> Row:
    """Compare scores of the trained demo backbone with its own fp32, over crops of photographs.

    Each photograph gives crops at its own scale and, blurred by halving, at coarser ones, so that
    the scores have the spread that a rank correlation needs.
    """
    exact, rough = (
        CLIPIQAPlus(
            FrozenCLIP.from_name("demo", precision=p), prompts=PromptConfig(mode="zero_shot")
        ).to(device)
        for p in ("fp32", precision)
    )
    photographs = sorted(DEMO.glob("*.jpg"))[: 2 if quick else None]
    images = torch.cat([crops(read_image(str(path), ImageReadMode.RGB)) for path in photographs])
    found = [
        torch.cat([model(part.to(device)) for part in images.split(16)])[:, 0].double().cpu()
        for model in (exact, rough)
    ]
    return _agreement(f"{precision}, {len(images)} crops, demo backbone, against its fp32", *found)


def crops(image: Tensor, side: int = 96, scales: int = 3, rows: int = 3) -> Tensor:
    """Return evenly spaced crops of a photograph uint8 [3, H, W], sharp and blurred: [N, 3, S, S].

    Blurred ones are made by shrinking to a half, a quarter, ... and enlarging again.
    """
    found = []
    for scale in range(scales):
        x = image[None].float()
        small = F.interpolate(x, scale_factor=0.5**scale, mode="area")
        x = F.interpolate(small, image.shape[1:], mode="bilinear").round().clamp(0, 255).byte()
        tops = torch.linspace(0, image.shape[1] - side, rows).int().tolist()
        lefts = torch.linspace(0, image.shape[2] - side, rows).int().tolist()
        found += [x[..., top : top + side, left : left + side] for top in tops for left in lefts]
    return torch.cat(found)


def _agreement(what: str, exact: Tensor, found: Tensor) -> Row:
    return {
        "what": what,
        "SRCC": round(float(spearmanr(exact, found).statistic), 6),
        "largest deviation": f"{float((exact - found).abs().max()):.1e}",
        "standard deviation of scores": f"{float(exact.std()):.1e}",
    }


if __name__ == "__main__":
    main()
