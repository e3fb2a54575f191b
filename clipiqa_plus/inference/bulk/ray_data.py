"""Scoring as a Ray Data pipeline on the machines of a cluster."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import fsspec

from clipiqa_plus.inference.bulk.batches import BatchScorer, batched, batches_ahead
from clipiqa_plus.inference.bulk.devices import LoadScorer
from clipiqa_plus.inference.bulk.durable_files import printable
from clipiqa_plus.inference.bulk.output import Row, ScoreFile
from clipiqa_plus.inference.bulk.pictures import BAD_NAME, NO_LIMIT, Picture, SizeLimit
from clipiqa_plus.inference.bulk.run import Summary, record
from clipiqa_plus.inference.bulk.storage import count_pictures, find_locations, pictures_in
from clipiqa_plus.inference.scorer import Scorer

if TYPE_CHECKING:
    import pyarrow as pa

# Maximum number of pictures and bytes sent to a scoring process at once.
_MOST_PICTURES = 256
_MOST_BYTES = 16_000_000


class _Slice(NamedTuple):
    """A range of the pictures at a location."""

    location: str
    start: int = 0
    stop: int | None = None


def score_with_ray(
    scorer: Scorer,
    load: LoadScorer,
    sources: Sequence[str],
    out: str | PathLike[str],
    batch_size: int = 16,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = False,
    limit: SizeLimit = NO_LIMIT,
    devices: int = 1,
    device: str | None = None,
) -> Summary:
    """Score pictures in Ray processes; Ray restarts a process that dies and repeats its work.

    The cluster is that of the caller or of ``RAY_ADDRESS``; otherwise one is started on this
    machine for the duration of the run. Its machines need this package and access to the files
    that ``load`` and the sources name. Scores, order and files are those of
    :func:`~clipiqa_plus.inference.bulk.score_files`, up to fp32 rounding.

    Args:
        scorer: The scorer, for its columns and settings only.
        load: Loads the scorer in each process, such as ``partial(load, "clipiqa")``.
        sources: See :func:`~clipiqa_plus.inference.bulk.storage.find_locations`.
        out: See :class:`~clipiqa_plus.inference.bulk.output.ScoreFile`; or a URL, to which the
            complete files are copied. Runs with a URL cannot be resumed.
        batch_size: Maximum number of pictures encoded at once.
        workers: Number of decoding threads per process; None uses 2.
        overwrite: Replace an existing file.
        progress: Show progress on stderr.
        limit: Limit on the size of a picture.
        devices: Number of processes, each with one GPU, or with one CPU if there are no GPUs.
        device: ``cpu`` or ``cuda``; None uses GPUs if the cluster has any.

    Returns:
        A summary of the run.

    Raises:
        FileNotFoundError: If a source does not exist.
        ValueError: If there are no pictures, or ``out`` holds other scores.
        ImportError: If Ray is not installed.
    """
    workers = 2 if workers is None else workers
    if min(batch_size, workers, devices) < 1:
        raise ValueError(
            f"batch_size {batch_size}, workers {workers}, devices {devices}: give 1 or more"
        )
    out = fspath(out)
    begin = time.perf_counter()
    locations = list(find_locations(sources))
    counts = [count_pictures(location) for location in locations]
    total = None if None in counts else sum(count for count in counts if count)
    if total == 0:
        raise ValueError(f"{', '.join(sources)}: no pictures there")
    with ExitStack() as stack:
        stack.enter_context(_cluster(devices))
        target = _local_path(out, overwrite, stack)
        settings = {**scorer.settings, **limit.settings}
        file = stack.enter_context(ScoreFile(target, scorer.columns, settings, overwrite))
        work, again = _resume(locations, file)
        earlier = file.done
        if total == earlier:
            work = work[:again]
        rows = _pipeline(work, load, batch_size, workers, limit, devices, device)
        record(rows, file, None if total is None else total - earlier + again, progress)
        failures = _upload(file, out)
    seconds = time.perf_counter() - begin
    return Summary(file.done - file.failed, file.failed, earlier, seconds, failures)


class _Listed(NamedTuple):
    """A picture by the index of its location and its index there."""

    name: str
    location: int
    number: int


def _resume(locations: Sequence[str], file: ScoreFile) -> tuple[list[_Slice], int]:
    """Return the slices to score, and how many of them, at the beginning, are retries."""
    last = _Listed("", 0, -1)

    def pictures() -> Iterator[_Listed]:
        nonlocal last
        for index, location in enumerate(locations):
            for number, picture in enumerate(pictures_in(location)):
                last = _Listed(picture.name, index, number)
                yield last

    again = file.resume(pictures())
    slices = [_Slice(locations[p.location], p.number, p.number + 1) for p in again]
    slices.append(_Slice(locations[last.location], last.number + 1))
    slices += [_Slice(location) for location in locations[last.location + 1 :]]
    return slices, len(again)


@contextmanager
def _cluster(devices: int) -> Iterator[None]:
    """Use the existing cluster, or start one on this machine for the duration of the block."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError("the engine ray needs Ray: pip install '.[ray]'") from error
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    more: dict[str, Any] = {}
    if "RAY_ADDRESS" not in os.environ:
        # One CPU more than the scoring processes need, to list the members of shards.
        cpus = max(os.cpu_count() or 1, devices + 1)
        more = {"num_cpus": cpus, "include_dashboard": False}
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **more)
    try:
        yield
    finally:
        ray.shutdown()


def _local_path(out: str, overwrite: bool, stack: ExitStack) -> Path:
    """Return the local file to write: ``out`` itself, or a temporary file if it is a URL."""
    if "://" not in out:
        return Path(out)
    fs, path = fsspec.url_to_fs(out)
    if fs.exists(path) and not overwrite:
        raise ValueError(f"{out}: exists; give another file, or --overwrite")
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    return Path(folder) / path.rpartition("/")[2]


def _upload(file: ScoreFile, out: str) -> str:
    """Copy the files to the output URL, if it is one; return the location of the failures."""
    if "://" not in out:
        return str(file.failures)
    fs, path = fsspec.url_to_fs(out)
    folder = path.rpartition("/")[0]
    fs.makedirs(folder, exist_ok=True)
    for part in (file.facts, file.failures, file.path):
        if part.exists():
            fs.put_file(str(part), f"{folder}/{part.name}")
    return f"{out.rpartition('/')[0]}/{file.failures.name}"


def _pipeline(
    work: Sequence[_Slice],
    load: LoadScorer,
    batch_size: int,
    workers: int,
    limit: SizeLimit,
    devices: int,
    device: str | None,
) -> Iterator[list[Row]]:
    import pyarrow as pa
    import ray

    if not work:
        return
    device = device or ("cuda" if ray.cluster_resources().get("GPU") else "cpu")
    kinds = [pa.binary(), pa.int64(), pa.int64()]
    schema = pa.schema(zip(_Slice._fields, kinds, strict=True))
    size = max(1, min(_MOST_PICTURES, len(work) // (4 * devices)))
    encoded = [{**one._asdict(), "location": os.fsencode(one.location)} for one in work]
    parts = [
        pa.Table.from_pylist(encoded[start : start + size], schema)
        for start in range(0, len(work), size)
    ]
    data = ray.data.from_arrow(parts)
    data.context.execution_options.preserve_order = True
    data.context.enable_progress_bars = False
    data.context.print_on_execution_start = False
    scored = data.map_batches(_list, batch_size=None, batch_format="pyarrow").map_batches(
        _ScoringProcess,
        batch_size=4 * batch_size,  # one batch is decoded while another is scored
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=devices),
        fn_constructor_args=(load, device, workers, limit, batch_size),
        num_cpus=1,
        num_gpus=0 if device == "cpu" else 1,
    )
    tables: Iterable[Any] = scored.iter_batches(batch_size=None, batch_format="pyarrow")
    for table in tables:
        yield [Row(**row) for row in table.to_pylist()]


class _ScoringProcess:
    """Scores tables of pictures; Ray creates one in each process."""

    def __init__(
        self, load: LoadScorer, device: str, workers: int, limit: SizeLimit, batch_size: int
    ) -> None:
        self.scorer = BatchScorer(load(device=device), workers, limit)
        self.batch_size = batch_size
        self.ahead = batches_ahead(workers, batch_size)

    def __call__(self, table: pa.Table) -> pa.Table:
        import pyarrow as pa

        pictures = (Picture(**row) for row in table.to_pylist())
        scored = self.scorer.score(batched(pictures, self.batch_size), self.ahead)
        rows = [row._asdict() for batch in scored for row in batch]
        kinds = [pa.string(), pa.list_(pa.float64()), pa.string(), pa.string()]
        return pa.Table.from_pylist(rows, pa.schema(zip(Row._fields, kinds, strict=True)))


def _list(table: pa.Table) -> Iterator[pa.Table]:
    """Expand slices to pictures, in tables of bounded size."""
    import pyarrow as pa

    kinds = [pa.string(), pa.string(), pa.int64(), pa.int64(), pa.large_binary(), pa.string()]
    schema = pa.schema(zip(Picture._fields, kinds, strict=True))
    rows: list[dict[str, Any]] = []
    size = 0
    for part in table.to_pylist():
        pictures = pictures_in(os.fsdecode(part["location"]))
        for picture in islice(pictures, part["start"], part["stop"]):
            if printable(picture.name) != picture.name:  # not a valid string in Arrow
                picture = Picture(printable(picture.name), flaw=BAD_NAME)
            rows.append(picture._asdict())
            size += len(picture.data or b"")
            if len(rows) == _MOST_PICTURES or size >= _MOST_BYTES:
                yield pa.Table.from_pylist(rows, schema)
                rows, size = [], 0
    yield pa.Table.from_pylist(rows, schema)
