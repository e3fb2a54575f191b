"""``clipiqa map``: which part of a picture is bad?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cyclopts import App

from clipiqa_plus.commands.options import NOTHING, Stated
from clipiqa_plus.commands.pairs import NO_SCALE, Pairs, ScaleOptions, words_of

app = App("map")


@app.default
def map_quality(
    picture: str,
    /,
    *,
    out: str,
    preset: str = "clipiqa",
    prompts: str | None = None,
    backbone: str | None = None,
    pair: Pairs = None,
    scale: ScaleOptions = NO_SCALE,
    stated: Stated = NOTHING,
    window: int = 2,
    device: str | None = None,
    overwrite: bool = False,
) -> None:
    """Show which parts of a picture score low: dark and violet over the picture in grey.

    The attention pool of a ResNet pools windows of the last feature map instead of all of it. The
    map compares places within one picture; it is no published score.

    Args:
        picture: A picture file.
        out: The overlay, a .png file; the array of scores is written beside it as .npy, a number
            for each 32x32 pixels.
        preset: Name of the preset, see 'clipiqa presets'.
        prompts: Prompt file, for presets with learned prompts.
        backbone: Name or weights file, instead of the preset's.
        pair: Your own words, see 'clipiqa score'.
        scale: In place of pairs.
        stated: About its weights.
        window: Side of a window in cells of 32x32 pixels.
        device: Such as cpu or cuda (default: the GPU if there is one).
        overwrite: Replace the files if they exist.
    """
    import numpy as np
    import torch

    from clipiqa_plus.data.images import read_rgb
    from clipiqa_plus.inference import load
    from clipiqa_plus.inference.bulk.inputs import check_sources
    from clipiqa_plus.inference.quality_map import CELL, quality_map, save_map

    path = Path(out)
    if not overwrite:
        for file in (path, path.with_suffix(".npy")):
            if file.exists():
                raise FileExistsError(f"{file}: exists; give another --out, or --overwrite")
    check_sources([picture])
    image = read_rgb(picture)
    tower = stated.about(backbone)
    own = {"pairs": words_of(pair), **scale.words}
    scorer = load(preset, prompts, tower, device, image_only=True, **own)
    scores = quality_map(scorer, torch.from_numpy(image).permute(2, 0, 1), window)
    facts: dict[str, Any] = {**scorer.settings, "window": window, "cell": CELL}
    files = save_map(path, image, scores, facts | {"note": "a map, not a published score"})
    row, column = np.unravel_index(int(scores.argmin()), scores.shape)
    print(
        f"result: lowest {scores.min():.3f} around x {CELL * column + CELL // 2}, "
        f"y {CELL * row + CELL // 2}; highest {scores.max():.3f}\nfiles: {files[0]}, {files[1]}"
    )
