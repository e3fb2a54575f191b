"""Train the demo backbone: a small CLIP that knows words about the quality of pictures.

    python scripts/train_demo_clip.py --out clipiqa_plus/clip/assets/demo_clip.safetensors

The model is openai-clip's own class at small sizes. It learns contrastively (Radford et al., 2021)
from procedural pictures (`demo_pictures.py`; no photograph) and captions about their quality.
Captions repeat within a batch, so the usual one-to-one target does not hold: the target of a
picture is spread over all captions of the batch, in proportion to how well each describes it.

Same seed, library versions and thread count: same weights, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import time
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import clip
import cv2
import numpy as np
import torch
from clip.model import CLIP
from demo_pictures import AXES, PICTURE_SIZE, Picture, degrade, picture
from numpy.random import Generator
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

ARCHITECTURE: dict[str, Any] = {
    "embed_dim": 64,
    "image_resolution": 224,
    "vision_layers": (1, 1, 1, 1),
    "vision_width": 12,
    "vision_patch_size": None,
    "context_length": 77,
    "vocab_size": 49408,
    "transformer_width": 32,
    "transformer_heads": 1,
    "transformer_layers": 3,
}
# Captions are shorter than CLIP's 77 tokens; training positions that none reaches is only slow.
TRAINED_LENGTH = 32
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]

# One row per axis: words for its upper end, words for its lower end. The first of each are the
# words of the built-in antonym pairs.
WORDS: dict[str, tuple[list[str], list[str]]] = {
    "quality": (
        ["good", "good", "good", "great", "excellent", "fine", "high quality", "perfect", "nice"],
        ["bad", "bad", "bad", "poor", "terrible", "awful", "low quality", "degraded", "ugly"],
    ),
    "brightness": (["bright", "bright", "light", "well lit"], ["dark", "dark", "dim", "gloomy"]),
    "noisiness": (["clean", "clean", "noise free", "smooth"], ["noisy", "noisy", "grainy"]),
    "colorfulness": (
        ["colorful", "colorful", "vivid", "saturated"],
        ["dull", "dull", "faded", "grey"],
    ),
    "sharpness": (["sharp", "sharp", "crisp", "in focus"], ["blurry", "blurry", "blurred", "soft"]),
    "contrast": (
        ["high contrast", "high contrast", "contrasty"],
        ["low contrast", "low contrast", "flat", "hazy"],
    ),
    "compression": (["uncompressed", "artifact free"], ["compressed", "blocky"]),
    "complexity": (["complex", "complex", "detailed"], ["simple", "simple", "plain"]),
}
AXIS_SHARE = {"quality": 0.4}
NOUNS = ["photo", "photo", "photo", "photo", "picture", "image", "photograph"]
TEMPLATES = [
    "{word} {noun}.",
    "{word} {noun}.",
    "{word} {noun}..",
    "{word} {noun}",
    "a {word} {noun}.",
    "this is a {word} {noun}.",
    "the {noun} is {word}.",
    "a {noun} that looks {word}.",
    "this {noun} seems {word} to me.",
    "a {word} {noun} of a {thing}.",
    "{filler} {word} {noun}.",
    "{filler} {word} {noun}. {filler}",
    "{filler} {word} {noun}.. {filler}.",
]
FILLER = (
    "the a of in on with and by from for to at it we they my your our one two some any every"
    " taken shown seen here there today now then time day place view scene people street water"
    " tree house hill sky road light wall room table city sea field garden window door river"
)
THINGS = ["tree", "house", "street", "hill", "wall", "river", "table", "city", "sky", "garden"]


def draw_caption(rng: Generator, rating: NDArray[np.float32]) -> tuple[str, int, bool]:
    """A caption that a rater could give a picture: its text, axis number, and polarity."""
    share = np.array([AXIS_SHARE.get(axis, 0.0) for axis in AXES])
    share[share == 0] = (1 - share.sum()) / (share == 0).sum()
    axis = int(rng.choice(len(AXES), p=share))
    upper = bool(rng.random() < rating[axis])
    words = WORDS[AXES[axis]][0 if upper else 1]
    # Around eight words of filler: prompts with eight context tokens before and after the name
    # then look familiar to the text tower.
    text = str(rng.choice(TEMPLATES))
    while "{filler}" in text:
        text = text.replace(
            "{filler}", " ".join(rng.choice(FILLER.split(), rng.integers(1, 11))), 1
        )
    text = text.format(word=rng.choice(words), noun=rng.choice(NOUNS), thing=rng.choice(THINGS))
    return text, axis, upper


class Batches(Dataset[dict[str, Tensor]]):
    """One item is one batch: crops of one size, degraded, with captions and their truth."""

    def __init__(self, pictures: Picture, batch: int, steps: int, seed: int) -> None:
        """`pictures`: uint8 [N, S, S, 3]; every item is a function of (seed, step)."""
        self.pictures, self.batch, self.steps, self.seed = pictures, batch, steps, seed

    def __len__(self) -> int:
        """Number of batches."""
        return self.steps

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Images uint8 [B, 3, s, s], tokens int [captions, L], truth [B, captions]."""
        cv2.setNumThreads(1)
        rng = np.random.default_rng((self.seed, 1, step))
        size = int(rng.choice([80, 112, 144, 192]))
        images, ratings = [], []
        # Batches of larger crops are smaller, so that every step costs about the same.
        for _ in range(round(self.batch * (96 / size) ** 2)):
            image = self.pictures[rng.integers(len(self.pictures))]
            room = PICTURE_SIZE - size
            y, x = rng.integers(0, room + 1, 2)
            image = image[:, ::-1] if rng.random() < 0.5 else image
            image, rating = degrade(np.ascontiguousarray(image[y : y + size, x : x + size]), rng)
            images.append(image)
            ratings.append(rating)
        captions = [draw_caption(rng, ratings[i % len(ratings)]) for i in range(self.batch)]
        axes = np.array([axis for _, axis, _ in captions])
        upper = np.array([polarity for _, _, polarity in captions])
        stacked = np.stack(ratings)[:, axes]
        truth = np.where(upper, stacked, 1 - stacked)
        return {
            "image": torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2),
            "tokens": clip.tokenize(
                [text for text, _, _ in captions], TRAINED_LENGTH, truncate=True
            ),
            "truth": torch.from_numpy(truth.astype(np.float32)),
        }


def contrastive_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Symmetric InfoNCE with soft targets.

    Args:
        logits: [B, captions].
        truth: how well each caption describes each image, [B, captions] in 0..1.
    """
    # The drawn caption may be an unlikely one: a floor keeps every row a distribution.
    truth = truth + 1e-3
    rows = truth / truth.sum(1, keepdim=True)
    columns = truth / truth.sum(0, keepdim=True)
    # Divergence rather than cross-entropy: the same gradient, and 0 when nothing is left to learn.
    by_image = (rows * (rows.log() - logits.log_softmax(1))).sum(1).mean()
    by_caption = (columns * (columns.log() - logits.log_softmax(0))).sum(0).mean()
    return (by_image + by_caption) / 2


def new_model(seed: int) -> CLIP:
    """A CLIP of `ARCHITECTURE`, its attention pool without positions."""
    torch.manual_seed(seed)
    model = CLIP(**{**ARCHITECTURE, "context_length": TRAINED_LENGTH}).float()
    model.visual.to(memory_format=torch.channels_last)
    # One row of zeros stands for all positions, so that any crop size passes; `save` repeats it.
    width = model.visual.attnpool.positional_embedding.shape[1]
    model.visual.attnpool.positional_embedding = nn.Parameter(torch.zeros(1, width), False)
    return model


def optimizer_of(model: CLIP, rate: float) -> torch.optim.Optimizer:
    """AdamW; no decay on gains, biases, embeddings and the logit scale."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_matrix = parameter.ndim >= 2 and "embedding" not in name
            (decayed if is_matrix else plain).append(parameter)
    groups = [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))


def train(pictures: Picture, steps: int, batch: int, rate: float, seed: int, workers: int) -> CLIP:
    """Train from scratch; prints the mean loss every 100 steps."""
    model = new_model(seed).train()
    optimizer = optimizer_of(model, rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.1)
    loader = DataLoader(Batches(pictures, batch, steps, seed), batch_size=None, num_workers=workers)
    begin, recent = time.perf_counter(), []
    for step, item in enumerate(loader, 1):
        images = (item["image"].float() / 255 - MEAN) / STD
        _, logits = model(images, item["tokens"])
        loss = contrastive_loss(logits.T, item["truth"])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=float(np.log(100)))
        recent.append(loss.item())
        if step % 100 == 0 or step == steps:
            scale = model.logit_scale.exp().item()
            took = time.perf_counter() - begin
            print(f"{step} loss {np.mean(recent):.4f} scale {scale:.1f} {took:.0f}s", flush=True)
            recent.clear()
    return model.eval()


def save(model: CLIP, out: Path, facts: dict[str, str]) -> None:
    """Write the weights as fp16 safetensors with `facts` as metadata, atomically."""
    state = {
        key: value.detach().half().contiguous() if value.is_floating_point() else value
        for key, value in model.state_dict().items()
    }
    cells = (ARCHITECTURE["image_resolution"] // 32) ** 2 + 1
    key = "visual.attnpool.positional_embedding"
    state[key] = state[key].repeat(cells, 1)
    # Text positions beyond the trained ones stay as CLIP initialises them.
    tail = CLIP(**ARCHITECTURE).positional_embedding[TRAINED_LENGTH:].detach().half()
    state["positional_embedding"] = torch.cat([state["positional_embedding"], tail])
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    save_file(state, partial, metadata=facts)
    partial.chmod(0o644)
    partial.replace(out)


def main() -> None:
    """Draw the pictures, train, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    seeds = [(options.seed, 0, index) for index in range(options.pictures)]
    with Pool(options.workers or 1) as pool:
        pictures = np.stack(pool.map(picture, seeds, chunksize=8))
    print(f"{len(pictures)} pictures drawn", flush=True)
    model = train(
        pictures, options.steps, options.batch, options.rate, options.seed, options.workers
    )
    facts = {
        "model": "clip.model.CLIP of openai-clip, trained from random weights",
        "script": "scripts/train_demo_clip.py",
        "data": f"{options.pictures} procedural pictures, no photograph",
        "seed": str(options.seed),
        "steps": str(options.steps),
        "batch": str(options.batch),
        "rate": str(options.rate),
        "torch": torch.__version__,
        "architecture": json.dumps(ARCHITECTURE),
        "license": "Apache-2.0",
    }
    save(model, options.out, facts)


if __name__ == "__main__":
    main()
