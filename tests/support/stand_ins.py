"""A working folder for the commands of the documentation: small data, small models, short runs."""

from __future__ import annotations

import shutil
import tarfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.data.base import IQADataModule
from clipiqa_plus.data.benchmarks import BENCHMARKS
from clipiqa_plus.data.benchmarks.common import Benchmark
from clipiqa_plus.data.demo import DemoIQA
from clipiqa_plus.metrics.conformal import interval_facts
from clipiqa_plus.prompts.files import save_prompts
from clipiqa_plus.prompts.importers import export_pyiqa
from clipiqa_plus.prompts.sources import ContextPrompts
from clipiqa_plus.training import recipes
from tests.support.benchmark_files import picture
from tests.support.models import small_clip

PARTS = ["train"] * 84 + ["val"] * 12 + ["test"] * 24
PRESENT = ("biq2021", "koniq10k", "spaq", "kadid10k", "tid2013")


def labels(low: float, high: float) -> pd.DataFrame:
    """A table of pictures, two of each content, with their parts."""
    mos = np.random.default_rng(0).uniform(low, high, len(PARTS))
    contents = [f"scene{i // 2}" for i in range(len(PARTS))]
    names = [f"{i}.png" for i in range(len(PARTS))]
    return pd.DataFrame({"image": names, "mos": mos, "split": PARTS, "content": contents})


def stand_ins(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Fill a folder with the files that the pages mention, replacing large data and models.

    Args:
        folder: The working folder; it gets the project's recipes, changed to small pictures and
            two steps.
        patch: Reverts the replacements.
    """
    for name in PRESENT:
        for image in labels(0, 1)["image"]:
            picture(folder / "data" / name / image, (40, 32))
    table = labels(1, 5).drop(columns="split")
    table.assign(sharpness=table["mos"]).to_csv(folder / "mine" / "scores.csv", index=False)
    table.to_csv(folder / "mine.csv", index=False)
    firsts = np.arange(60)
    votes = {"first": firsts, "second": (firsts * 7 + 1) % 60, "vote": "first"}
    named = pd.DataFrame(votes).query("first != second").astype(str)
    named = named.assign(first=named["first"] + ".png", second=named["second"] + ".png")
    named.to_csv(folder / "mine" / "votes.csv", index=False)
    for image in table["image"]:
        picture(folder / image, (40, 32))
        picture(folder / "mine" / image, (40, 32))
    rated = pd.DataFrame({"image": ["a.png", "b.jpg", "c.png"], "mos": [1, 3, 5]})
    rated.to_csv(folder / "ratings.csv", index=False)
    views = folder / "mine" / "views.yaml"
    views.write_text(views.read_text().replace("384", "32").replace("count: 8", "count: 2"))
    for path in (
        "data/biq2021/Images/a.png",
        "data/kadis700k/dist_imgs/a_01_01.bmp",
        "photos/a.png",
        "photos/b.jpg",
        "photos/c.png",
        "more/sub/c.jpg",
        "one.png",
    ):
        picture(folder / path, (40, 32))
    (folder / "shards").mkdir()
    with tarfile.open(folder / "shards" / "0.tar", "w") as shard:
        shard.add(folder / "photos" / "a.png", "a.png")
    _hugging_face(folder / "mine_hf", table, patch)
    _recipes(folder / "configs", patch)
    _benchmarks(patch)
    clip = small_clip()
    patch.setattr(FrozenCLIP, "from_name", lambda *_args, **_options: deepcopy(clip))
    prompts = ContextPrompts(clip)
    prompts.steps += 1
    held_out = torch.linspace(0, 1, 20)[:, None]
    intervals = interval_facts(held_out, held_out, (0, 100))
    for run in ("demo", "a", "koniq_official", "koniq_seed0", "koniq_seed1", "seed0", "seed1"):
        path = folder / "runs" / run / "prompts.safetensors"
        with torch.no_grad():  # runs of two seeds differ
            random = torch.Generator().manual_seed(int(run.endswith("seed1")))
            prompts.ctx.normal_(generator=random)
        save_prompts(path, prompts, clip, reduction="mean", intervals=intervals)
        (path.parent / "run.json").write_text("{}")
    for name in ("CLIPIQA+_RN50_512.pth", "CLIPIQA+_RN50_512-89f5d940.pth"):
        export_pyiqa(folder / name, prompts, clip)


def _hugging_face(folder: Path, table: pd.DataFrame, patch: pytest.MonkeyPatch) -> None:
    for name, rows in (("train", table[:96]), ("test", table[96:])):
        for image in rows["image"]:
            picture(folder / name / image, (40, 32))
        rows = rows.rename(columns={"image": "file_name"})
        rows.to_csv(folder / name / "metadata.csv", index=False)
    datasets = pytest.importorskip("datasets")
    patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(folder.parent / "hf"))
    patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def _recipes(folder: Path, patch: pytest.MonkeyPatch) -> None:
    if folder.is_symlink():
        folder.unlink()
    shutil.copytree(recipes.CONFIGS, folder)
    for path in (*folder.rglob("*.yaml"), folder.parent / "two_sets.yaml"):
        recipe: dict[str, Any] = yaml.safe_load(path.read_text())
        if "data" in recipe:
            options = recipe["data"].setdefault("init_args", {})
            options["num_workers"] = 0
            for each in (
                options,
                *(s.get("init_args", {}) for s in options.get("sets", {}).values()),
            ):
                each.pop("resize", None)  # small pictures stay small
        if "trainer" in recipe:
            recipe["trainer"] = {"max_steps": 2, "accelerator": "cpu"}
        path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    patch.setattr(recipes, "CONFIGS", folder)


def _benchmarks(patch: pytest.MonkeyPatch) -> None:
    def read(self: IQADataModule) -> pd.DataFrame:
        return labels(*self.mos_range)

    def home(self: Benchmark) -> Path:
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.title}: no folder {self.root}. {self.obtain}")
        return self.root

    patch.setattr(Benchmark, "home", property(home))
    patch.setattr(Benchmark, "prepare_data", lambda self: None)
    patch.setattr(Benchmark, "label_file", lambda self, *names: self.root / "labels.csv")
    for kind in set(BENCHMARKS.values()):
        patch.setattr(kind, "read_annotations", read)
        patch.setattr(kind, "picture_folders", ("",))
        patch.setattr(kind, "expected_rows", ())
        patch.setattr(kind, "official_sizes", None)
    whole = DemoIQA.read_annotations

    def part(self: DemoIQA) -> pd.DataFrame:
        table = whole(self)
        return table.groupby("split", sort=False).head(12).reset_index(drop=True)

    patch.setattr(DemoIQA, "read_annotations", part)
