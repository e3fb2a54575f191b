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

    features = topics.add_parser("features", help="the feature cache: info, verify, prune")
    actions = features.add_subparsers(required=True, metavar="ACTION")
    folder = argparse.ArgumentParser(add_help=False)
    folder.add_argument("--dir", help="folder of the features (default: as in training)")
    about = actions.add_parser("info", parents=[folder], help="what the cache holds")
    about.set_defaults(run=_features_info)
    verify = actions.add_parser("verify", parents=[folder], help="check every file's SHA-256")
    verify.set_defaults(run=_features_verify)
    prune = actions.add_parser("prune", parents=[folder], help="remove damaged and stale features")
    prune.add_argument("--unused-days", type=float, help="also those not read for so many days")
    prune.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    prune.set_defaults(run=_features_prune)

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


def _features_info(options: argparse.Namespace) -> int:
    from datetime import datetime

    from rich.console import Console
    from rich.table import Table

    from clipiqa_plus.features import info

    table = Table("store", "backbone", "features", "MB", "last used", "state")
    for store in info(options.dir):
        used = f"{datetime.fromtimestamp(store.last_used):%Y-%m-%d %H:%M}"
        size = f"{store.bytes / 1e6:,.1f}"
        state = store.stale or "in use"
        table.add_row(store.path.name, store.backbone, f"{store.features:,}", size, used, state)
    Console().print(table)
    return 0


def _features_verify(options: argparse.Namespace) -> int:
    from clipiqa_plus.features import verify

    damaged = verify(options.dir)
    for damage in damaged:
        print(f"{damage.path}: {damage.reason}")
    print(f"{len(damaged)} damaged files" if damaged else "every file is what its name says")
    return 1 if damaged else 0


def _features_prune(options: argparse.Namespace) -> int:
    from clipiqa_plus.features import prune

    pruned = prune(options.dir, options.unused_days, options.dry_run)
    for removed in pruned:
        print(f"{removed.path}: {removed.reason}")
    size = sum(removed.bytes for removed in pruned) / 1e6
    print(f"{len(pruned)} files, {size:,.1f} MB {'would be ' if options.dry_run else ''}removed")
    return 0


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
