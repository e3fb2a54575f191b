"""The text pass of a training step, forward and backward, is at least 2.2 times as fast.

Peer: 77 positions of both prompts through nn.MultiheadAttention. Ours: cut at the end of text,
beginning of both prompts computed once, fused attention; --compile and --bf16 add rows for ours
compiled (which takes minutes before the first turn) and with matrix products in bf16.

Run it from the repository root: python benchmarks/text_pass.py --json text_pass.json
"""

from __future__ import annotations

import statistics

import torch
from peers import make_pair
from timing import Row, alternate, compare, flops_of, options, peak_flops, report, roofline
from torch import Tensor


def main() -> None:
    parser = options(__doc__, device=True)
    parser.add_argument("--compile", action="store_true", help="also compiled")
    parser.add_argument("--bf16", action="store_true", help="also in bf16")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    rows = measure("text pass", chosen.quick, chosen.repeats, chosen.device)
    if chosen.compile:
        rows += measure("compiled", chosen.quick, chosen.repeats, chosen.device, compiled=True)
    if chosen.bf16:
        rows += measure("bf16", chosen.quick, chosen.repeats, chosen.device, bf16=True)
    report("Text pass, forward and backward", rows, chosen.json)


def measure(
    what: str, quick: bool, repeats: int, device: str, compiled: bool = False, bf16: bool = False
) -> list[Row]:
    """Time both sides, and set ours beside the peak of the device."""
    ours, peer = make_pair(
        quick, text_precision="bf16" if bf16 else "fp32", compile_text=compiled, device=device
    )
    peer_text = peer.text_features().detach()
    # A fixed direction in place of an image feature: the same gradient for both sides.
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(peer_text.shape, generator=generator).to(device)
    our_ctx = next(ours.prompts.parameters())

    def peer_pass() -> Tensor:
        return torch.autograd.grad((peer.text_features() * direction).sum(), peer.ctx)[0]

    def our_pass() -> Tensor:
        return torch.autograd.grad((ours.text_features()[0] * direction).sum(), our_ctx)[0]

    our_text = ours.text_features()[0].detach().clone()  # a CUDA graph overwrites its results
    times = alternate({"peer": peer_pass, "ours": our_pass}, repeats, device)
    gradient = peer_pass()
    row = compare(
        what,
        times,
        feature_deviation=f"{float((peer_text - our_text).abs().max()):.1e}",
        gradient_deviation=f"{float((gradient - our_pass()).norm() / gradient.norm()):.1e}",
    )
    ours.backbone.compile_text = False  # the count needs torch's own operators
    flops = {"peer": flops_of(peer_pass), "ours": flops_of(our_pass)}
    peaks = {
        "peer": peak_flops(device, torch.float32),
        "ours": peak_flops(device, torch.bfloat16 if bf16 else torch.float32),
    }
    shares = [
        roofline(f"{what}, {side}", flops[side], statistics.median(times[side]), peaks[side])
        for side in times
    ]
    return [row, *shares]


if __name__ == "__main__":
    main()
