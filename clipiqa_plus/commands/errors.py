"""How the entry files end: with one message for what a user can mend, not with a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

MENDABLE = (ValueError, OSError, ImportError)
"""Wrong options, wrong or missing files, missing packages: their messages say what to do."""


def run_entry(main: Callable[[], Any]) -> None:
    """Run the main function of an entry file and exit.

    The traceback of a mendable error is shown if ``CLIPIQA_TRACEBACK`` is set; any other error
    keeps its own.

    Args:
        main: The function.
    """
    try:
        main()
    except MENDABLE as error:
        if os.environ.get("CLIPIQA_TRACEBACK"):
            raise
        name = Path(sys.argv[0]).name
        print(f"\n{name}: {error}\n(CLIPIQA_TRACEBACK=1 shows where.)", file=sys.stderr)
        sys.exit(1)
