"""Prompts by L-BFGS over the whole training part, against Adam on batches: passes, seconds, SRCC.

Both sides learn on the same features of KonIQ-10k's size, 7,058 pictures in two views to train and
1,000 to validate, whose MOS a hidden context plants, with noise. The text tower is RN50's, of
random weights. Adam takes batches of 64 by the ordinary step; L-BFGS takes the whole part. Seconds
are those of a clock and of the processor: the latter hold on a busy machine too. What the official
recipe of 80,000 steps costs is put together from the measured step of a batch.

--parts fits measures 16 contexts fitted at once against one after the other.

Run it from the repository root: python benchmarks/second_order.py --json second_order.json
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from peers import TOY
from timing import Row, options, report
from torch import Tensor

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.weights import random_clip
from clipiqa_plus.losses import mse
from clipiqa_plus.metrics.functional import srcc
from clipiqa_plus.module import CLIPIQAPlus
from clipiqa_plus.prompts.config import PromptConfig
from clipiqa_plus.prompts.sources import ContextPrompts
from clipiqa_plus.training.fits import Fit, Fitted, fit_contexts

PICTURES, VIEWS, VALIDATION, OFFICIAL_STEPS, BATCH = 7_058, 2, 1_000, 80_000, 64


@dataclass
class Planted:
    """Features [N, D] and the MOS [N, 1] that a hidden context gives them, with noise."""

    train: Tensor
    train_mos: Tensor
    val: Tensor
    val_mos: Tensor


@dataclass
class Clock:
    """Seconds of a clock and of the processor since it was made."""

    wall: float = field(default_factory=time.perf_counter)
    cpu: float = field(default_factory=time.process_time)

    def seconds(self) -> tuple[float, float]:
        """Return both so far."""
        return time.perf_counter() - self.wall, time.process_time() - self.cpu


def main() -> None:
    parser = options(__doc__, timed=False)
    parser.add_argument("--parts", nargs="+", default=["ways", "fits"], choices=["ways", "fits"])
    parser.add_argument("--adam", type=int, default=10_000, help="batches of Adam")
    parser.add_argument("--fits", type=int, default=16, help="contexts at once")
    parser.add_argument("--iterations", type=int, default=10, help="iterations of each of these")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.quick:
        chosen.adam, chosen.fits, chosen.iterations = 20, 3, 3
    clip = random_clip(TOY if chosen.quick else "RN50", seed=0)
    backbone = FrozenCLIP(clip, "random", "0" * 64, "none")
    data = plant(backbone, 60 if chosen.quick else PICTURES, 40 if chosen.quick else VALIDATION)
    rows: list[Row] = []
    if "ways" in chosen.parts:
        rows += compare_ways(backbone, data, chosen.adam)
    if "fits" in chosen.parts:
        rows += compare_fits(backbone, data, chosen.fits, chosen.iterations)
    report("Second order", rows, chosen.json)


@torch.no_grad()
def plant(backbone: FrozenCLIP, pictures: int, validation: int) -> Planted:
    """Make features and MOS; the second view of a picture is near the first."""
    generator = torch.Generator().manual_seed(5)

    def noise(rows: int) -> Tensor:
        return F.normalize(torch.randn(rows, backbone.dim, generator=generator), dim=-1)

    hidden = CLIPIQAPlus(backbone, prompts=PromptConfig(seed=99))
    assert isinstance(hidden.prompts, ContextPrompts)
    hidden.prompts.ctx.mul_(10)
    features = noise(pictures + validation)
    scores = hidden.score_features(features)
    mos = (scores - scores.mean()) / scores.std() * 0.15 + 0.5
    mos = (mos + 0.06 * torch.randn(mos.shape, generator=generator)).clamp(0, 1)
    first, val = features.split([pictures, validation])
    second = F.normalize(first + 0.2 * noise(pictures), dim=-1)
    return Planted(torch.cat([first, second]), mos[:pictures].repeat(VIEWS, 1), val, mos[pictures:])


def validate(model: CLIPIQAPlus, data: Planted) -> float:
    with torch.no_grad():
        return float(srcc(model.score_features(data.val)[:, 0], data.val_mos[:, 0]))


def compare_ways(backbone: FrozenCLIP, data: Planted, steps: int) -> list[Row]:
    """Learn by both, from one start."""
    second, passes, seconds = by_lbfgs(CLIPIQAPlus(backbone), data)
    found, step, measured = by_adam(CLIPIQAPlus(backbone), data, steps)
    rows = [row("L-BFGS, whole part", passes, seconds, second)]
    rows += [row(f"Adam, batches of {BATCH}", n, at, value) for n, at, value in found]
    official = tuple(OFFICIAL_STEPS * part for part in step)
    rows.append(
        {
            "what": f"{OFFICIAL_STEPS:,} steps from {measured:,} measured ones",
            "seconds": round(official[0]),
            "CPU seconds": round(official[1]),
            "ratio": round(official[0] / seconds[0]),
            "CPU ratio": round(official[1] / seconds[1]),
        }
    )
    return rows


def row(what: str, passes: int, seconds: tuple[float, float], value: float) -> Row:
    return {
        "what": what,
        "text passes": passes,
        "seconds": round(seconds[0], 2),
        "CPU seconds": round(seconds[1], 2),
        "validation SRCC": round(value, 4),
    }


def by_lbfgs(
    model: CLIPIQAPlus, data: Planted, steps: int = 40, patience: int = 4
) -> tuple[float, int, tuple[float, float]]:
    """As the fast recipes: steps of 5 iterations, the best validation SRCC, patience of 4 steps."""
    optimizer = torch.optim.LBFGS(
        model.prompts.parameters(),
        max_iter=5,
        max_eval=20,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = mse(model.score_features(data.train), data.train_mos)
        loss.backward()
        return loss

    clock, best, since = Clock(), -1.0, 0
    for _ in range(steps):
        optimizer.step(closure)
        found = validate(model, data)
        since = 0 if found > best else since + 1
        best = max(best, found)
        if since == patience:
            break
    passes = optimizer.state[next(iter(model.prompts.parameters()))]["func_evals"]
    return best, passes, clock.seconds()


Found = list[tuple[int, tuple[float, float], float]]


def by_adam(
    model: CLIPIQAPlus, data: Planted, steps: int
) -> tuple[Found, tuple[float, float], int]:
    """Adam at 0.002 with a cosine, as configs/csv.yaml; validated ten times.

    Returns:
        Steps, seconds and the best SRCC so far at each validation; the seconds of a step; and the
        number of steps that these are the mean of.
    """
    optimizer = torch.optim.Adam(model.prompts.parameters(), lr=0.002)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(0)
    found: Found = []
    best, clock = -1.0, Clock()
    for step in range(1, steps + 1):
        rows = torch.randint(len(data.train), (BATCH,), generator=generator)
        optimizer.zero_grad()
        mse(model.score_features(data.train[rows]), data.train_mos[rows]).backward()
        optimizer.step()
        schedule.step()
        if step % max(1, steps // 10) == 0:
            best = max(best, validate(model, data))
            found.append((step, clock.seconds(), best))
    wall, cpu = clock.seconds()
    return found, (wall / steps, cpu / steps), steps


def compare_fits(backbone: FrozenCLIP, data: Planted, count: int, iterations: int) -> list[Row]:
    """Fit contexts of different seeds, one after the other and at once."""
    contexts = [ContextPrompts(backbone, seed=seed) for seed in range(count)]
    order = torch.arange(len(data.train))
    fits = [Fit(context.ctx.detach(), order, order[:0]) for context in contexts]

    def run(at_once: int) -> Callable[[], list[Fitted]]:
        def fit() -> list[Fitted]:
            found = dict(
                fit_contexts(
                    contexts[0],
                    backbone,
                    data.train,
                    data.train_mos,
                    fits,
                    max_iterations=iterations,
                    at_once=at_once,
                )
            )
            return [found[number] for number in range(count)]

        return fit

    results, rows = {}, []
    for at_once in (1, count):
        clock = Clock()
        results[at_once] = run(at_once)()
        wall, cpu = clock.seconds()
        passes = sum(fitted.passes for fitted in results[at_once])
        rows.append(
            {
                "what": f"{count} fits, {at_once} at once",
                "contexts passed": passes,
                "seconds": round(wall, 2),
                "CPU seconds": round(cpu, 2),
                "contexts/s": round(passes / wall, 2),
                "contexts/CPU s": round(passes / cpu, 2),
            }
        )
    return [*rows, deviations(results[1], results[count], rows)]


def deviations(alone: Sequence[Fitted], together: Sequence[Fitted], rows: list[Row]) -> Row:
    """How far the results differ, and how much faster they come."""
    pairs = list(zip(alone, together, strict=True))
    one, many = rows
    return {
        "what": "at once against one after the other",
        "ratio": round(many["contexts/s"] / one["contexts/s"], 2),
        "CPU ratio": round(many["contexts/CPU s"] / one["contexts/CPU s"], 2),
        "loss differs by": f"{max(abs(a.loss - b.loss) for a, b in pairs):.1e}",
        "text features by": f"{max(float((a.text - b.text).abs().max()) for a, b in pairs):.1e}",
    }


if __name__ == "__main__":
    main()
