"""A training step on cached features is 300 times as fast at 512x384, 800 times at 1024x768.

Peer: encodes the 64 pictures of the batch in each step, then 77 positions of text, loss, gradient
and SGD. Ours: selects 64 cached features, then the same. Pictures are in memory on both sides:
decoding them, which ours does once, is not counted. The peer's encoding is measured on a smaller
batch (--encode) and scaled linearly to 64; all else is measured at 64.

The whole official recipe is put together from these parts: 80,000 steps, and for ours also the
encoding of both views of KonIQ-10k's 7,058 training pictures.

Run it from the repository root: python benchmarks/training_step.py --json training_step.json
"""

from __future__ import annotations

import statistics

import numpy as np
import torch
from peers import make_pair, pictures
from timing import Row, alternate, compare, options, report
from torch import Tensor

from clipiqa_plus.features.table import FeatureTable

STEPS, TRAINING_PICTURES, VIEWS = 80_000, 7_058, 2


def main() -> None:
    parser = options(__doc__, device=True)
    parser.add_argument("--sizes", nargs="+", default=["512x384", "1024x768"])
    parser.add_argument("--batch", type=int, default=64, help="pictures of a step")
    parser.add_argument("--encode", type=int, default=2, help="pictures that are really encoded")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.quick:
        chosen.sizes, chosen.repeats = ["64x64"], 2
    rows = []
    for size in chosen.sizes:
        rows += measure(
            size, chosen.batch, chosen.encode, chosen.repeats, chosen.quick, chosen.device
        )
    report("Training", rows, chosen.json)


def measure(
    size: str, batch: int, encode: int, repeats: int, quick: bool, device: str
) -> list[Row]:
    """Time the parts of a step at one size, and put the whole recipe together."""
    width, height = (int(number) for number in size.split("x"))
    ours, peer = make_pair(quick, device=device)
    images = pictures(encode, width, height).to(device)
    mos = torch.rand(batch, 1, device=device)
    views = torch.zeros(batch, dtype=torch.long)
    stored = torch.nn.functional.normalize(torch.randn(batch, VIEWS, ours.backbone.dim), dim=-1)
    table = FeatureTable(stored, np.arange(batch)).to(device)
    stored = stored.to(device)
    peer_sgd = torch.optim.SGD([peer.ctx], lr=0.002)
    our_sgd = torch.optim.SGD(ours.prompts.parameters(), lr=0.002)

    def learn(optimizer: torch.optim.Optimizer, scores: Tensor) -> None:
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(scores, mos).backward()
        optimizer.step()

    times = alternate(
        {
            "peer encodes": lambda: peer.image_features(images),
            "peer learns": lambda: learn(
                peer_sgd, peer.score_features(stored[:, 0], peer.text_features())
            ),
            "ours": lambda: learn(our_sgd, ours.score_features(table(torch.arange(batch), views))),
            "ours encodes": lambda: ours.backbone.encode_image(images),
        },
        repeats,
        device,
    )
    scale = batch / encode
    peer_step = [
        scale * encoding + learning
        for encoding, learning in zip(times["peer encodes"], times["peer learns"], strict=True)
    ]
    step = compare(
        f"step, batch {batch}, {size}",
        {"peer": peer_step, "ours": times["ours"]},
        scaled=f"encoding x {scale:g}",
    )
    encode_all = TRAINING_PICTURES * VIEWS / encode * statistics.median(times["ours encodes"])
    theirs = STEPS * statistics.median(peer_step)
    mine = encode_all + STEPS * statistics.median(times["ours"])
    recipe = {
        "what": f"recipe of {STEPS:,} steps, {size}, from parts",
        "peer, h": round(theirs / 3600, 2),
        "ours, h": round(mine / 3600, 2),
        "of it encoding, h": round(encode_all / 3600, 2),
        "ratio": round(theirs / mine, 1),
    }
    return [step, recipe]


if __name__ == "__main__":
    main()
