"""A data set of a few pictures, and functions that the feature tests run in child processes."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.data.base import IQADataModule
from clipiqa_plus.data.transforms import Views
from clipiqa_plus.features import FeatureCache, FeatureStore, extraction
from tests.support.models import small_clip

NAMES = [f"{letter}.png" for letter in "abcdefghijkl"]
ALL = ["train", "test"]


def draw(path: Path, seed: int, size: tuple[int, int] = (48, 40)) -> None:
    """Write a random picture as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)


class Few(IQADataModule):
    """Pictures ``<name>.png`` below root; the first ones train, the last four test."""

    name = "few"
    mos_range = (0.0, 10.0)

    def __init__(
        self,
        root: str | Path,
        names: Sequence[str],
        train_views: Views | None = None,
        val: int = 0,
        **options: object,
    ) -> None:
        super().__init__(root, num_workers=0, train_views=train_views, **options)  # type: ignore[arg-type]
        self.names = list(names)
        self.val = val
        self.setup()

    def read_annotations(self) -> pd.DataFrame:
        count = len(self.names)
        parts = ["train"] * (count - 4 - self.val) + ["val"] * self.val + ["test"] * 4
        mos = np.random.default_rng(3).uniform(0, 10, count)
        return pd.DataFrame({"image": self.names, "mos": mos, "split": parts})


def content(folder: Path) -> dict[bytes, bytes]:
    """All features below a cache folder by key, read without the code under test."""
    found: dict[bytes, bytes] = {}
    for shard in sorted(folder.rglob("*.safetensors")):
        tensors = load_file(shard)
        for key, feature in zip(tensors["keys"], tensors["features"], strict=True):
            assert bytes(key.tolist()) not in found, "a feature is stored twice"
            found[bytes(key.tolist())] = feature.numpy().tobytes()
    return found


def extract_slowly(cache: Path, root: Path, names: list[str], views: Views) -> None:
    """Run in a child process: a shard for every batch, and time to be killed between any two."""
    extraction.SHARD_FEATURES = 1
    encode = FrozenCLIP.encode_image

    def slow(self: FrozenCLIP, images: Tensor | Sequence[Tensor]) -> Tensor:
        time.sleep(0.02)
        with cache.with_suffix(".encoded").open("a") as log:
            log.write(len(images) * ".")
        return encode(self, images)

    FrozenCLIP.encode_image = slow  # type: ignore[method-assign]
    torch.set_num_threads(1)
    data = Few(root, names, train_views=views)
    FeatureCache(str(cache), batch_size=4).tables(small_clip(), data, ["train", "test"])


def extract_rank(
    rank: int,
    size: int,
    batch_size: int,
    meeting: Path,
    cache: Path,
    root: Path,
    names: list[str],
    out: Path,
) -> None:
    """Run in a child process: one of several ranks; writes what it got, or its error."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
    data = Few(root, names)
    written: list[bytes] = []
    write = FeatureStore.write

    def counting(self: FeatureStore, keys: Sequence[bytes], *args: object, **facts: str) -> Path:
        written.extend(keys)
        return write(self, keys, *args, **facts)  # type: ignore[arg-type]

    FeatureStore.write = counting  # type: ignore[assignment, method-assign]
    try:
        tables = FeatureCache(str(cache), batch_size=batch_size).tables(
            small_clip(), data, ["train", "test"]
        )
    except Exception as error:
        torch.save({"error": repr(error)}, out / f"{rank}.pt")
    else:
        features = {part: table.features for part, table in tables.items()}
        torch.save({"written": written, "features": features}, out / f"{rank}.pt")
    dist.destroy_process_group()


def direct(clip: FrozenCLIP, path: Path, flip: bool = False) -> Tensor:
    """The feature of a picture by Pillow, numpy and the backbone alone."""
    image = np.asarray(Image.open(path).convert("RGB"))
    image = image[:, ::-1] if flip else image
    return clip.encode_image(torch.from_numpy(image.copy()).movedim(-1, 0)[None])[0]


def names_below(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*.safetensors")}


def shards(cache: FeatureCache) -> list[Path]:
    return sorted(cache.dir.rglob("*.safetensors"))


class Counter:
    """Counts the images that are really encoded."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.images = 0
        encode = FrozenCLIP.encode_image

        def counting(clip: FrozenCLIP, images: Any) -> Tensor:
            self.images += len(images)
            return encode(clip, images)

        patch.setattr(FrozenCLIP, "encode_image", counting)

    def since(self) -> int:
        count, self.images = self.images, 0
        return count
