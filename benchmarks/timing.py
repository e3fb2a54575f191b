"""Times ways of doing one thing: in turns, in one process, so that other load hits all alike."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

Row = dict[str, Any]


def options(description: str | None, timed: bool = True) -> argparse.ArgumentParser:
    """Return a parser with what all benchmarks take, and all those that take times."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if timed:
        parser.add_argument("--repeats", type=int, default=9, help="timed turns of each way")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of torch")
    parser.add_argument("--quick", action="store_true", help="smallest sizes: does it run at all")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    return parser


def alternate(ways: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Run each way once to warm up, then all in turns.

    Returns:
        The times of each way in seconds.
    """
    for way in ways.values():
        way()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    return times


def compare(what: str, times: Mapping[str, Sequence[float]], **facts: Any) -> Row:
    """Return a row of results: how much faster the second way is than the first.

    The ratio is that of the medians. ``ratio_fastest`` is that of the fastest turns, which other
    load distorts least.
    """
    (slow, slow_times), (fast, fast_times) = times.items()
    return {
        "what": what,
        f"{slow}, ms": round(statistics.median(slow_times) * 1e3, 3),
        f"{fast}, ms": round(statistics.median(fast_times) * 1e3, 3),
        "ratio": round(statistics.median(slow_times) / statistics.median(fast_times), 2),
        "ratio_fastest": round(min(slow_times) / min(fast_times), 2),
        **facts,
    }


def report(title: str, rows: Sequence[Row], path: Path | None) -> None:
    """Print the rows as tables, one for each set of columns, and write them as JSON."""
    console = Console()
    for columns in dict.fromkeys(tuple(row) for row in rows):
        table = Table(title=title)
        for column in columns:
            table.add_column(column, justify="left" if column == "what" else "right")
        for row in rows:
            if tuple(row) == columns:
                table.add_row(
                    *(f"{v:,}" if isinstance(v, int | float) else v for v in row.values())
                )
        console.print(table)
    machine = {
        "processor": platform.processor() or platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load": os.getloadavg()[0],
    }
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()))
    if path:
        path.write_text(json.dumps({"machine": machine, "rows": list(rows)}, indent=2) + "\n")
