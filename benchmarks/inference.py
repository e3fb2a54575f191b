"""How much faster pictures are scored; aims: 1.6 at 512x384, batch 8, and 1.3 at 1024x768.

Peer: openai-clip's image tower in fp32. Ours: BatchNorm folded, channels last, one query in the
attention pool; fp32 and bf16, which pays only on processors with bf16 instructions. Text features
are computed once on both sides. SRCC and deviation compare our scores in that precision with the
peer's, over many random pictures.

Run it from the repository root: python benchmarks/inference.py --json inference.json
"""

from __future__ import annotations

import torch
from peers import make_pair, pictures
from scipy.stats import spearmanr
from timing import Row, alternate, compare, options, report

from clipiqa_plus.backbone import Precision

SIZES = ["224x224x1", "512x384x8", "1024x768x1"]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="width x height x batch")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--pictures", type=int, default=128, help="random pictures for SRCC")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.quick:
        chosen.sizes, chosen.pictures = ["64x64x2"], 8
    rows = [
        measure(precision, size, chosen.repeats, chosen.quick)
        for precision in chosen.precisions
        for size in chosen.sizes
    ]
    rows += [agreement(p, chosen.pictures, chosen.quick) for p in chosen.precisions]
    report("Inference, pictures to scores", rows, chosen.json)


@torch.no_grad()
def measure(precision: Precision, size: str, repeats: int, quick: bool) -> Row:
    """Time both sides at one size."""
    width, height, batch = (int(number) for number in size.split("x"))
    ours, peer = make_pair(quick, precision)
    images = pictures(batch, width, height)
    text = peer.text_features()
    times = alternate(
        {"peer": lambda: peer.score(images, text), "ours": lambda: ours(images)}, repeats
    )
    return compare(f"{precision}, {width}x{height}, batch {batch}", times)


@torch.no_grad()
def agreement(precision: Precision, count: int, quick: bool) -> Row:
    """Compare the scores of both sides over pictures of 224x224."""
    ours, peer = make_pair(quick, precision)
    text = peer.text_features()
    scores = []
    for start in range(0, count, 8):
        images = pictures(min(8, count - start), 224, 224, seed=start)
        scores.append(torch.cat([peer.score(images, text), ours(images)], dim=1))
    theirs, mine = torch.cat(scores).double().unbind(dim=1)
    return {
        "what": f"{precision}, {count} scores against the peer's fp32",
        "SRCC": round(float(spearmanr(theirs, mine).statistic), 6),
        "largest deviation": f"{float((theirs - mine).abs().max()):.1e}",
        "standard deviation of scores": f"{float(theirs.std()):.1e}",
    }


if __name__ == "__main__":
    main()
