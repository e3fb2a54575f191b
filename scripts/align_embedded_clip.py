r"""Give the refined image tower of the `photo` backbone its projection and its text tower.

    python scripts/align_embedded_clip.py --data BIQ2021 --cache photos.npy --refined refined.pt \
        --out clipiqa_plus/clip/assets/photo_clip.safetensors

Photographs are degraded and encoded whole, once. The last projection then is a closed form: what
the pooled features tell about the pictures, by ridge regression, whitened. So every direction that
tells something has the same variance, and prompts, which are linear in the unit features, reach it.

The text tower learns from random weights what these unit features mean: captions, antonym pairs,
and prompts of 16 learned tokens for every kind of degradation and every measure. Half of the
captions hold random tokens, since learned prompts begin as that: words must keep their meaning
among them.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path

import clip
import cv2
import numpy as np
import torch
import torch.nn.functional as F
from embedded_clip import ARCHITECTURE, AXIS_WEIGHT, MEASURES, PAIRS, Ruler, Trainee, save
from numpy.typing import NDArray
from photo_degradations import KINDS, NAMES, apply, draw_recipe, measure, rate, strengths, weakened
from photo_list import sha256
from refine_embedded_clip import SMALL, Reader, seen_in, start
from torch import Tensor, nn
from train_demo_clip import contrastive_loss
from train_embedded_clip import decoded, draw_captions

CRISPEST, MEDIAN = 67, 45  # among the measures: 99th percentile of the Laplacian, median grey
BLANK = "x"  # a word of no caption: its embedding is drawn anew each time
DAMPING = 0.01


class Pictures:
    """Whole photographs, degraded, pooled by the refined tower, and what is known of them.

    Rows 2i and 2i + 1 are the weak and the strong version of one photograph.
    """

    def __init__(self, reader: Reader, photos: NDArray[np.uint8], count: int, seed: int) -> None:
        rng = np.random.default_rng((seed, 2))
        ratings, kinds, measures = [], [], []
        pooled: list[Tensor] = []
        for index in rng.permutation(len(photos))[:count]:
            clean = np.ascontiguousarray(photos[index])
            recipe = weakened(draw_recipe(rng), rng.uniform(0.2, 1))
            share = max(0.0, rng.uniform(-0.4, 0.8))
            for version in (weakened(recipe, share), recipe):
                image = apply(clean, version)
                with torch.no_grad():
                    pooled.append(reader.pool(torch.from_numpy(image).permute(2, 0, 1)[None]))
                ratings.append(rate(clean, image, version))
                kinds.append(strengths(version))
                measures.append(measure(image))
        self.pooled = torch.cat(pooled)
        self.kinds = torch.from_numpy(np.stack(kinds))
        self.measures = torch.from_numpy(np.stack(measures))
        self.ruler = Ruler.of(self.measures, MEASURES)
        self.ratings = torch.from_numpy(np.stack(ratings))
        self.ratings[:, 0] = self._quality()

    def _quality(self) -> Tensor:
        """Quality in 0..1: crisp and well lit, less what the recipe took.

        Photographs differ before any degradation, in what the eye can find crisp at all.
        """
        standard = self.ruler.standard(self.measures)
        plain = standard[:, CRISPEST] + 0.5 * standard[:, MEDIAN]
        weight = torch.tensor([KINDS[name][2] for name in NAMES])
        kept = torch.log1p(-(self.kinds * weight).clamp(max=0.95)).sum(1)
        summed = plain / plain.std() + kept / kept.std()
        return torch.sigmoid(1.5 * (summed - summed.median()) / summed.std())

    def told(self) -> Tensor:
        """All that is known of each picture, standardised: [N, K]."""
        whitened = seen_in(self.measures, self.ruler)[:, :MEASURES]
        known = torch.cat([whitened, self.kinds, self.ratings], 1)
        return (known - known.mean(0)) / (known.std(0) + 1e-6)

    def directions(self, projection: nn.Linear) -> Tensor:
        """Unit directions [axes, D] of the unit features along which each rating grows most.

        By ridge regression; antonym pairs shall differ along them.
        """
        with torch.no_grad():
            seen = F.normalize(projection(self.pooled), dim=-1).double()
        x, y = seen - seen.mean(0), (self.ratings - self.ratings.mean(0)).double()
        y[:, 0] = torch.logit(self.ratings[:, 0].double(), 1e-3)
        weight = torch.linalg.solve(x.T @ x + torch.eye(x.shape[1], dtype=x.dtype), x.T @ y)
        return F.normalize(weight.T, dim=-1).float()


def begin(reader: Reader) -> Trainee:
    """A CLIP with the refined image tower and a text tower of random weights."""
    model = Trainee()
    model.clip.visual = reader.visual
    pool = reader.visual.attnpool
    pool.c_proj = nn.Linear(pool.c_proj.in_features, ARCHITECTURE["embed_dim"])
    width = pool.positional_embedding.shape[1]
    pool.positional_embedding = nn.Parameter(torch.zeros(1, width), requires_grad=False)
    with torch.no_grad():
        # Words begin as small as learned tokens do, so that neither drowns the other.
        model.clip.token_embedding.right.mul_(0.02 / model.clip.token_embedding.right.std() / 4)
        model.gain.fill_(10.0)
        model.clip.logit_scale.fill_(np.log(40))
    return model


def project(layer: nn.Linear, pooled: Tensor, told: Tensor) -> None:
    """Set a projection to the whitened principal directions of what pooled features tell."""
    center, spread = pooled.mean(0).double(), pooled.std(0).double() + 1e-4
    x, y = (pooled - center) / spread, told.double()
    square = x.T @ x / len(x) + DAMPING * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(square, x.T @ y / len(x))
    values, vectors = torch.linalg.eigh(weight.T @ (x.T @ x / len(x)) @ weight)
    dim = layer.out_features
    whitened = weight @ vectors[:, -dim:] / values[-dim:].sqrt() / dim**0.5
    matrix = (whitened / spread[:, None]).T
    layer.weight.data = matrix.float()
    layer.bias.data = -(matrix @ center).float()


def with_blanks(rng: np.random.Generator, tokens: Tensor, blank: int) -> Tensor:
    """Token sequences [N, L], half of them with up to 16 blanks, around the first word or before.

    Those too long for it stay as they are.
    """
    tokens = tokens.clone()
    for row in tokens:
        end = int(row.argmax())
        count = int(rng.integers(1, 17))
        if rng.random() < 0.5 or end + count >= len(row):
            continue
        words = row[1:end].tolist()
        before = int(rng.choice([count // 2, count]))
        filled = [blank] * before + words[:1] + [blank] * (count - before) + words[1:]
        row[1 : end + count + 1] = torch.tensor([*filled, int(row[end])])
    return tokens


def read(model: Trainee, tokens: Tensor, blank: int) -> Tensor:
    """Unit features [N, D] of texts [N, L]; blanks are drawn as learned prompts begin."""
    x = model.clip.token_embedding(tokens)
    x = torch.where((tokens == blank)[..., None], 0.02 * torch.randn_like(x), x)
    return model.encode(x, tokens.argmax(-1))


def losses(
    model: Trainee,
    seen: Tensor,
    tokens: tuple[Tensor, int],
    facts: dict[str, Tensor],
    directions: Tensor,
) -> dict[str, Tensor]:
    """All losses of the text tower on a batch of unit features [B, D]."""
    text = read(model, *tokens)
    logits = model.clip.logit_scale.exp() * seen @ text.T
    captions = len(text) - len(PAIRS)
    pairs = logits[:, captions:].unflatten(1, (-1, 2))
    margin = pairs[..., 0] - pairs[..., 1]
    rating = facts["rating"].clamp(0.02, 0.98)
    known = F.binary_cross_entropy_with_logits(margin, rating, reduction="none")
    known = known - F.binary_cross_entropy(rating, rating, reduction="none")  # 0 at the truth
    read_off = model.facts(seen)
    upper, lower = text[captions:].unflatten(0, (-1, 2)).unbind(1)
    along = F.cosine_similarity(upper - lower, directions)
    return {
        "directions": 4 * ((1 - along) * AXIS_WEIGHT).sum() / AXIS_WEIGHT.sum(),
        "captions": contrastive_loss(logits[:, :captions], facts["truth"]),
        "pairs": 4 * (known * AXIS_WEIGHT).sum(1).mean() / AXIS_WEIGHT.sum(),
        "kinds": 10 * F.mse_loss(SMALL * read_off[:, : len(NAMES)], facts["kinds"]),
        "measures": 2 * F.smooth_l1_loss(read_off[:, len(NAMES) :], facts["measures"]),
    }


def align(model: Trainee, pictures: Pictures, steps: int, rate: float, seed: int) -> Trainee:
    """Fit the text tower to the unit features; returns the average over the last steps."""
    model.train()
    projection = model.clip.visual.attnpool.c_proj
    model.clip.visual.requires_grad_(False)
    spread = pictures.pooled.std(0)
    standard = pictures.ruler.standard(pictures.measures)
    directions = pictures.directions(projection)
    blank = int(clip.tokenize(BLANK)[0, 1])
    decayed = [p for n, p in model.clip.transformer.named_parameters() if p.ndim >= 2]
    ids = {id(parameter) for parameter in decayed}
    plain = [p for p in model.parameters() if p.requires_grad and id(p) not in ids]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda done: min(1, (done + 1) / 50, (steps - done) / (0.6 * steps))
    )
    average = copy.deepcopy(model)
    rng = np.random.default_rng((seed, 3))
    begin = time.perf_counter()
    for step in range(1, steps + 1):
        rows = torch.from_numpy(rng.choice(len(pictures.pooled), 128, replace=False))
        noise = 0.05 * spread * torch.randn(len(rows), len(spread))
        seen = F.normalize(projection(pictures.pooled[rows] + noise), dim=-1)
        rating, kinds = pictures.ratings[rows], pictures.kinds[rows]
        tokens, truth = draw_captions(rng, 32, rating.numpy(), kinds.numpy())
        facts = {"rating": rating, "kinds": kinds, "measures": standard[rows], "truth": truth}
        parts = losses(model, seen, (with_blanks(rng, tokens, blank), blank), facts, directions)
        optimizer.zero_grad()
        torch.stack(list(parts.values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.clip.logit_scale.clamp_(max=float(np.log(100)))
            for old, new in zip(average.parameters(), model.parameters(), strict=True):
                old.lerp_(new, 1 - min(0.98, step / (step + 20)))
        if step % 50 == 0:
            shown = " ".join(f"{name} {loss.item():.3f}" for name, loss in parts.items())
            scale = model.clip.logit_scale.exp().item()
            took = time.perf_counter() - begin
            print(f"{step} {shown} scale {scale:.1f} {took:.0f}s", flush=True)
    return average


def main() -> None:
    """Pool, project, fit, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of BIQ2021")
    parser.add_argument(
        "--list", type=Path, default=Path(__file__).with_name("embedded_photos.csv")
    )
    parser.add_argument("--cache", type=Path, required=True, help="decoded photographs")
    parser.add_argument("--start", type=Path, required=True, help="weights that were refined")
    parser.add_argument("--refined", type=Path, required=True, help="refine_embedded_clip's --out")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=1800, help="weakly and strongly degraded")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    photos = decoded(options.data, options.list, options.cache)
    reader = Reader(start(options.start)).eval()
    kept = torch.load(options.refined, weights_only=True)
    reader.load_state_dict(kept["average"])
    pictures = Pictures(reader, photos, options.photos, options.seed)
    model = begin(reader)
    project(model.clip.visual.attnpool.c_proj, pictures.pooled, pictures.told())
    aligned = align(model, pictures, options.steps, options.rate, options.seed)
    facts = {
        "model": "clip.model.CLIP of openai-clip, trained from random weights",
        "script": "scripts/train_embedded_clip.py, refine_embedded_clip.py, align_embedded_clip.py",
        "data": f"{len(photos)} photographs of BIQ2021 (training part, ss03), no opinion score",
        "list_sha256": sha256(options.list),
        "start_sha256": sha256(options.start),
        "seed": str(options.seed),
        "steps": f"{kept['step']} of refinement, {options.steps} of the text tower",
        "torch": torch.__version__,
        "architecture": json.dumps(ARCHITECTURE),
        "license": "Apache-2.0",
    }
    save(aligned, options.out, facts)


if __name__ == "__main__":
    main()
