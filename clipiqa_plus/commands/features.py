"""``clipiqa features``: the feature cache."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

app = App("features", help="Inspect, verify or prune the feature cache.")


@app.command
def info(*, dir: str | None = None) -> None:
    """List the contents of the cache.

    Args:
        dir: Folder of the features (default: as in training).
    """
    from datetime import datetime

    from rich.table import Table

    from clipiqa_plus.evaluation.terminal import print_table
    from clipiqa_plus.features import info

    table = Table("store", "backbone", "features", "MB", "last used", "state")
    for store in info(dir):
        used = f"{datetime.fromtimestamp(store.last_used):%Y-%m-%d %H:%M}"
        size = f"{store.bytes / 1e6:,.1f}"
        state = store.stale or "in use"
        table.add_row(store.path.name, store.backbone, f"{store.features:,}", size, used, state)
    print_table(table)


@app.command
def verify(
    *,
    dir: str | None = None,
    recipe: str | None = None,
    part: Literal["train", "val", "test"] = "test",
    samples: int = 16,
) -> int:
    """Check every file's SHA-256.

    Args:
        dir: Folder of the features (default: as in training).
        recipe: Also re-encode some of this recipe's pictures and compare.
        part: Part from which these pictures are taken.
        samples: Number of pictures to re-encode.

    Returns:
        The exit code: 1 if a file is damaged or a feature differs.
    """
    from clipiqa_plus.features import verify

    damaged = verify(dir)
    for damage in damaged:
        print(f"{damage.path}: {damage.reason}")
    print(f"{len(damaged)} damaged files" if damaged else "every file is intact")
    same = recipe is None or _encoded_anew(recipe, dir, part, samples)
    return 1 if damaged or not same else 0


@app.command
def prune(
    *, dir: str | None = None, unused_days: float | None = None, dry_run: bool = False
) -> None:
    """Remove damaged and stale features.

    Args:
        dir: Folder of the features (default: as in training).
        unused_days: Also remove those not read for this many days.
        dry_run: Only list what would be removed.
    """
    from clipiqa_plus.features import prune

    pruned = prune(dir, unused_days, dry_run)
    for removed in pruned:
        print(f"{removed.path}: {removed.reason}")
    size = sum(removed.bytes for removed in pruned) / 1e6
    print(f"{len(pruned)} files, {size:,.1f} MB {'would be ' if dry_run else ''}removed")


def _encoded_anew(
    path: str, dir: str | None, part: Literal["train", "val", "test"], samples: int
) -> bool:
    """Compare cached features of a recipe's pictures with fresh ones and print the result."""
    from clipiqa_plus.clip.backbone import FrozenCLIP
    from clipiqa_plus.data.mixed import single_sets
    from clipiqa_plus.features import FeatureCache
    from clipiqa_plus.training.recipes import data_of, read_recipe

    recipe = read_recipe(path)
    model = recipe.get("model") or {}
    fixed = {key: model[key] for key in ("pos_embedding", "precision") if key in model}
    clip = FrozenCLIP.from_name(model.get("backbone", "RN50"), **fixed)
    cache = FeatureCache(**{**(recipe.get("features") or {}), "dir": dir})
    same = True
    for name, data in single_sets("", data_of(recipe, path)).items():
        data.setup()
        found = cache.spot_check(clip, data, part, samples)
        verdict = "equal" if found.same else "NOT those of these pictures and this backbone"
        print(
            f"{name}{': ' if name else ''}{found.compared} features re-encoded, largest difference "
            f"{found.difference:.1e}: {verdict}; {found.missing} not in the cache"
        )
        same &= found.same
    return same
