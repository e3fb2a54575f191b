"""``clipiqa score``: quality scores of pictures."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from clipiqa_plus.commands.errors import INTERRUPTED
from clipiqa_plus.commands.options import NOTHING, Stated
from clipiqa_plus.commands.pairs import NO_SCALE, Pairs, ScaleOptions, words_of

if TYPE_CHECKING:
    from clipiqa_plus.inference.bulk import SizeLimit
    from clipiqa_plus.inference.scorer import Scorer

_SHARDS = (".tar", ".tar.gz", ".tgz")

app = App("score")


def _no_options(kind: type, paths: Sequence[str]) -> None:
    """Refuse what looks like an option among the paths; ``-`` alone stands for stdin."""
    for path in paths:
        if path.startswith("-") and path != "-":
            raise ValueError(
                f"unknown option {path}; a path that starts with - is written ./{path}"
            )


@app.default
def score(
    paths: Annotated[list[str], Parameter(allow_leading_hyphen=True, validator=_no_options)],
    /,
    *,
    out: str | None = None,
    preset: str = "clipiqa",
    prompts: str | None = None,
    backbone: str | None = None,
    pair: Pairs = None,
    scale: ScaleOptions = NO_SCALE,
    reduction: Literal["mean", "none"] | None = None,
    views: Literal["flip", "five-crop", "ten-crop", "scales"] | None = None,
    over_views: Literal["mean", "median"] = "mean",
    stated: Stated = NOTHING,
    html: str | None = None,
    device: str | None = None,
    devices: int = 1,
    batch_size: int = 16,
    workers: int | None = None,
    engine: Literal["local", "ray"] = "local",
    max_pixels: int | None = None,
    oversize: Literal["tile", "error", "resize"] = "tile",
    overwrite: bool = False,
    interval: float | None = None,
) -> int:
    """Score pictures: print the scores, or write them to a CSV, JSONL or Parquet file.

    Args:
        paths: Files, folders, globs, tar shards, or - for a list on stdin.
        out: Output file (.csv, .jsonl or .parquet); an interrupted one is resumed. Without it
            the scores are printed.
        preset: Name of the preset, see 'clipiqa presets'.
        prompts: Prompt file, for presets with learned prompts.
        backbone: Name or weights file, instead of the preset's.
        pair: Your own words: two prompts, that of a high score first, as in --pair "Sharp photo."
            "Blurry photo."; repeat it for several. "crisp=Sharp photo." names the score.
        scale: In place of pairs.
        reduction: With several pairs: a score for each (none, the default) or their mean.
        stated: About its weights.
        views: Score these views of each picture instead, which is not the published score.
        over_views: Take the mean or the median over the views.
        html: Also write an HTML page of the best and worst pictures to this path.
        device: Such as cpu, cuda or cuda:1 (default: the GPU if there is one).
        devices: Number of GPUs, one process each.
        batch_size: Largest number of pictures in a batch.
        workers: Decoding threads (default: one per core).
        engine: local, or ray, which also reads URLs and Parquet tables.
        max_pixels: Largest picture, in pixels, that is scored in one piece (default: 8,388,608 on
            a ResNet); --oversize decides about larger ones.
        oversize: Score larger pictures in tiles, which gives the same score (not on a ViT), list
            them as failures, or resize them before scoring, which does not give the published
            score.
        overwrite: Replace the file instead of resuming it.
        interval: Also give the interval that contains the opinion score with this probability, such
            as 0.9, on the scale of the opinion scores that the prompts were learned from.

    Returns:
        The exit code: 1 if a picture has no score, 130 after Ctrl-C.
    """
    from functools import partial

    from clipiqa_plus.inference.bulk import SizeLimit, name_devices, score_files, score_with_ray
    from clipiqa_plus.inference.bulk.inputs import check_sources
    from clipiqa_plus.inference.scorer import load

    limit = SizeLimit(max_pixels, oversize)
    own: dict[str, Any] = {"pairs": words_of(pair), "reduction": reduction, **scale.words}
    own |= {"views": views, "over_views": over_views}
    tower = stated.about(backbone)
    ready = partial(load, preset, prompts, tower, image_only=True, interval=interval, **own)
    if engine != "ray":  # Ray looks on its own, also beyond this computer
        check_sources(paths)
    if out is None:
        if html or overwrite or devices != 1 or engine == "ray":
            raise ValueError("--html, --overwrite, --devices and --engine ray need --out FILE")
        return _print_scores(ready(device=device), paths, workers, limit)
    if html and "://" in out:
        raise ValueError(f"--html needs a local file of scores, not {out}")
    how = (batch_size, workers, overwrite, True, limit)
    try:
        if engine == "ray":
            scorer = ready(device="cpu")
            done = score_with_ray(scorer, ready, paths, out, *how, devices, device)
        elif devices == 1:
            scorer = ready(device=device)
            done = score_files(scorer, paths, out, *how)
        else:
            scorer = ready(device="cpu")
            done = score_files(scorer, paths, out, *how, name_devices(devices, device), ready)
    except KeyboardInterrupt:
        print(f"clipiqa: interrupted; run the same command to resume {out}", file=sys.stderr)
        return INTERRUPTED
    earlier = f", {done.earlier:,} of them scored earlier" if done.earlier else ""
    rate = f", {done.rate:,.1f} images/s" if done.rate else ""
    print(f"{done.scored + done.failed:,} pictures{earlier}{rate}")
    print(f"{done.scored:,} scores by {scorer.settings['preset']} in {out}")
    if html and done.scored:
        from clipiqa_plus.report.gallery import write_gallery

        print(write_gallery(html, out, scorer.names, {**scorer.settings, **limit.settings}))
    if done.failed:
        print(f"clipiqa: {done.failed:,} not scored, see {done.failures}", file=sys.stderr)
    return 1 if done.failed else 0


def _print_scores(
    scorer: Scorer, paths: Sequence[str], workers: int | None, limit: SizeLimit
) -> int:
    """Print the score of one picture alone; of several, or of a folder, a line for each."""
    from clipiqa_plus.inference.bulk import score_pictures

    alone = len(paths) == 1 and os.path.isfile(paths[0]) and not paths[0].endswith(_SHARDS)
    failed = False
    if not alone or len(scorer.columns) > 1:
        print(*scorer.columns, *([] if alone else ["image"]), sep="\t")
    try:
        for row in score_pictures(scorer, paths, workers, limit):
            # Control characters are escaped: they could move the cursor or break the line.
            name = "".join(c if c.isprintable() else repr(c)[1:-1] for c in row.name)
            if row.scores is None:
                print(f"clipiqa: {name}: {row.reason}", file=sys.stderr)
                failed = True
            else:
                scores = [f"{score:.4f}" for score in row.scores]
                print(*scores, *([] if alone else [name]), sep="\t", flush=True)
    except KeyboardInterrupt:
        print("clipiqa: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 1 if failed else 0
