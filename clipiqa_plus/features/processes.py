"""Several processes of one run: share results and errors."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeVar

import torch.distributed as dist

T = TypeVar("T")


class Processes:
    """The processes of this run; a context manager.

    They communicate through a CPU group with a timeout of days: encoding takes longer than the
    timeout of the training's group, which is minutes.

    Attributes:
        rank: Number of this process.
        size: Number of processes.
    """

    def __init__(self) -> None:
        together = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if together else 0
        self.size = dist.get_world_size() if together else 1
        self._group: Any = None

    def __enter__(self) -> Processes:
        if self.size > 1:
            self._group = dist.new_group(backend="gloo", timeout=timedelta(days=7))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._group is not None:
            dist.destroy_process_group(self._group)

    def first(self, work: Callable[[], T]) -> T:
        """Run some work in the first process and return its result in all.

        Raises:
            Exception: In every process, the exception raised in the first.
        """
        outcome = [_attempt(work) if self.rank == 0 else None]
        if self.size > 1:
            dist.broadcast_object_list(outcome, src=0, group=self._group)
        return self._settle(outcome)[0]

    def each(self, work: Callable[[], T]) -> list[T]:
        """Run some work in every process and return all results in each.

        Raises:
            Exception: In every process, the exception of the first process that failed.
        """
        mine = _attempt(work)
        outcomes: list[Any] = [mine]
        if self.size > 1:
            outcomes = [None] * self.size
            dist.all_gather_object(outcomes, mine, group=self._group)
        return self._settle(outcomes)

    def _settle(self, outcomes: list[Any]) -> list[Any]:
        for _, error in outcomes:
            if error is not None:
                raise error
        return [result for result, _ in outcomes]


def _attempt(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return work(), None
    except Exception as error:
        return None, error
