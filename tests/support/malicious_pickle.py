"""An object that runs a command when it is unpickled."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


class Evil:
    """Writes a file where it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.target}",)
