"""The text pass of a training step, forward and backward, is at least 2.2 times as fast.

Peer: 77 positions of both prompts through nn.MultiheadAttention. Ours: cut at the end of text,
beginning of both prompts computed once, fused attention.

Run it from the repository root: python benchmarks/text_pass.py --json text_pass.json
"""

from __future__ import annotations

import torch
from peers import make_pair
from timing import alternate, compare, options, report
from torch import Tensor


def main() -> None:
    parser = options(__doc__)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    ours, peer = make_pair(chosen.quick)
    peer_text = peer.text_features().detach()
    our_text = ours.text_features()[0].detach()
    # A fixed direction in place of an image feature: the same gradient for both sides.
    direction = torch.randn(our_text.shape, generator=torch.Generator().manual_seed(0))

    our_ctx = next(ours.prompts.parameters())

    def peer_pass() -> Tensor:
        return torch.autograd.grad((peer.text_features() * direction).sum(), peer.ctx)[0]

    def our_pass() -> Tensor:
        return torch.autograd.grad((ours.text_features()[0] * direction).sum(), our_ctx)[0]

    times = alternate({"peer": peer_pass, "ours": our_pass}, chosen.repeats)
    gradient = peer_pass()
    row = compare(
        "text pass",
        times,
        feature_deviation=f"{float((peer_text - our_text).abs().max()):.1e}",
        gradient_deviation=f"{float((gradient - our_pass()).norm() / gradient.norm()):.1e}",
    )
    report("Text pass, forward and backward", [row], chosen.json)


if __name__ == "__main__":
    main()
