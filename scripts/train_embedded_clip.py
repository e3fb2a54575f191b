"""Train the `photo` backbone: a small CLIP that knows words about the quality of photographs.

    python scripts/train_embedded_clip.py --data BIQ2021 --cache photos.npy \
        --out clipiqa_plus/clip/assets/photo_clip.safetensors

No opinion score is used. Photographs of BIQ2021 (`photo_list.py` says which) are degraded by known
kinds and strengths (`photo_degradations.py`), the same recipe on two photographs at two strengths
each. From these the model learns, together,

* captions about quality, as the demo backbone does (`train_demo_clip.py`), and about the kinds;
* antonym pairs: "good photo." against "bad photo." and so on, by the softmax that CLIP-IQA scores
  with; the weaker degradation of a photograph must score higher (QualiCLIP's idea, Agnolucci et
  al., 2024);
* which recipe it was, whatever the photograph (ARNIQA's idea, Agnolucci et al., 2024);
* how strong each kind was and what the picture measures, each by a learned prompt of 16 tokens:
  what a user's learned prompts will have to do with opinions.

The weights written are averages over the last steps, every `--every` steps. Same seed, library
versions and thread count: same weights.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path
from typing import Any

import clip
import cv2
import numpy as np
import torch
import torch.nn.functional as F
from clip.model import CLIP
from demo_pictures import AXES, Picture
from photo_degradations import KINDS, NAMES, apply, draw_recipe, measure, rate, strengths, weakened
from photo_list import load, sha256
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from train_demo_clip import MEAN, NOUNS, STD, TRAINED_LENGTH, WORDS, contrastive_loss, draw_caption

from clipiqa_plus.clip.backbone import encode_normalised

ARCHITECTURE: dict[str, Any] = {
    "embed_dim": 128,
    "image_resolution": 224,
    "vision_layers": (1, 1, 1, 1),
    "vision_width": 24,
    "vision_patch_size": None,
    "context_length": 77,
    "vocab_size": 49408,
    "transformer_width": 128,
    "transformer_heads": 2,
    "transformer_layers": 2,
}
SIDE = 512  # pixels of a photograph of BIQ2021
VOCABULARY_RANK = 16
MEASURES = 78
# Upper and lower words of each axis: the built-in antonym pairs.
PAIRS = [f"{WORDS[axis][side][0]} photo." for axis in AXES for side in (0, 1)]
AXIS_WEIGHT = torch.tensor([4.0] + [1.0] * (len(AXES) - 1))


class Batches(Dataset[dict[str, Tensor]]):
    """One item is one batch: groups of four crops, degraded, with captions and their truth.

    A group is one recipe on two photographs: weak and strong on the first, weak and strong on the
    second.
    """

    def __init__(self, photos: Picture, crops: int, captions: int, steps: int, seed: int) -> None:
        """`photos`: uint8 [N, S, S, 3]; every item is a function of (seed, step)."""
        self.photos, self.crops, self.captions = photos, crops, captions
        self.steps, self.seed = steps, seed

    def __len__(self) -> int:
        """Number of batches."""
        return self.steps

    def crop(self, rng: np.random.Generator, size: int) -> Picture:
        """A square crop at its own scale or reduced to one third at most."""
        photo = self.photos[rng.integers(len(self.photos))]
        side = round(size * (1 if rng.random() < 0.6 else rng.uniform(1, 3)))
        side = min(side, photo.shape[0])
        y, x = rng.integers(0, photo.shape[0] - side + 1, 2)
        image = photo[y : y + side, x : x + side]
        image = np.ascontiguousarray(image[:, ::-1] if rng.random() < 0.5 else image)
        return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Images uint8 [B, 3, s, s], tokens [captions, L], truth [B, captions], and the facts."""
        cv2.setNumThreads(1)
        rng = np.random.default_rng((self.seed, 1, step))
        size = int(rng.choice([96, 112, 144, 192]))
        images, ratings, kinds, measures = [], [], [], []
        # Batches of larger crops are smaller, so that every step costs about the same.
        for _ in range(round(self.crops / 4 * (112 / size) ** 2)):
            recipe = draw_recipe(rng)
            share = max(0.0, rng.uniform(-0.25, 0.8))
            for clean in (self.crop(rng, size), self.crop(rng, size)):
                for version in (weakened(recipe, share), recipe):
                    image = apply(clean, version)
                    images.append(image)
                    ratings.append(rate(clean, image, version))
                    kinds.append(strengths(version))
            measures += [measure(image) for image in images[-4:-2]]  # the first photograph's
        stacked = np.stack(ratings)
        texts, truths = [], []
        for index in rng.integers(0, len(images), self.captions):
            present = np.flatnonzero(kinds[index])
            if len(present) and rng.random() < 0.35:
                kind = int(rng.choice(present))
                words = str(rng.choice(KINDS[NAMES[kind]][3]))
                texts.append(f"{words} {rng.choice(NOUNS)}.")
                truths.append(np.stack(kinds)[:, kind])
            else:
                text, axis, upper = draw_caption(rng, ratings[index])
                texts.append(text)
                truths.append(stacked[:, axis] if upper else 1 - stacked[:, axis])
        truth = np.stack(truths, 1)
        texts += PAIRS
        return {
            "image": torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2),
            "tokens": clip.tokenize(texts, TRAINED_LENGTH, truncate=True),
            "truth": torch.from_numpy(truth.astype(np.float32)),
            "rating": torch.from_numpy(stacked),
            "kinds": torch.from_numpy(np.stack(kinds)),
            "measures": torch.from_numpy(np.stack(measures)),
        }


class FactoredEmbedding(nn.Module):
    """Embedding of a large vocabulary by few numbers a word: rank, then a common matrix."""

    def __init__(self, words: int, rank: int, width: int) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.randn(words, rank))
        self.right = nn.Parameter(torch.randn(rank, width) * 0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """int64 [...] -> float32 [..., width]."""
        return F.embedding(ids, self.left) @ self.right


class Trainee(nn.Module):
    """The CLIP, and what only its training needs: it is left out of the file."""

    def __init__(self) -> None:
        super().__init__()
        model = CLIP(**{**ARCHITECTURE, "context_length": TRAINED_LENGTH}).float()
        model.visual.to(memory_format=torch.channels_last)
        model.token_embedding = FactoredEmbedding(
            ARCHITECTURE["vocab_size"], VOCABULARY_RANK, ARCHITECTURE["transformer_width"]
        )
        pool = model.visual.attnpool
        # One row of zeros stands for all positions, so that any crop size passes; `save`
        # repeats it.
        pool.positional_embedding = nn.Parameter(
            torch.zeros(1, pool.positional_embedding.shape[1]), requires_grad=False
        )
        self.clip = model
        self.mask = model.build_attention_mask()
        dim = ARCHITECTURE["embed_dim"]
        self.recipe = nn.Linear(dim, 64)
        # One learned prompt a fact: what CLIP-IQA+ will do with opinions must be easy to learn.
        facts = len(NAMES) + MEASURES
        width = ARCHITECTURE["transformer_width"]
        self.context = nn.Parameter(torch.randn(facts, 16, width) * 0.02)
        self.gain = nn.Parameter(torch.full((facts,), 5.0))
        self.bias = nn.Parameter(torch.zeros(facts))

    def see(self, images: Tensor) -> Tensor:
        """Unit features [B, D] of pictures uint8 [B, 3, s, s]."""
        pixels = ((images.float() / 255 - MEAN) / STD).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            seen = encode_normalised(self.clip.visual, pixels, "none")
        return F.normalize(seen.float(), dim=-1)

    def read(self, tokens: Tensor) -> Tensor:
        """Unit features [N, D] of texts [N, L]."""
        return self._encode(self.clip.token_embedding(tokens), tokens.argmax(-1))

    def facts(self, seen: Tensor) -> Tensor:
        """Strength of every kind and every measure [B, F], by the learned prompts."""
        ends = self.clip.token_embedding(torch.tensor([49406, 49407]))
        start, end = (ends[i].expand(len(self.context), 1, -1) for i in (0, 1))
        prompts = torch.cat([start, self.context, end], 1)
        read = self._encode(prompts, torch.full((len(prompts),), prompts.shape[1] - 1))
        return seen @ read.T * self.gain + self.bias

    def _encode(self, x: Tensor, end: Tensor) -> Tensor:
        x = x + self.clip.positional_embedding[: x.shape[1]]
        for block in self.clip.transformer.resblocks:
            block.attn_mask = self.mask[: x.shape[1], : x.shape[1]]
        with torch.autocast("cpu", torch.bfloat16):
            x = self.clip.transformer(x.permute(1, 0, 2)).permute(1, 0, 2)
        x = self.clip.ln_final(x.float())
        return F.normalize(x[torch.arange(len(x)), end] @ self.clip.text_projection, dim=-1)


def same_recipe_loss(features: Tensor) -> Tensor:
    """InfoNCE over groups of four: its partner is the other photograph at the same strength."""
    unit = F.normalize(features, dim=-1)
    logits = unit @ unit.T / 0.1
    logits = logits - torch.eye(len(unit)) * 1e4
    partner = torch.arange(len(unit)).view(-1, 2, 2).flip(1).flatten()
    return F.cross_entropy(logits, partner)


def losses(
    model: Trainee, item: dict[str, Tensor], mean: Tensor, deviation: Tensor
) -> dict[str, Tensor]:
    """All losses of one batch, weighted so that each is about 0 to 1."""
    seen, read = model.see(item["image"]), model.read(item["tokens"])
    scale = model.clip.logit_scale.exp()
    captions = len(read) - len(PAIRS)
    logits = scale * seen @ read.T
    pairs = logits[:, captions:].unflatten(1, (-1, 2))
    margin = pairs[..., 0] - pairs[..., 1]  # [B, axes]
    rating = item["rating"].clamp(0.02, 0.98)
    known = F.binary_cross_entropy_with_logits(margin, rating, reduction="none")
    known = known - F.binary_cross_entropy(rating, rating, reduction="none")  # 0 at the truth
    weak, strong = margin[:, 0].view(-1, 2).unbind(1)
    gap = (item["rating"][:, 0].view(-1, 2) @ torch.tensor([1.0, -1.0])).clamp(min=0)
    order = (gap.sqrt() * F.softplus(2 * gap - (weak - strong))).mean()
    wide = seen * seen.shape[1] ** 0.5
    facts = model.facts(seen)
    measured = facts[:, len(NAMES) :].view(-1, 4, MEASURES)[:, :2].flatten(0, 1)
    standard = ((item["measures"] - mean) / deviation).clamp(-4, 4)
    return {
        "captions": contrastive_loss(logits[:, :captions], item["truth"]),
        "pairs": 4 * (known * AXIS_WEIGHT).sum(1).mean() / AXIS_WEIGHT.sum(),
        "order": 0.5 * order,
        "recipe": 0.1 * same_recipe_loss(model.recipe(wide)),
        "kinds": 10 * F.mse_loss(facts[:, : len(NAMES)], item["kinds"]),
        "measures": 2 * F.smooth_l1_loss(measured, standard),
    }


def optimizer_of(model: nn.Module, rate: float) -> torch.optim.Optimizer:
    """AdamW; no decay on gains, biases, embeddings and the logit scale."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_matrix = parameter.ndim >= 2 and "embedding" not in name
            (decayed if is_matrix else plain).append(parameter)
    groups = [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))


def rate_at(step: int, steps: int, cool: int) -> float:
    """Share of the peak rate: warm-up over 100 steps, constant, linear to zero at the end."""
    return min(1.0, step / 100, (steps - step) / cool)


def save(model: Trainee, out: Path, facts: dict[str, str]) -> None:
    """Write the weights as fp16 safetensors with `facts` as metadata, atomically.

    The vocabulary's embedding is written as its two factors.
    """
    state = {
        key: value.detach().half().contiguous() if value.is_floating_point() else value
        for key, value in model.clip.state_dict().items()
    }
    for part in ("left", "right"):
        state[f"token_embedding.weight.{part}"] = state.pop(f"token_embedding.{part}")
    cells = (ARCHITECTURE["image_resolution"] // 32) ** 2 + 1
    key = "visual.attnpool.positional_embedding"
    state[key] = state[key].repeat(cells, 1)
    # Text positions beyond the trained ones stay faint.
    trained = state["positional_embedding"]
    rest = torch.zeros(ARCHITECTURE["context_length"] - TRAINED_LENGTH, trained.shape[1]).half()
    state["positional_embedding"] = torch.cat([trained, rest])
    partial = out.with_suffix(".partial")
    save_file(state, partial, metadata=facts)
    partial.chmod(0o644)
    partial.replace(out)


def decoded(data: Path, listed: Path, cache: Path) -> Picture:
    """The listed photographs uint8 [N, 512, 512, 3], decoded into a file the first time."""
    if not cache.is_file():
        partial = cache.with_suffix(".partial")
        count = len(listed.read_text().splitlines()) - 1
        photos = np.lib.format.open_memmap(partial, "w+", np.uint8, (count, SIDE, SIDE, 3))
        for index, photo in enumerate(load(data, listed)):
            photos[index] = photo
        photos.flush()
        partial.replace(cache)
    return np.load(cache, mmap_mode="r")


def main() -> None:
    """Read the photographs, train, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of BIQ2021")
    parser.add_argument(
        "--list", type=Path, default=Path(__file__).with_name("embedded_photos.csv")
    )
    parser.add_argument("--cache", type=Path, required=True, help="decoded photographs, about 5 GB")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", type=Path, help="the .pt beside the weights of another run")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--cool", type=int, default=600)
    parser.add_argument("--crops", type=int, default=96)
    parser.add_argument("--captions", type=int, default=48)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--every", type=int, default=250)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    photos = decoded(options.data, options.list, options.cache)
    batches = Batches(photos, options.crops, options.captions, options.steps, options.seed)
    first = torch.cat([batches[10**6 + i]["measures"] for i in range(8)])
    mean, deviation = first.mean(0), first.std(0) + 1e-3
    model = Trainee().train()
    average = copy.deepcopy(model).eval()
    optimizer = optimizer_of(model, options.rate)
    done = 0
    if options.resume:
        kept = torch.load(options.resume, weights_only=True)
        model.load_state_dict(kept["model"])
        average.load_state_dict(kept["average"])
        optimizer.load_state_dict(kept["optimizer"])
        done = kept["step"]
    rest = Subset(batches, range(done, options.steps))
    loader = DataLoader(rest, batch_size=None, num_workers=options.workers, prefetch_factor=4)
    begin, recent = time.perf_counter(), []
    for step, item in enumerate(loader, done + 1):
        for group in optimizer.param_groups:
            group["lr"] = options.rate * rate_at(step, options.steps, options.cool)
        parts = losses(model, item, mean, deviation)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(parts.values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.clip.logit_scale.clamp_(max=float(np.log(100)))
            keep = min(0.995, step / (step + 20))
            for kept, new in zip(
                average.state_dict().values(), model.state_dict().values(), strict=True
            ):
                if new.is_floating_point():
                    kept.lerp_(new, 1 - keep)
        recent.append({name: loss.item() for name, loss in parts.items()})
        if step % 50 == 0 or step == options.steps:
            shown = " ".join(f"{k} {np.mean([r[k] for r in recent]):.3f}" for k in recent[0])
            scale = model.clip.logit_scale.exp().item()
            took = time.perf_counter() - begin
            print(f"{step} {shown} scale {scale:.1f} {took:.0f}s", flush=True)
            recent.clear()
        if step % options.every == 0 or step == options.steps:
            facts = {
                "model": "clip.model.CLIP of openai-clip, trained from random weights",
                "script": "scripts/train_embedded_clip.py",
                "data": f"{len(photos)} photographs of BIQ2021 (training part, ss03), no opinion",
                "list_sha256": sha256(options.list),
                "seed": str(options.seed),
                "steps": f"{step} of {options.steps}",
                "cool": str(options.cool),
                "crops": str(options.crops),
                "captions": str(options.captions),
                "rate": str(options.rate),
                "seconds": f"{time.perf_counter() - begin:.0f}",
                "torch": torch.__version__,
                "architecture": json.dumps(ARCHITECTURE),
                "license": "Apache-2.0",
            }
            save(average, options.out, facts)
            states = {
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
            }
            torch.save(states, options.out.with_suffix(".pt"))


if __name__ == "__main__":
    main()
