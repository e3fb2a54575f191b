"""From picture files to a file of scores, in one pass and in constant memory."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TimeRemainingColumn,
)
from rich.text import Text
from torch import Tensor

from clipiqa_plus.data.images import read_rgb
from clipiqa_plus.scorer import Scorer
from clipiqa_plus.scores.inputs import STDIN, check_sources, find_pictures
from clipiqa_plus.scores.output import ScoreFile, printable

# A chunk ends at this many pixels, whatever the number of pictures: about 1 GB of feature maps.
_MOST_PIXELS = 8_000_000

Decoded = tuple[str, Tensor | str]
"""A path, and its picture uint8 [3, H, W] or the reason why there is none."""


@dataclass(frozen=True)
class Summary:
    """What a run did."""

    scored: int
    """Pictures with a score in the file, those of earlier runs included."""
    failed: int
    """Pictures without."""
    earlier: int
    """Pictures that earlier runs had recorded."""
    seconds: float
    """Time of this run."""
    failures: Path
    """File of the pictures without a score, and why; exists if there are any."""

    @property
    def rate(self) -> float:
        """Pictures a second in this run."""
        return (self.scored + self.failed - self.earlier) / max(self.seconds, 1e-9)


def score_files(
    scorer: Scorer,
    sources: Sequence[str],
    out: str | PathLike[str],
    batch_size: int = 16,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Summary:
    """Score picture files, going on where an earlier run of the same settings was stopped.

    Args:
        scorer: The preset.
        sources: Files, folders, globs or ``-``, see
            :func:`~clipiqa_plus.scores.inputs.find_pictures`.
        out: File to write, see :class:`~clipiqa_plus.scores.output.ScoreFile`.
        batch_size: Most pictures that are encoded at once; those of one size go together.
        workers: Threads that decode ahead of the model; None takes the number of cores, at most 16.
        overwrite: Begin anew.
        progress: Show progress on the standard error.

    Returns:
        What was done. A picture that cannot be read is listed and does not stop the run.

    Raises:
        FileNotFoundError: If a source does not exist.
        ValueError: If there are no pictures, or ``out`` holds something else.
    """
    if batch_size < 1 or (workers is not None and workers < 1):
        raise ValueError(f"batch_size {batch_size}, workers {workers}: give 1 or more")
    check_sources(sources)
    # A list on standard input can be read once, so only the others are counted first.
    total = None if STDIN in sources else sum(1 for _ in find_pictures(sources))
    if total == 0:
        raise ValueError(f"{', '.join(sources)}: no pictures there")
    begin = time.perf_counter()
    file = ScoreFile(Path(out), scorer.names, scorer.settings, overwrite)
    left = file.resume(find_pictures(sources))
    earlier = file.done
    decoded = _decode_ahead(
        left, scorer.backbone.least_size, workers or min(16, os.cpu_count() or 1), batch_size
    )
    with _progress(progress) as bar:
        task = bar.add_task("", total=None if total is None else total - earlier)
        for chunk in _chunks(decoded, batch_size):
            _record(scorer, chunk, file)
            bar.advance(task, len(chunk))
    file.finish()
    seconds = time.perf_counter() - begin
    return Summary(file.done - file.failed, file.failed, earlier, seconds, file.failures)


def _record(scorer: Scorer, chunk: list[Decoded], file: ScoreFile) -> None:
    """Score a chunk, and write it in order."""
    images = [image for _, image in chunk if isinstance(image, Tensor)]
    scores = iter(scorer.score_images(images).tolist() if images else [])
    for path, image in chunk:
        if isinstance(image, Tensor):
            file.write(path, next(scores))
        else:
            file.fail(path, image)


def _chunks(decoded: Iterator[Decoded], batch_size: int) -> Iterator[list[Decoded]]:
    chunk: list[Decoded] = []
    pixels = 0
    for path, image in decoded:
        chunk.append((path, image))
        pixels += image[0].numel() if isinstance(image, Tensor) else 0
        if len(chunk) == batch_size or pixels >= _MOST_PIXELS:
            yield chunk
            chunk, pixels = [], 0
    if chunk:
        yield chunk


def _decode_ahead(
    paths: Iterator[str], least_size: int, workers: int, batch_size: int
) -> Iterator[Decoded]:
    """Decode in threads, which Pillow's decoders run side by side in; keep the order."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[str, Future[Tensor | str]]] = deque()
        for path in paths:
            waiting.append((path, pool.submit(_decode, path, least_size)))
            if len(waiting) >= workers + batch_size:
                path, future = waiting.popleft()
                yield path, future.result()
        for path, future in waiting:
            yield path, future.result()


def _decode(path: str, least_size: int) -> Tensor | str:
    """Return the picture, uint8 [3, H, W], or the reason why there is none."""
    if printable(path) != path:
        return "name with a line break or not in UTF-8; rename the file"
    if not os.path.exists(path):
        return "no such file"
    try:
        image = torch.from_numpy(read_rgb(path)).permute(2, 0, 1)
    except Exception as error:  # on damaged files Pillow's plugins raise errors of many kinds
        return str(error).removeprefix(f"{path}: ") or type(error).__name__
    if min(image.shape[1:]) < least_size:
        return f"{image.shape[2]}x{image.shape[1]} pixels; the backbone takes {least_size} or more"
    return image


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:,.1f} images/s")


def _progress(shown: bool) -> Progress:
    columns = (BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not shown)
