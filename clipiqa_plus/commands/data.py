"""``clipiqa data``: the benchmarks."""

from __future__ import annotations

from cyclopts import App

app = App("data", help="List the benchmarks, fetch one, check its folder.")


@app.command(name="list")
def list_benchmarks() -> None:
    """List all benchmarks: size, scale, split, source, terms."""
    from rich.console import Console

    from clipiqa_plus.data.check import facts, render_facts

    Console().print(render_facts(facts()))


@app.command(name="get")
def get_benchmark(name: str, /, *, root: str | None = None, url: str | None = None) -> None:
    """Download a benchmark from its public address; an interrupted download is resumed.

    Args:
        name: Short name, see 'clipiqa data list'.
        root: Destination folder (default: data/<name>).
        url: Another address of the same files, such as a nearby mirror.
    """
    from rich.console import Console

    from clipiqa_plus.data.check import render_check
    from clipiqa_plus.data.get import get

    Console().print(render_check(get(name, root, url)))


@app.command(name="check")
def check_benchmark(name: str, /, *, root: str) -> int:
    """Check that a folder holds a complete benchmark.

    Args:
        name: Short name, see 'clipiqa data list'.
        root: Folder of the unpacked data set.

    Returns:
        The exit code: 1 if the benchmark is not complete.
    """
    from rich.console import Console

    from clipiqa_plus.data.check import check, render_check

    result = check(name, root)
    Console().print(render_check(result))
    return 0 if result.ok else 1
