"""Score picture files in one pass and in constant memory."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from os import PathLike
from pathlib import Path

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

from clipiqa_plus.inference.bulk.batches import BatchScorer, batched, batches_ahead
from clipiqa_plus.inference.bulk.devices import LoadScorer, score_on_devices
from clipiqa_plus.inference.bulk.inputs import STDIN, check_sources, find_pictures
from clipiqa_plus.inference.bulk.output import Row, ScoreFile
from clipiqa_plus.inference.bulk.pictures import NO_LIMIT, SizeLimit
from clipiqa_plus.inference.scorer import Scorer


@dataclass(frozen=True)
class Summary:
    """Summary of a run."""

    scored: int
    """Number of pictures with a score, including earlier runs."""
    failed: int
    """Number of pictures without a score."""
    earlier: int
    """Number of pictures recorded by earlier runs."""
    seconds: float
    """Duration of this run."""
    failures: str
    """Path or URL of the file of failures and their reasons; it exists only if there are any."""

    @property
    def rate(self) -> float:
        """Pictures per second in this run."""
        return (self.scored + self.failed - self.earlier) / max(self.seconds, 1e-9)


def score_files(
    scorer: Scorer,
    sources: Sequence[str],
    out: str | PathLike[str],
    batch_size: int = 16,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = False,
    limit: SizeLimit = NO_LIMIT,
    devices: Sequence[str] = (),
    load: LoadScorer | None = None,
) -> Summary:
    """Score picture files; an interrupted run with the same settings is resumed.

    Earlier failures are retried, and their scores inserted in order.

    Args:
        scorer: The scorer.
        sources: Files, folders, globs, tar shards or ``-``, see
            :func:`~clipiqa_plus.inference.bulk.inputs.find_pictures`.
        out: Output file, see :class:`~clipiqa_plus.inference.bulk.output.ScoreFile`.
        batch_size: Maximum number of pictures per batch; those of equal size are encoded together.
        workers: Number of threads that decode ahead of the model; None uses the number of cores,
            at most 16 per process.
        overwrite: Replace an existing file.
        progress: Show progress on stderr.
        limit: Limit on the size of a picture.
        devices: Score in one process per device instead of in this process. The scores are equal
            up to fp32 rounding (the processes share torch's threads).
        load: Loads the scorer in these processes, such as ``partial(load, "clipiqa")``. A script
            must guard the call by ``if __name__ == "__main__"``.

    Returns:
        A summary of the run. Pictures that cannot be read are recorded and do not stop it.

    Raises:
        FileNotFoundError: If a source does not exist.
        ValueError: If there are no pictures, or ``out`` holds other scores.
        RuntimeError: If one of several processes died; the run can be resumed.
    """
    if batch_size < 1 or (workers is not None and workers < 1):
        raise ValueError(f"batch_size {batch_size}, workers {workers}: give 1 or more")
    if devices and load is None:
        raise ValueError("devices: give load, which loads the scorer in their processes")
    workers = workers or min(16 * max(1, len(devices)), os.cpu_count() or 1)
    check_sources(sources)
    # A list on standard input can only be read once, so it is not counted first.
    total = None if STDIN in sources else sum(1 for _ in find_pictures(sources))
    begin = time.perf_counter()
    settings = {**scorer.settings, **limit.settings}
    with ExitStack() as stack:
        file = stack.enter_context(ScoreFile(Path(out), scorer.columns, settings, overwrite))
        pictures = find_pictures(sources)
        again = file.resume(pictures)
        earlier = file.done
        batches = batched(chain(again, pictures), batch_size)
        if load and devices:
            ahead = batches_ahead(workers // len(devices), batch_size)
            rows = score_on_devices(load, devices, batches, ahead, workers, limit)
        else:
            here = stack.enter_context(BatchScorer(scorer, workers, limit))
            rows = here.score(batches, batches_ahead(workers, batch_size))
        stack.enter_context(closing(rows))
        left = None if total is None else total - earlier + len(again)
        record(rows, file, left, progress)
    seconds = time.perf_counter() - begin
    return Summary(file.done - file.failed, file.failed, earlier, seconds, str(file.failures))


def score_pictures(
    scorer: Scorer, sources: Sequence[str], workers: int | None = None, limit: SizeLimit = NO_LIMIT
) -> Generator[Row]:
    """Score picture files one by one, without an output file.

    Args:
        scorer: The scorer.
        sources: See :func:`score_files`.
        workers: See :func:`score_files`.
        limit: Limit on the size of a picture.

    Yields:
        The row of each picture, in order.

    Raises:
        FileNotFoundError: If a source does not exist.
        ValueError: If there are no pictures.
    """
    check_sources(sources)
    workers = workers or min(16, os.cpu_count() or 1)
    found = False
    with BatchScorer(scorer, workers, limit) as here:
        for rows in here.score(batched(find_pictures(sources), 1), batches_ahead(workers, 1)):
            found = True
            yield from rows
    if not found:
        raise ValueError(f"{', '.join(sources)}: no pictures there")


def record(
    batches: Iterable[Sequence[Row]], file: ScoreFile, total: int | None, progress: bool
) -> None:
    """Write rows as they arrive, then finish the file.

    Args:
        batches: Batches of rows.
        file: The file of scores.
        total: Total number of rows, if known.
        progress: Show progress on stderr.
    """
    columns = (BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    shown = progress and total != 0
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("", total=total)
        for rows in batches:
            for row in rows:
                file.record(row)
            bar.advance(task, len(rows))
    file.finish()


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        average = task.completed / task.elapsed if task.elapsed else 0
        return Text(f"{average if task.finished else task.speed or average:,.1f} images/s")
