"""Scoring in several processes on one machine, one per device."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing.context import BaseContext
from multiprocessing.util import Finalize

import torch

from clipiqa_plus.inference.bulk.batches import BatchScorer
from clipiqa_plus.inference.bulk.output import Row
from clipiqa_plus.inference.bulk.pictures import Picture, SizeLimit
from clipiqa_plus.inference.scorer import Scorer

LoadScorer = Callable[..., Scorer]
"""Loads the scorer on ``device``, a keyword argument. It must be picklable, as a partial of
:func:`~clipiqa_plus.inference.scorer.load` is."""

# Batches in flight per process, so that no process waits for another.
_IN_FLIGHT = 2


def name_devices(count: int, device: str | None) -> list[str]:
    """Return the names of devices, one per process.

    Args:
        count: Number of devices.
        device: ``cpu``, ``cuda``, or None for GPUs if there are any. A numbered GPU such as
            ``cuda:1`` requires a ``count`` of 1.

    Returns:
        ``count`` names; ``cpu`` may be repeated.

    Raises:
        ValueError: If there are not enough devices.
    """
    if count < 1:
        raise ValueError(f"devices {count}: give 1 or more")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if count == 1 or device == "cpu":
        return [device] * count
    if device != "cuda":
        raise ValueError(f"device {device}: this is a single device, but devices is {count}")
    if count > torch.cuda.device_count():
        raise ValueError(f"devices {count}: this machine has {torch.cuda.device_count()} GPUs")
    return [f"cuda:{index}" for index in range(count)]


def score_on_devices(
    load: LoadScorer,
    devices: Sequence[str],
    batches: Iterable[list[Picture]],
    ahead: int,
    workers: int,
    limit: SizeLimit,
) -> Generator[list[Row]]:
    """Distribute batches over several devices in turn.

    Args:
        load: Loads the scorer, once per process.
        devices: The device of each process.
        batches: Batches of pictures.
        ahead: Number of batches that each process decodes ahead of the one being scored.
        workers: Total number of decoding threads.
        limit: Limit on the size of a picture.

    Yields:
        The rows of each batch, in order.

    Raises:
        RuntimeError: If a process ends prematurely.
    """
    count = len(devices)
    share = max(1, workers // count)
    with ExitStack() as stack:
        pools = [ProcessPoolExecutor(1, _context(), _follow_parent) for _ in devices]
        for pool in pools:
            stack.callback(pool.shutdown, cancel_futures=True)
        results: deque[Future[list[Row]]] = deque()
        fed = scored = 0
        try:
            threads = max(1, torch.get_num_threads() // count)
            loaded = [
                pool.submit(_begin, load, device, threads, share, limit)
                for pool, device in zip(pools, devices, strict=True)
            ]
            for future in loaded:
                future.result()
            for batch in batches:
                pools[fed % count].submit(_prefetch, batch)
                fed += 1
                if fed - scored > count * ahead:
                    results.append(pools[scored % count].submit(_score_next))
                    scored += 1
                if len(results) > count * _IN_FLIGHT:
                    yield results.popleft().result()
            results += [pools[index % count].submit(_score_next) for index in range(scored, fed)]
            while results:
                yield results.popleft().result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"a process on one of the devices {', '.join(devices)} ended prematurely (killed, "
                "out of memory?); run the same command to resume"
            ) from error


def _context() -> BaseContext:
    """Return a start method that does not inherit GPU state; preload imports where possible."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


_scorer: BatchScorer  # of this process


def _begin(load: LoadScorer, device: str, threads: int, workers: int, limit: SizeLimit) -> None:
    global _scorer
    torch.set_num_threads(threads)
    _scorer = BatchScorer(load(device=device), workers, limit)
    # A stopped run leaves pictures that no one scores: their threads must not wait at exit.
    Finalize(None, _scorer.room.close, exitpriority=0)


def _prefetch(batch: list[Picture]) -> None:
    _scorer.prefetch(batch)


def _score_next() -> list[Row]:
    return _scorer.score_next()


def _follow_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its children
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent is killed; otherwise it would wait forever."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
