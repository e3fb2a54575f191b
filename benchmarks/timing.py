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
from torch.utils.flop_counter import FlopCounterMode

Row = dict[str, Any]


def options(
    description: str | None, timed: bool = True, device: bool = False
) -> argparse.ArgumentParser:
    """Return a parser with what all benchmarks take, those that take times, those for a GPU too."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if timed:
        parser.add_argument("--repeats", type=int, default=9, help="timed turns of each way")
    if device:
        parser.add_argument("--device", default="cpu", help="cpu, or cuda (tried on cpu only)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of torch")
    parser.add_argument("--quick", action="store_true", help="smallest sizes: does it run at all")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    return parser


def alternate(
    ways: Mapping[str, Callable[[], Any]], repeats: int, device: str = "cpu"
) -> dict[str, list[float]]:
    """Run each way once to warm up, then all in turns; a GPU is waited for before and after.

    Returns:
        The times of each way in seconds.
    """
    synchronize = torch.cuda.synchronize if device.startswith("cuda") else _nothing
    for way in ways.values():
        way()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            synchronize()
            start = time.perf_counter()
            way()
            synchronize()
            times[name].append(time.perf_counter() - start)
    return times


def _nothing() -> None:
    """Wait for a CPU: it is done when its calls return."""


def peak_flops(device: str, dtype: torch.dtype, repeats: int = 5) -> float:
    """Return the most floating-point operations per second of a large matrix product here.

    On a CPU it is always that in fp32: without bf16 instructions, one in bf16 is no measure.
    """
    gpu = device.startswith("cuda")
    size, dtype = (8192, dtype) if gpu else (1024, torch.float32)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    times = alternate({"product": lambda: a @ b}, repeats, device)["product"]
    return 2 * size**3 / min(times)


def flops_of(way: Callable[[], Any]) -> int:
    """Return the floating-point operations that a way asks of torch, two for each product."""
    with FlopCounterMode(display=False) as counter:
        way()
    return counter.get_total_flops()


def roofline(what: str, flops: int, seconds: float, peak: float) -> Row:
    """Return a row that sets the rate of a way beside the peak of a matrix product."""
    return {
        "what": what,
        "GFLOP": round(flops / 1e9, 2),
        "GFLOP/s": round(flops / seconds / 1e9, 1),
        "of a matrix product, GFLOP/s": round(peak / 1e9, 1),
        "share": round(flops / seconds / peak, 2),
    }


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
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load": os.getloadavg()[0],
    }
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()))
    if path:
        path.write_text(json.dumps({"machine": machine, "rows": list(rows)}, indent=2) + "\n")
