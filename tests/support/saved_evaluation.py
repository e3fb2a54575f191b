"""The folder of an evaluation with invented scores."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from clipiqa_plus.evaluation.comparison import NOTHING, compare_sources
from clipiqa_plus.evaluation.results import (
    Evaluated,
    save,
    start_record,
)
from tests.support.scored_pictures import SOURCES, scored


def jpeg(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()


def between(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores by interpolation from zero-shot to source "a", as if scores themselves were mixed."""
    parts = []
    for weight in (0.0, 0.5, 1.0):
        mixed = (1 - weight) * scores["zero_shot"] + weight * scores["a"]
        place = {"source": "a", "target": scores["target"], "weight": weight}
        parts.append(pd.DataFrame({**place, "id": scores["id"], "score": mixed}))
    return pd.concat(parts, ignore_index=True)


def about(scores: pd.DataFrame, sources: list[str]) -> dict[str, object]:
    source = {
        "backbone": "RN50",
        "weights_sha256": "a1" * 32,
        "pos_embedding": False,
        "precision": "fp32",
        "pairs": [["Good photo.", "Bad photo."]],
        "file_sha256": None,
    }
    pair = {"index": ["Good photo. / Bad photo."], "columns": [0.0, 1.0], "data": [[0.9, 0.8]]}
    inside = {
        "nearest_words": {"c1": [["<i>", 0.25]]},
        "text_cosines": [["Good photo.", 0.5]],
        "pair_cosines": pair,
    }
    return {
        "dataset": "Mine",
        "part": "test",
        "pictures": len(scores),
        "skipped": {},
        "split": "official",
        "split_sha256": "b2" * 32,
        "mos_range": [1, 5],
        "resize": None,
        "sources": dict.fromkeys(sources, source) | {"a": {**source, **inside}},
    }


def evaluation(
    folder: Path,
    scores: pd.DataFrame,
    sources: list[str] = SOURCES,
    names: tuple[str, ...] = ("mine",),
    resamples: int = 300,
) -> Path:
    tables, record = NOTHING, start_record(["--data", "my recipe.yaml"])
    thumbnails = pd.DataFrame({"id": range(5), "jpeg": [jpeg(i) for i in range(5)]})
    for name in names:
        tables = tables.add(name, compare_sources(scores, sources, resamples=resamples))
        way = between(scores) if "zero_shot" in sources else between(scores)[:0]
        found = Evaluated(scores, way, thumbnails, about(scores, sources))
        save(folder, name, tables, found, record)
    return folder


def pictures(n: int = 120, **options: int) -> pd.DataFrame:
    scores = scored(n, **options)
    scores["a"] = (scores["a"] + scores["mos"]) / 2  # clearly better than zero-shot
    scores["image"] = [f"</script><b>{i}</b> & co.png" for i in range(n)]
    scores["distortion"] = ["blur" if i % 2 else "noise" for i in range(n)]
    return scores
