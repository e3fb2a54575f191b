"""The command ``clipiqa``: looks into data sets, feature caches and prompt files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from clipiqa_plus import __version__

# Each command imports what it needs when it runs: `clipiqa --help` answers at once.


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: Arguments; None takes the process's own.

    Returns:
        The exit code: 0, or 1 after an error that the command reports.
    """
    options = _parser().parse_args(args)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"clipiqa: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clipiqa", description=__doc__)
    parser.add_argument("--version", action="version", version=f"clipiqa_plus {__version__}")
    topics = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    data = topics.add_parser("data", help="benchmarks: list them, check a folder")
    actions = data.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="all benchmarks: size, scale, split, source, terms")
    listing.set_defaults(run=_data_list)
    check = actions.add_parser("check", help="look for a benchmark in a folder")
    check.add_argument("name", help="short name, see 'clipiqa data list'")
    check.add_argument("--root", required=True, help="folder of the unpacked data set")
    check.set_defaults(run=_data_check)

    prompts = topics.add_parser("prompts", help="prompt files: show one")
    actions = prompts.add_subparsers(required=True, metavar="ACTION")
    show = actions.add_parser("show", help="what a prompt file was learned on, and what it reached")
    show.add_argument("file", help="a prompts.safetensors")
    show.set_defaults(run=_prompts_show)
    return parser


def _data_list(options: argparse.Namespace) -> int:
    from rich.console import Console

    from clipiqa_plus.data.check import facts, render_facts

    Console().print(render_facts(facts()))
    return 0


def _data_check(options: argparse.Namespace) -> int:
    from rich.console import Console

    from clipiqa_plus.data.check import check, render_check

    result = check(options.name, options.root)
    Console().print(render_check(result))
    return 0 if result.ok else 1


def _prompts_show(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from clipiqa_plus.prompt_files import read_prompts

    tensors, facts = read_prompts(options.file)
    table = Table(title=options.file, show_header=False)
    for name, tensor in tensors.items():
        shape = " x ".join(map(str, tensor.shape))
        table.add_row(name, f"{shape}, {str(tensor.dtype).removeprefix('torch.')}")
    for name, value in facts.items():
        table.add_row(name, str(value))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
