r"""Teach the image tower of the `photo` backbone to see what pictures measure.

    python scripts/refine_embedded_clip.py --data BIQ2021 --cache photos.npy \
        --start photo.safetensors --out refined.pt

`train_embedded_clip.py` learns pictures and captions together. A caption asks for one direction of
the features, so nearly all their variance lies there, and what else tells good photographs from bad
ones is faint. Here the image tower goes on alone: linear heads read from what the attention pool
gathers, before its last projection,

* the measures of the picture (`photo_degradations.measure`), whitened, so that small ones count;
* products of their strongest components: prompts are linear in the features, opinions are not
  linear in the measures;
* how strong each kind of degradation is, and the ratings of each axis;
* that the weaker degradation of a photograph is the better picture;
* which recipe it was, whatever the photograph.

No opinion score is used. Batch norms keep the averages that they start with. Written is the average
of the weights over the last steps; `align_embedded_clip.py` makes projection and text tower for it.
Same seed, library versions and thread count: same weights.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from demo_pictures import AXES
from embedded_clip import MEASURES, Ruler, optimizer_of, same_recipe_loss
from photo_degradations import NAMES, apply, draw_recipe, measure, rate, strengths, weakened
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from train_demo_clip import MEAN, STD
from train_embedded_clip import Batches, decoded, rate_at

from clipiqa_plus.clip.image_tower import encode_normalised
from clipiqa_plus.clip.weights import build_clip, load_weights

PRODUCTS = 12  # of these strongest components, with one another and themselves

SMALL = 0.2  # about the deviation of kinds and ratings, where measures have 1


class Crops(Batches):
    """One item is one batch: groups of four degraded crops, as in `Batches`, all measured."""

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Images uint8 [B, 3, s, s]; ratings, kinds and measures float32 [B, ...]."""
        cv2.setNumThreads(1)
        rng = np.random.default_rng((self.seed, 4, step))
        size = int(rng.choice(self.sizes))
        images, ratings, kinds, measures = [], [], [], []
        for _ in range(max(1, round(self.crops / 4 * (112 / size) ** 2))):
            recipe = weakened(draw_recipe(rng), rng.uniform(0.2, 1))
            share = max(0.0, rng.uniform(-0.4, 0.8))
            for clean in (self.crop(rng, size), self.crop(rng, size)):
                for version in (weakened(recipe, share), recipe):
                    image = apply(clean, version)
                    images.append(image)
                    ratings.append(rate(clean, image, version))
                    kinds.append(strengths(version))
                    measures.append(measure(image))
        return {
            "image": torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2),
            "rating": torch.from_numpy(np.stack(ratings)),
            "kinds": torch.from_numpy(np.stack(kinds)),
            "measures": torch.from_numpy(np.stack(measures)),
        }


def seen_in(measures: Tensor, ruler: Ruler) -> Tensor:
    """Whitened measures and products of the strongest: [N, MEASURES + pairs], about unit variance.

    Args:
        measures: [N, MEASURES], of pictures.
        ruler: Of all components, weakest first.
    """
    whitened = (ruler.standard(measures) @ ruler.whitening).clamp(-4, 4).flip(1)
    strong = whitened[:, :PRODUCTS].clamp(-3, 3)
    first, second = torch.triu_indices(PRODUCTS, PRODUCTS)
    products = strong[:, first] * strong[:, second] - (first == second).float()
    return torch.cat([whitened, products], 1)


class Reader(nn.Module):
    """An image tower, and linear heads on what its attention pool gathers."""

    visual: Any
    width: int
    center: Tensor
    whitening: Tensor

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual.to(memory_format=torch.channels_last)
        self.width = width = visual.attnpool.c_proj.in_features
        targets = MEASURES + PRODUCTS * (PRODUCTS + 1) // 2
        self.sizes = [targets, len(NAMES), len(AXES)]
        self.heads = nn.Linear(width, sum(self.sizes))
        self.recipe = nn.Linear(width, 64)
        self.register_buffer("center", torch.zeros(width))
        self.register_buffer("whitening", torch.eye(width))

    def pool(self, images: Tensor) -> Tensor:
        """What the attention pool gathers [B, C] from pictures uint8 [B, 3, s, s].

        In training by bf16; in eval mode by fp32, as in use.
        """
        pixels = ((images.float() / 255 - MEAN) / STD).contiguous(memory_format=torch.channels_last)
        pooled: list[Tensor] = []
        with torch.autocast("cpu", torch.bfloat16, enabled=self.training):
            hook = self.visual.attnpool.c_proj.register_forward_hook(
                lambda _, given, __: pooled.append(given[0])
            )
            encode_normalised(self.visual, pixels, "none")
            hook.remove()
        return pooled[0].float()

    @torch.no_grad()
    def begin(self, items: list[dict[str, Tensor]], ruler: Ruler) -> None:
        """Fix how the heads read, and let them begin at the ridge regression of these batches."""
        pooled = torch.cat([self.pool(item["image"]) for item in items])
        self.center, spread = pooled.mean(0), pooled.std(0) + 1e-4
        x = (pooled - self.center) / spread
        values, vectors = torch.linalg.eigh(x.T @ x / len(x))
        # Whitened: what is faint must not need large weights, and Adam moves all weights alike.
        self.whitening = vectors / (values.clamp(min=0) + 3e-3).sqrt() / spread[:, None]
        x = (pooled - self.center) @ self.whitening
        measured = torch.cat([seen_in(item["measures"], ruler) for item in items])
        others = [torch.cat([item[key] for item in items]) for key in ("kinds", "rating")]
        y = torch.cat([measured, *(other / SMALL for other in others)], 1)
        square = x.T @ x + 0.2 * len(x) * torch.eye(self.width)
        self.heads.weight.copy_(torch.linalg.solve(square, x.T @ (y - y.mean(0))).T)
        self.heads.bias.copy_(y.mean(0))

    def losses(self, item: dict[str, Tensor], ruler: Ruler) -> dict[str, Tensor]:
        """All losses of one batch."""
        standard = (self.pool(item["image"]) - self.center) @ self.whitening
        measured, kinds, rating = self.heads(standard).split(self.sizes, 1)
        kinds, rating = kinds * SMALL, rating * SMALL
        weak, strong = rating[:, 0].view(-1, 2).unbind(1)
        better, worse = item["rating"][:, 0].view(-1, 2).unbind(1)
        gap = (better - worse).clamp(min=0)
        order = (gap.sqrt() * F.softplus(3 * gap - 8 * (weak - strong))).mean()
        target = seen_in(item["measures"], ruler)
        off = F.smooth_l1_loss(measured, target, reduction="none").mean(0)
        return {
            "measures": 2 * off[:MEASURES].mean(),
            "products": off[MEASURES:].mean(),
            "kinds": 10 * F.mse_loss(kinds, item["kinds"]),
            "ratings": 5 * F.mse_loss(rating, item["rating"]),
            "order": 0.5 * order,
            "recipe": 0.05 * same_recipe_loss(self.recipe(standard)),
        }


def start(weights: Path) -> Any:
    """The image tower of a weights file, in training; batch norms keep their averages."""
    visual: Any = build_clip(load_weights(weights)).visual.requires_grad_(True)
    for part in visual.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
    visual.attnpool.positional_embedding.requires_grad_(False)
    visual.attnpool.c_proj.requires_grad_(False)
    return visual


def main() -> None:
    """Read the photographs, train, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of BIQ2021")
    parser.add_argument(
        "--list", type=Path, default=Path(__file__).with_name("embedded_photos.csv")
    )
    parser.add_argument("--cache", type=Path, required=True, help="decoded photographs, about 5 GB")
    parser.add_argument("--start", type=Path, required=True, help="weights of a CLIP")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", type=Path, help="--out of a run to go on with")
    parser.add_argument("--steps", type=int, default=2800)
    parser.add_argument("--cool", type=int, default=2000)
    parser.add_argument("--stop", type=int, help="end at this step, before the rate is 0")
    parser.add_argument("--crops", type=int, default=128)
    parser.add_argument("--sizes", type=int, nargs="+", default=[160, 224, 320])
    parser.add_argument("--rate", type=float, default=2.5e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--every", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    photos = decoded(options.data, options.list, options.cache)
    batches = Crops(photos, options.crops, options.sizes, 0, options.steps, options.seed)
    first = [batches[10**6 + i] for i in range(80)]
    ruler = Ruler.of(torch.cat([item["measures"] for item in first]), MEASURES)
    model = Reader(start(options.start))
    model.begin(first, ruler)
    del first
    optimizer = optimizer_of(model.visual, options.rate)
    heads = [*model.heads.parameters(), *model.recipe.parameters()]
    optimizer.add_param_group({"params": heads, "weight_decay": 0.0, "times": 1})
    average, done = copy.deepcopy(model), 0
    if options.resume:
        kept = torch.load(options.resume, weights_only=True)
        model.load_state_dict(kept["model"])
        average.load_state_dict(kept["average"])
        optimizer.load_state_dict(kept["optimizer"])
        done = kept["step"]
    last = options.stop or options.steps
    rest = Subset(batches, range(done, last))
    loader = DataLoader(rest, batch_size=None, num_workers=options.workers, prefetch_factor=4)
    begin, recent = time.perf_counter(), []
    for step, item in enumerate(loader, done + 1):
        for group in optimizer.param_groups:
            share = rate_at(step, options.steps, options.cool) * group.get("times", 1)
            group["lr"] = options.rate * share
        parts = model.losses(item, ruler)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(parts.values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            for old, new in zip(average.parameters(), model.parameters(), strict=True):
                old.lerp_(new, 1 - min(0.99, step / (step + 20)))
        recent.append({name: loss.item() for name, loss in parts.items()})
        if step % 50 == 0 or step == last:
            shown = " ".join(f"{k} {np.mean([r[k] for r in recent]):.3f}" for k in recent[0])
            print(f"{step} {shown} {time.perf_counter() - begin:.0f}s", flush=True)
            recent.clear()
        if step % options.every == 0 or step == last:
            states = {
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
            }
            partial = options.out.with_suffix(".partial")
            torch.save(states, partial)
            partial.replace(options.out)


if __name__ == "__main__":
    main()
