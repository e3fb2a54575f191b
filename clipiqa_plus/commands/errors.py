"""Exit of the entry files: errors that users can fix are one message without a traceback."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

INTERRUPTED = 130
"""Exit code after Ctrl-C, by the convention of shells: 128 plus the signal's number."""
PIPE_CLOSED = 141
"""Exit code where the reader of a pipe has left: 128 plus the number of SIGPIPE."""
USER_ERRORS = (ValueError, OSError, ImportError)
"""Errors that users can fix: wrong options, wrong or missing files, missing packages."""
TRACEBACK = "CLIPIQA_TRACEBACK"
"""Environment variable: if set, such errors keep their traceback."""
_STDOUT = 1  # the file descriptor


def run_entry(main: Callable[[], Any]) -> None:
    """Run the main function of an entry file and exit.

    A :data:`USER_ERRORS` error shows its traceback only if :data:`TRACEBACK` is set; other errors
    always do. Ctrl-C ends with one line.

    Args:
        main: The function.
    """
    try:
        main()
        sys.stdout.flush()
    except USER_ERRORS as error:
        if reader_left(error):
            sys.exit(PIPE_CLOSED)
        if os.environ.get(TRACEBACK):
            raise
        name = Path(sys.argv[0]).name
        print(f"\n{name}: {error}\n({TRACEBACK}=1 shows where.)", file=sys.stderr)
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as stop:
        line = interrupted(stop)
        if line is None:
            raise
        print(f"\n{Path(sys.argv[0]).name}: {line}", file=sys.stderr)
        sys.exit(INTERRUPTED)


def reader_left(error: Exception) -> bool:
    """Whether the reader of standard output has left, as ``head`` does: no error to report.

    The pipe of a process that died breaks too, and is one.
    """
    if not isinstance(error, BrokenPipeError):
        return False
    output = select.poll()
    output.register(_STDOUT, select.POLLOUT)
    if not any(state & select.POLLERR for _, state in output.poll(0)):
        return False
    # Python writes what is left when it exits, and would complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
    return True


def interrupted(stop: KeyboardInterrupt | SystemExit) -> str | None:
    """Return the line to print after Ctrl-C, with the exception's notes on how to resume.

    Lightning turns Ctrl-C into an exit of its own; any other exit gives None.
    """
    ctrl_c = stop if isinstance(stop, KeyboardInterrupt) else stop.__context__
    if not isinstance(ctrl_c, KeyboardInterrupt):
        return None
    return "; ".join(["interrupted", *getattr(ctrl_c, "__notes__", [])])
