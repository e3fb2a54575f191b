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

import clip
import cv2
import numpy as np
import torch
from demo_pictures import Picture
from embedded_clip import ARCHITECTURE, PAIRS, Ruler, Trainee, losses, optimizer_of, save
from numpy.typing import NDArray
from photo_degradations import KINDS, NAMES, apply, draw_recipe, measure, rate, strengths, weakened
from photo_list import load, sha256
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from train_demo_clip import NOUNS, TRAINED_LENGTH, draw_caption

SIDE = 512  # pixels of a photograph of BIQ2021


def draw_captions(
    rng: np.random.Generator,
    count: int,
    ratings: NDArray[np.float32],
    kinds: NDArray[np.float32],
) -> tuple[Tensor, Tensor]:
    """Captions of some of N pictures: tokens [count + 2 axes, L], those of `PAIRS` at the end.

    And how well each of the captions describes each picture: truth float32 [N, count].
    """
    texts, truths = [], []
    for index in rng.integers(0, len(ratings), count):
        present = np.flatnonzero(kinds[index])
        if len(present) and rng.random() < 0.35:
            kind = int(rng.choice(present))
            texts.append(f"{rng.choice(KINDS[NAMES[kind]][3])} {rng.choice(NOUNS)}.")
            truths.append(kinds[:, kind])
        else:
            text, axis, upper = draw_caption(rng, ratings[index])
            texts.append(text)
            truths.append(ratings[:, axis] if upper else 1 - ratings[:, axis])
    tokens = clip.tokenize(texts + PAIRS, TRAINED_LENGTH, truncate=True)
    return tokens, torch.from_numpy(np.stack(truths, 1).astype(np.float32))


class Batches(Dataset[dict[str, Tensor]]):
    """One item is one batch: groups of four crops, degraded, with captions and their truth.

    A group is one recipe on two photographs: weak and strong on the first, weak and strong on the
    second.
    """

    def __init__(
        self,
        photos: Picture,
        crops: int,
        sizes: list[int],
        captions: int,
        steps: int,
        seed: int,
    ) -> None:
        """`photos`: uint8 [N, S, S, 3]; every item is a function of (seed, step)."""
        self.photos, self.crops, self.sizes, self.captions = photos, crops, sizes, captions
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
        size = int(rng.choice(self.sizes))
        images, ratings, kinds, measures = [], [], [], []
        # Batches of larger crops are smaller, so that every step costs about the same.
        for _ in range(max(1, round(self.crops / 4 * (112 / size) ** 2))):
            recipe = draw_recipe(rng)
            share = max(0.0, rng.uniform(-0.25, 0.8))
            for clean in (self.crop(rng, size), self.crop(rng, size)):
                for version in (weakened(recipe, share), recipe):
                    image = apply(clean, version)
                    images.append(image)
                    ratings.append(rate(clean, image, version))
                    kinds.append(strengths(version))
            measures += [measure(image) for image in images[-4:-2]]  # the first photograph's
        texts, truth = draw_captions(rng, self.captions, np.stack(ratings), np.stack(kinds))
        return {
            "image": torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2),
            "tokens": texts,
            "truth": truth,
            "rating": torch.from_numpy(np.stack(ratings)),
            "kinds": torch.from_numpy(np.stack(kinds)),
            "measures": torch.from_numpy(np.stack(measures)),
        }


def rate_at(step: int, steps: int, cool: int) -> float:
    """Share of the peak rate: warm-up over 100 steps, constant, linear to zero at the end."""
    return min(1.0, step / 100, (steps - step) / cool)


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
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 112, 144, 192])
    parser.add_argument("--fixed-norm", action="store_true", help="batch norms keep their averages")
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
    batches = Batches(
        photos, options.crops, options.sizes, options.captions, options.steps, options.seed
    )
    # From small crops always: the ruler must not change when a run goes on with other sizes.
    small = Batches(photos, 64, [96, 112, 144, 192], 32, 40, options.seed)
    ruler = Ruler.of(torch.cat([small[10**6 + i]["measures"] for i in range(40)]))
    model = Trainee().train()
    average = copy.deepcopy(model).eval()
    optimizer = optimizer_of(model, options.rate)
    done = 0
    if options.resume:
        kept = torch.load(options.resume, weights_only=True)
        model.load_state_dict(kept["model"], strict=False)
        average.load_state_dict(kept["average"], strict=False)
        done = kept["step"]
    if options.fixed_norm:
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
    rest = Subset(batches, range(done, options.steps))
    loader = DataLoader(rest, batch_size=None, num_workers=options.workers, prefetch_factor=4)
    begin, recent = time.perf_counter(), []
    for step, item in enumerate(loader, done + 1):
        for group in optimizer.param_groups:
            group["lr"] = options.rate * rate_at(step, options.steps, options.cool)
        parts = losses(model, model.see(item["image"]), item, ruler)
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
                "sizes": str(options.sizes),
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
