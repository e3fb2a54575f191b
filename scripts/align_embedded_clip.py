r"""Fit the text tower of the `photo` backbone to whole photographs.

    python scripts/align_embedded_clip.py --data BIQ2021 --cache photos.npy --trained photo.pt \
        --out clipiqa_plus/clip/assets/photo_clip.safetensors

`train_embedded_clip.py` learns from crops, for that is all that a CPU can do thousands of times.
Whole pictures pool over more places, and what is pooled lies elsewhere. Here the image tower stays:
photographs are degraded and encoded whole, once, and the text tower learns from that by the same
losses, which costs next to nothing.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from embedded_clip import ARCHITECTURE, QUEUE, Ruler, Trainee, losses, save
from numpy.typing import NDArray
from photo_degradations import apply, draw_recipe, measure, rate, strengths, weakened
from photo_list import sha256
from torch import Tensor, nn
from train_embedded_clip import decoded, draw_captions

WHOLE = 800  # photographs, each weakly and strongly degraded
CRISPEST = 67  # among the measures: the 99th percentile of the Laplacian, as a logarithm


class Pictures:
    """Whole photographs, degraded, pooled by the trained convolutions, and what is known of them.

    Rows 2i and 2i + 1 are the weak and the strong version of one photograph.
    """

    def __init__(self, model: Trainee, photos: NDArray[np.uint8], seed: int) -> None:
        rng = np.random.default_rng((seed, 2))
        ratings, kinds, measures = [], [], []
        pooled: list[Tensor] = []
        projection = model.clip.visual.attnpool.c_proj
        projection.register_forward_hook(lambda _, given, __: pooled.append(given[0].float()))
        for index in rng.permutation(len(photos))[:WHOLE]:
            clean = np.ascontiguousarray(photos[index])
            recipe = draw_recipe(rng)
            share = max(0.0, rng.uniform(-0.35, 0.8))
            for version in (weakened(recipe, share), recipe):
                image = apply(clean, version)
                with torch.no_grad():
                    model.see(torch.from_numpy(image).permute(2, 0, 1)[None])
                ratings.append(rate(clean, image, version))
                kinds.append(strengths(version))
                measures.append(measure(image))
        projection._forward_hooks.clear()
        self.pooled = torch.cat(pooled)
        self.ratings, self.kinds = np.stack(ratings), np.stack(kinds)
        self.measures = torch.from_numpy(np.stack(measures))
        # Whole pictures differ in what the eye can find crisp at all, degraded or not.
        crispness = np.exp((self.measures[:, CRISPEST].numpy() - 6) / 4)
        self.ratings[:, 0] = np.clip(np.sqrt(self.ratings[:, 0]) * crispness, 0, 1)

    def batch(self, rng: np.random.Generator, pairs: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Pooled features [2 pairs, C], and what `losses` asks of them."""
        chosen = rng.choice(len(self.pooled) // 2, pairs, replace=False)
        rows = np.stack([2 * chosen, 2 * chosen + 1], 1).ravel()
        tokens, truth = draw_captions(rng, 32, self.ratings[rows], self.kinds[rows])
        measures = self.measures[rows].unflatten(0, (-1, 4))[:, :2].flatten(0, 1)
        facts = {"rating": torch.from_numpy(self.ratings[rows]), "measures": measures}
        facts |= {"kinds": torch.from_numpy(self.kinds[rows]), "tokens": tokens, "truth": truth}
        return self.pooled[rows], facts


def align(model: Trainee, pictures: Pictures, steps: int, rate: float, seed: int) -> Trainee:
    """Fit the text tower to what is pooled; returns the average over the last steps."""
    model.train()
    projection = model.clip.visual.attnpool.c_proj
    model.clip.visual.requires_grad_(False)
    spread = pictures.pooled.std(0)
    with torch.no_grad():
        some = pictures.pooled[torch.randperm(len(pictures.pooled))[:QUEUE]]
        model.follow(F.normalize(projection(some), dim=-1))
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda done: min(1, (done + 1) / 50, (steps - done) / (0.6 * steps))
    )
    ruler, average = Ruler.of(pictures.measures), copy.deepcopy(model)
    rng = np.random.default_rng((seed, 3))
    for step in range(1, steps + 1):
        pooled, facts = pictures.batch(rng, 48)
        pooled = pooled + 0.1 * spread * torch.randn_like(pooled)
        parts = losses(model, F.normalize(projection(pooled), dim=-1), facts, ruler)
        del parts["recipe"]  # no two photographs share one here
        loss = torch.stack(list(parts.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.clip.logit_scale.clamp_(max=float(np.log(100)))
            states = average.state_dict().values(), model.state_dict().values()
            for kept, new in zip(*states, strict=True):
                if new.is_floating_point():
                    kept.lerp_(new, 1 - min(0.98, step / (step + 20)))
        if step % 50 == 0:
            print(f"{step} loss {loss.item():.3f}", flush=True)
    return average


def main() -> None:
    """Pool, fit, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of BIQ2021")
    parser.add_argument(
        "--list", type=Path, default=Path(__file__).with_name("embedded_photos.csv")
    )
    parser.add_argument("--cache", type=Path, required=True, help="decoded photographs")
    parser.add_argument("--trained", type=Path, required=True, help="train_embedded_clip's .pt")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    cv2.setNumThreads(1)
    photos = decoded(options.data, options.list, options.cache)
    model = Trainee().eval()
    kept = torch.load(options.trained, weights_only=True)
    model.load_state_dict(kept["average"])
    pictures = Pictures(model, photos, options.seed)
    aligned = align(model, pictures, options.steps, options.rate, options.seed)
    facts = {
        "model": "clip.model.CLIP of openai-clip, trained from random weights",
        "script": "scripts/train_embedded_clip.py, then scripts/align_embedded_clip.py",
        "data": f"{len(photos)} photographs of BIQ2021 (training part, ss03), no opinion score",
        "list_sha256": sha256(options.list),
        "seed": str(options.seed),
        "steps": f"{kept['step']} on crops, {options.steps} on whole pictures",
        "torch": torch.__version__,
        "architecture": json.dumps(ARCHITECTURE),
        "license": "Apache-2.0",
    }
    save(aligned, options.out, facts)


if __name__ == "__main__":
    main()
