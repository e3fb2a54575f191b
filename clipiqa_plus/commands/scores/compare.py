"""``clipiqa compare``: two folders of the same pictures through two pipelines."""

from __future__ import annotations

import sys
from typing import Any, Literal

from cyclopts import App

from clipiqa_plus.commands.errors import INTERRUPTED
from clipiqa_plus.commands.options import NOTHING, Stated
from clipiqa_plus.commands.pairs import NO_SCALE, Pairs, ScaleOptions, words_of

app = App("compare")

_SHOWN = 10
"""Most pictures without a partner or score that are named on the terminal."""


@app.default
def compare(
    before: str,
    after: str,
    /,
    *,
    out: str = "runs/compared-folders",
    preset: str = "clipiqa",
    prompts: str | None = None,
    backbone: str | None = None,
    pair: Pairs = None,
    scale: ScaleOptions = NO_SCALE,
    reduction: Literal["mean", "none"] | None = None,
    stated: Stated = NOTHING,
    contents: Literal["picture", "folder"] = "picture",
    device: str | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    max_pixels: int | None = None,
    oversize: Literal["tile", "error", "resize"] = "tile",
    overwrite: bool = False,
) -> int:
    """Compare two folders of the same pictures, such as before and after a restoration.

    Pictures are paired by their paths below the folders, whatever the ending.

    Args:
        before: Folder of pictures.
        after: Folder of the same pictures after a change.
        out: Folder of the results; an interrupted run is resumed.
        preset: Name of the preset, see 'clipiqa presets'.
        prompts: Prompt file, for presets with learned prompts.
        backbone: Name or weights file, instead of the preset's.
        pair: Your own words: two prompts, that of a high score first; repeat it for several.
        scale: In place of pairs.
        reduction: With several pairs: a score for each (none, the default) or their mean.
        stated: About its weights.
        contents: folder if the pictures of one folder are versions of one content: then whole
            folders are the units of intervals and tests.
        device: Such as cpu, cuda or cuda:1 (default: the GPU if there is one).
        batch_size: Largest number of pictures in a batch.
        workers: Decoding threads (default: one per core).
        max_pixels: Largest picture, in pixels, that is scored in one piece (default: 8,388,608 on
            a ResNet); --oversize decides about larger ones.
        oversize: Score larger pictures in tiles, which gives the same score (not on a ViT), list
            them as failures, or resize them before scoring.
        overwrite: Replace the results of a finished comparison.

    Returns:
        The exit code: 1 if a picture is in one folder only or has no score, 130 after Ctrl-C.
    """
    from pathlib import Path

    from clipiqa_plus.evaluation.before_after import files, folders, statistics
    from clipiqa_plus.evaluation.terminal import print_table
    from clipiqa_plus.inference import load
    from clipiqa_plus.inference.bulk import SizeLimit
    from clipiqa_plus.report import write_comparison

    folder, limit = Path(out), SizeLimit(max_pixels, oversize)
    own: dict[str, Any] = {"pairs": words_of(pair), "reduction": reduction, **scale.words}
    matched = folders.match_folders(before, after)
    files.start(folder, overwrite)
    scorer = load(preset, prompts, stated.about(backbone), image_only=True, device=device, **own)
    try:
        pictures, failed = folders.score_folders(
            scorer, matched, folder, batch_size, workers, limit
        )
    except KeyboardInterrupt:
        print(f"clipiqa: interrupted; run the same command to resume {out}", file=sys.stderr)
        return INTERRUPTED
    summary = statistics.summarise(pictures, scorer.names, contents == "folder")
    left_out = dict.fromkeys(matched.unmatched, "in one folder only") | failed
    settings = {"before": before, "after": after, **scorer.settings, **limit.settings}
    files.save(folder, summary, pictures, left_out, settings)
    page = write_comparison(folder)
    print_table(files.render(summary))
    names = files.side_names(before, after)
    print(*files.sentences(summary, names), f"files: {out}, page: {page}", sep="\n")
    if left_out:
        print(
            f"clipiqa: {len(left_out):,} pictures left out, see {out}/left_out.csv:",
            file=sys.stderr,
        )
        for path, reason in list(left_out.items())[:_SHOWN]:
            print(f"  {path}: {reason}", file=sys.stderr)
    return 1 if left_out else 0
