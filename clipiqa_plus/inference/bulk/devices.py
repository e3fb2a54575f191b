"""The same scoring in several processes of this machine, one for each device."""

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

import torch

from clipiqa_plus.inference.bulk.batches import BatchScorer
from clipiqa_plus.inference.bulk.output import Row
from clipiqa_plus.inference.bulk.pictures import Picture, SizeLimit
from clipiqa_plus.inference.scorer import Scorer

LoadScorer = Callable[..., Scorer]
"""Loads the preset on ``device``, a keyword; must go through pickle, as a partial of
:func:`~clipiqa_plus.inference.scorer.load` does."""

# Blocks for each process whose scores are awaited at once, so that none waits for another.
_IN_FLIGHT = 2


def name_devices(count: int, device: str | None) -> list[str]:
    """Name devices, one for each process.

    Args:
        count: How many.
        device: ``cpu``, ``cuda``, or None for the GPUs if there are any; one GPU by its number
            only if ``count`` is 1.

    Returns:
        ``count`` names; ``cpu`` may be there several times.

    Raises:
        ValueError: If there are not so many.
    """
    if count < 1:
        raise ValueError(f"devices {count}: give 1 or more")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if count == 1 or device == "cpu":
        return [device] * count
    if device != "cuda":
        raise ValueError(f"device {device}: names one device, where devices asks for {count}")
    if count > torch.cuda.device_count():
        raise ValueError(f"devices {count}: there are {torch.cuda.device_count()} GPUs")
    return [f"cuda:{index}" for index in range(count)]


def score_on_devices(
    load: LoadScorer,
    devices: Sequence[str],
    blocks: Iterable[list[Picture]],
    ahead: int,
    workers: int,
    limit: SizeLimit,
) -> Generator[list[Row]]:
    """Score blocks in turn on several devices.

    Args:
        load: Loads the preset, once in each process.
        devices: One for each process.
        blocks: The pictures, in blocks.
        ahead: Blocks that each process decodes beyond the one that it scores.
        workers: Threads that decode, of all processes together.
        limit: Of the size of a picture.

    Yields:
        The rows of each block, in the order of the blocks.

    Raises:
        RuntimeError: If a process ends before its work is done.
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
            for block in blocks:
                pools[fed % count].submit(_prefetch, block)
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
                f"a process of the devices {', '.join(devices)} ended before its work was done "
                "(killed, out of memory?); the same command goes on where it was"
            ) from error


def _context() -> BaseContext:
    """A way to begin processes that holds no GPU; imports are done once for all where it can."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


_blocks: BatchScorer  # of this process


def _begin(load: LoadScorer, device: str, threads: int, workers: int, limit: SizeLimit) -> None:
    global _blocks
    torch.set_num_threads(threads)
    _blocks = BatchScorer(load(device=device), workers, limit)


def _prefetch(block: list[Picture]) -> None:
    _blocks.prefetch(block)


def _score_next() -> list[Row]:
    return _blocks.score_next()


def _follow_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for work for ever."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
