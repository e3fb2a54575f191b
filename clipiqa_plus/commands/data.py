"""``clipiqa data``: the benchmarks."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

Part = Literal["train", "val", "test"]

app = App("data", help="List the benchmarks, fetch one, check its folder.")


@app.command(name="list")
def list_benchmarks() -> None:
    """List all benchmarks: size, scale, split, source, terms."""
    from clipiqa_plus.data.check import facts, render_facts
    from clipiqa_plus.evaluation.terminal import print_table

    print_table(render_facts(facts()))


@app.command(name="get")
def get_benchmark(name: str, /, *, root: str | None = None, url: str | None = None) -> None:
    """Download a benchmark from its public address; an interrupted download is resumed.

    Args:
        name: Short name, see 'clipiqa data list'.
        root: Destination folder (default: data/NAME).
        url: Another address of the same files, such as a nearby mirror.
    """
    from clipiqa_plus.data.check import render_check
    from clipiqa_plus.data.get import get
    from clipiqa_plus.evaluation.terminal import print_table

    print_table(render_check(get(name, root, url)))


@app.command(name="check")
def check_benchmark(name: str, /, *, root: str | None = None) -> int:
    """Check that a folder holds a complete benchmark.

    Args:
        name: Short name, see 'clipiqa data list'.
        root: Folder of the unpacked data set (default: data/NAME).

    Returns:
        The exit code: 1 if the benchmark is not complete.
    """
    from clipiqa_plus.data.check import check, render_check
    from clipiqa_plus.evaluation.terminal import print_table

    result = check(name, root or f"data/{name}")
    print_table(render_check(result))
    return 0 if result.ok else 1


@app.command(name="overlap")
def overlap(
    tested: str,
    trained: str | None = None,
    /,
    *,
    part: Part = "test",
    train_part: Part = "train",
    root: str | None = None,
    backbone: str = "photo",
    alike: float | None = None,
    out: str | None = None,
    device: str | None = None,
) -> None:
    """List the pictures of one data set that have a duplicate in another, or in its own training.

    Finds identical files, and near duplicates: similar in image features, encoded once, and similar
    in their pixels.

    Args:
        tested: Recipe or short name of the data set to test on.
        trained: Recipe or short name of the data set to train on (default: the same).
        part: The part to test on.
        train_part: The part to train on.
        root: Folder of all benchmarks (default: data).
        backbone: Backbone of the features.
        alike: Smallest correlation of the pixels of near duplicates, at 32 x 32 (default: 0.95).
        out: CSV file of the duplicates.
        device: Such as cpu, cuda or cuda:1 (default: the GPU if there is one).
    """
    from pathlib import Path

    import torch

    from clipiqa_plus.clip import FrozenCLIP
    from clipiqa_plus.evaluation.analyses import overlap
    from clipiqa_plus.features import FeatureCache
    from clipiqa_plus.training.recipes import data_of, find_recipe, read_recipe, rooted
    from clipiqa_plus.training.run_folder import write_text

    clip = FrozenCLIP.from_name(backbone).to(
        device or ("cuda" if torch.cuda.is_available() else "cpu")
    )
    cache, sides = FeatureCache(), []
    for spec, wanted in ((tested, part), (trained or tested, train_part)):
        path = find_recipe(spec)
        data = data_of(read_recipe(path), path, **rooted(path, root))
        data.setup()
        sides.append(overlap.pictures_of(data, wanted, clip, cache, encode=True))
    found, _ = overlap.duplicates(sides[0], sides[1], overlap.ALIKE if alike is None else alike)
    for row in found.itertuples():
        print(f"{row.image}\t{row.trained_on}\t{row.kind}\t{row.pixels:.4f}")
    counts = found["kind"].value_counts()
    print(
        f"{len(found):,} of {len(sides[0].names):,} pictures have a duplicate: "
        f"{counts.get(overlap.IDENTICAL, 0):,} identical, "
        f"{counts.get(overlap.NEAR_DUPLICATE, 0):,} near"
    )
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        write_text(Path(out), found.to_csv(index=False))
