"""Time of an evaluation's tables, and size and time of its page: 10,000 pictures, 4 sources.

Everything is computed from invented scores, with contents, distortions and ratings; no model.

Run it from the repository root: python benchmarks/report_page.py
"""

from __future__ import annotations

import io
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from clipiqa_plus.evaluation.analyses.tables import add, analyse
from clipiqa_plus.evaluation.comparison import NOTHING, compare_sources
from clipiqa_plus.evaluation.rank_changes import shown_pictures
from clipiqa_plus.evaluation.results import Evaluated, save, start_record
from clipiqa_plus.report import write_report

PICTURES, SOURCES, THUMBNAILS = 10_000, ("zero_shot", "learned", "probe", "ensemble"), 300
NOISE = (1.2, 0.6, 0.7, 0.5)


def main() -> None:
    """Invent an evaluation, save it, write its page, and print time and size."""
    rng = np.random.default_rng(0)
    mos = rng.beta(3, 2, PICTURES)
    scores = pd.DataFrame({"id": range(PICTURES), "target": "mos", "mos": mos})
    scores["image"] = [f"pictures/{i:05d}.jpg" for i in range(PICTURES)]
    scores["content"] = [f"content {i % 500}" for i in range(PICTURES)]
    scores["mos_std"], scores["n_ratings"] = rng.uniform(0.1, 0.25, PICTURES), 20
    scores["distortion"] = [f"distortion {i % 25}" for i in range(PICTURES)]
    for source, noise in zip(SOURCES, NOISE, strict=True):
        scores[source] = 1 / (1 + np.exp(-(3 * (mos - 0.5) + noise * rng.normal(size=PICTURES))))
    start, used = time.perf_counter(), time.process_time()
    tables = NOTHING.add("invented", compare_sources(scores, list(SOURCES)))
    compared = time.perf_counter() - start
    further = add({}, "invented", analyse(scores, SOURCES).tables)
    analysed = time.perf_counter() - start - compared
    found = Evaluated(scores, _between(scores), _pictures(scores, rng), _about())
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), "invented", tables, found, start_record([]), further)
        start = time.perf_counter()
        page = write_report(folder)
        written, size = time.perf_counter() - start, page.stat().st_size
    used = time.process_time() - used
    print(f"{PICTURES:,} pictures, {len(SOURCES)} sources")
    print(f"tables {compared:.1f} s, further tables {analysed:.1f} s, page {written:.1f} s")
    print(f"{used:.1f} s of one core in all; page {size / 1e6:.1f} MB")


def _between(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores by interpolation from zero-shot to each other source."""
    parts = []
    for source in SOURCES[1:]:
        for weight in np.linspace(0, 1, 21):
            mixed = (1 - weight) * scores["zero_shot"] + weight * scores[source]
            keys = {"source": source, "target": "mos", "weight": weight, "id": scores["id"]}
            parts.append(pd.DataFrame({**keys, "score": mixed.astype(np.float32)}))
    return pd.concat(parts, ignore_index=True)


def _pictures(scores: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """JPEGs of noise, which no picture exceeds in size: as many as an evaluation keeps."""

    def jpeg(side: int) -> bytes:
        file = io.BytesIO()
        noise = rng.integers(0, 256, (side * 3 // 4, side, 3), np.uint8)
        Image.fromarray(noise).save(file, "JPEG", quality=70)
        return file.getvalue()

    shown = shown_pictures(scores, SOURCES)
    order = list(dict.fromkeys([*shown, *range(PICTURES)]))[:THUMBNAILS]
    rows = [(i, jpeg(112), jpeg(560) if i in set(shown) else None) for i in order]
    return pd.DataFrame(rows, columns=["id", "jpeg", "large"])


def _about() -> dict[str, object]:
    source = {
        "backbone": "RN50",
        "weights_sha256": "0" * 64,
        "pos_embedding": "none",
        "precision": "fp32",
        "pairs": [["Good photo.", "Bad photo."]],
        "file_sha256": None,
    }
    return {
        "dataset": "invented",
        "part": "test",
        "pictures": PICTURES,
        "skipped": {},
        "split": "random",
        "split_sha256": "0" * 64,
        "mos_range": [0, 1],
        "resize": None,
        "sources": dict.fromkeys(SOURCES, source),
    }


if __name__ == "__main__":
    main()
