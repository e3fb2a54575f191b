"""Two measures of the feature cache: what kills cost, and what cached training holds in memory.

Run it from the repository root: python benchmarks/feature_cache.py --json feature_cache.json
Pictures are made on the spot; the CLIP is a random RN50, which costs what the trained one does.

kills: an extraction is killed (SIGKILL) 20 times at random moments and resumed; then each feature
is compared with those of an uninterrupted extraction, bit by bit.
memory: trains on cached features of KonIQ-10k's size (10,073 pictures, 2 views, 1024 numbers) and
reads the most memory that the process held, libraries and CLIP included.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.weights import random_clip
from clipiqa_plus.data.base import IQADataModule
from clipiqa_plus.data.transforms import FlipViews
from clipiqa_plus.features import FeatureCache, extraction
from clipiqa_plus.module import CLIPIQAPlus

KILLS = 20
PICTURES = 60  # of the extraction that is killed
KONIQ = 10_073
STEPS = 50


class Noise(IQADataModule):
    """Random pictures ``0.png``, ``1.png``, ... below root, 70 % of them for training."""

    name = "noise"
    mos_range = (0.0, 100.0)

    def __init__(self, root: Path, pictures: int) -> None:
        super().__init__(root, num_workers=1, train_views=FlipViews())
        self.eval_views = FlipViews()
        self.pictures = pictures
        self.setup()

    def read_annotations(self) -> pd.DataFrame:
        """Return the table: file names and made-up scores."""
        train = round(0.7 * self.pictures)
        return pd.DataFrame(
            {
                "image": [f"{number}.png" for number in range(self.pictures)],
                "mos": np.random.default_rng(0).uniform(0, 100, self.pictures),
                "split": ["train"] * train + ["test"] * (self.pictures - train),
            }
        )


def main() -> None:
    """Measure, print, and write the numbers as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file for the numbers")
    measures = {"kills": kills, "memory": memory}
    parser.add_argument("--only", choices=measures, help="one of the measures")
    options = parser.parse_args()
    chosen = [options.only] if options.only else list(measures)
    with tempfile.TemporaryDirectory() as folder:
        found = {name: measures[name](Path(folder)) for name in chosen}
    for topic, numbers in found.items():
        for name, value in numbers.items():
            print(f"{topic:<8}{name:<44}{value}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def kills(folder: Path) -> dict[str, Any]:
    """Kill an extraction at random moments and compare what it leaves in the end."""
    write_pictures(folder / "pictures", PICTURES, (160, 128))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__"])
    pictures = folder / "pictures"
    duration, _ = extraction_in_child(context, folder / "whole", pictures)
    rng = random.Random(0)
    whole, killed, identical = features_below(folder / "whole"), folder / "killed", []
    stored: list[int] = []
    while len(stored) < KILLS:
        _, done = extraction_in_child(context, killed, pictures, rng.uniform(0, 0.3) * duration)
        if not done:
            stored.append(len(features_below(killed)))
        else:  # it got through between two kills: compare, and begin again
            identical.append(features_below(killed) == whole)
            shutil.rmtree(killed)
    extraction_in_child(context, killed, pictures)
    identical.append(features_below(killed) == whole)
    return {
        "kills": len(stored),
        "features after each kill": stored,
        "features": len(whole),
        "resumed extractions identical bit for bit": f"{sum(identical)} of {len(identical)}",
        "uninterrupted, s": round(duration, 1),
    }


def extraction_in_child(
    context: Any, cache: Path, pictures: Path, kill_after: float | None = None
) -> tuple[float, bool]:
    """Extract in a child process that may be killed so many seconds after its model is ready.

    Returns:
        Seconds that the extraction took, and whether it was done.
    """
    ready = context.Event()
    process = context.Process(target=extract_all, args=(cache, pictures, ready))
    process.start()
    ready.wait()
    started = time.monotonic()
    process.join(kill_after)
    if process.is_alive():
        process.kill()
    finish(process)
    return time.monotonic() - started, process.exitcode == 0


def extract_all(cache: Path, pictures: Path, ready: Any) -> None:
    """Encode all views of all pictures, with a shard for every batch to be killed between."""
    # The start method of the kills' own processes is not for the decoding ones.
    multiprocessing.set_start_method("fork", force=True)
    extraction.SHARD_FEATURES = 1
    clip = FrozenCLIP(random_clip("RN50", 0), "RN50", "0" * 64)
    data = Noise(pictures, PICTURES)
    ready.set()
    FeatureCache(str(cache), batch_size=4).tables(clip, data, ["train", "test"])


def finish(process: Any) -> None:
    """Wait for a child process that must not fail by itself."""
    process.join()
    if process.exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"a child process failed with exit code {process.exitcode}")


def features_below(folder: Path) -> dict[bytes, bytes]:
    """All features below a cache folder by key."""
    found = {}
    for shard in folder.rglob("*.safetensors"):
        tensors = load_file(shard)
        for key, feature in zip(tensors["keys"], tensors["features"], strict=True):
            found[key.numpy().tobytes()] = feature.numpy().tobytes()
    return found


def memory(folder: Path) -> dict[str, Any]:
    """Fill a cache in one process and train on it in another."""
    write_pictures(folder / "koniq", KONIQ, (32, 32))
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    for work, more in ((fill, ()), (train, (send,))):
        arguments = (folder / "cache", folder / "koniq", *more)
        process = context.Process(target=work, args=arguments)
        process.start()
        finish(process)
    return dict(receive.recv())


def fill(cache: Path, pictures: Path) -> None:
    """Put random features of the right keys into the cache."""

    def random_features(self: FrozenCLIP, images: Tensor | list[Tensor]) -> Tensor:
        return F.normalize(torch.randn(len(images), self.dim), dim=-1)

    FrozenCLIP.encode_image = random_features  # type: ignore[method-assign, assignment]
    clip = FrozenCLIP(random_clip("RN50", 0), "RN50", "0" * 64)
    data = Noise(pictures, KONIQ)
    FeatureCache(str(cache), batch_size=512).tables(clip, data, ["train", "test"])


def train(cache: Path, pictures: Path, send: Any) -> None:
    """Train some steps on cached features and send the memory that was held, in MB."""
    imports = peak()
    module = CLIPIQAPlus(FrozenCLIP(random_clip("RN50", 0), "RN50", "0" * 64))
    model = peak()
    data = Noise(pictures, KONIQ)
    trainer = Trainer(
        callbacks=[FeatureCache(str(cache))],
        accelerator="cpu",
        max_steps=STEPS,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)
    fitted = peak()
    shape = tuple(data.features["train"].features.shape)  # type: ignore[attr-defined]
    trainer.test(module, datamodule=data, verbose=False)
    send.send(
        {
            "libraries, MB": imports,
            "and CLIP, MB": model,
            "most, training, MB": fitted,
            "most, training and testing, MB": peak(),
            "training features": str(shape),
        }
    )


def write_pictures(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Write random pictures."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png", compress_level=0)


def peak() -> int:
    """Return the most memory that this process has held, in MB of 10^6 bytes."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


if __name__ == "__main__":
    main()
