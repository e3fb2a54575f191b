"""One progress bar for long work: on the terminal that shows errors, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def progress(work: Iterable[T] | Sequence[T], title: str, total: int | None = None) -> Iterable[T]:
    """Iterate with a progress bar that vanishes at the end.

    It is drawn on stderr, so that results can be piped, and not at all in a log.

    Args:
        work: What to iterate over.
        title: What is done.
        total: Number of steps, if ``work`` does not know it.
    """
    console = Console(stderr=True)
    return track(
        work, title, total, console=console, transient=True, disable=not console.is_terminal
    )
