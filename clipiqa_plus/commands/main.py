"""The entry point of ``clipiqa``: gathers the topics, runs one command, reports its errors."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from typing import Any

from cyclopts import App, Parameter

from clipiqa_plus import __version__, commands
from clipiqa_plus.commands.errors import (
    INTERRUPTED,
    PIPE_CLOSED,
    TRACEBACK,
    USER_ERRORS,
    interrupted,
    reader_left,
)

DESCRIPTION = "Image quality scores by prompting CLIP: train, compare, score, share."


def command_line() -> App:
    """Return the whole command line: the ``app`` of every module of this room."""
    options = Parameter(negative=(), consume_multiple=True, show_default=as_typed)
    app = App(
        "clipiqa",
        help=DESCRIPTION,
        version=f"clipiqa_plus {__version__}",
        default_parameter=options,
    )
    for found in pkgutil.walk_packages(commands.__path__, f"{commands.__name__}."):
        module = importlib.import_module(found.name)
        for found_app in (value for value in vars(module).values() if isinstance(value, App)):
            app.command(found_app)
    app.register_install_completion_command(help="Install completion for this shell.")
    return app


def as_typed(default: Any) -> str | None:
    """Return a default for the help: as one would type it; None, and no values, are not shown."""
    values = default if isinstance(default, list | tuple) else [default]
    return " ".join(str(value) for value in values if value is not None) or None


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: Arguments; None takes the process's own.

    Returns:
        The exit code: 0, or 1 after an error that the command reports. A command line that cannot
        be parsed exits with 2.
    """
    try:
        result = command_line()(args, result_action="return_value")
        sys.stdout.flush()
    except (*USER_ERRORS, RuntimeError) as error:
        if reader_left(error):
            return PIPE_CLOSED
        if os.environ.get(TRACEBACK):
            raise
        print(f"clipiqa: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, SystemExit) as stop:
        line = interrupted(stop)
        if line is None:
            raise
        print(f"\nclipiqa: {line}", file=sys.stderr)
        return INTERRUPTED
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(main())
