"""The bound on decoded pixels that wait to be scored."""

from __future__ import annotations

import threading


class PixelRoom:
    """Bounds the decoded pixels that wait to be scored.

    Pictures enter in the order of their numbers, and one more as long as fewer than ``most`` pixels
    are inside: at most ``most`` and one picture. Since no picture overtakes another, the one that
    is scored next is never kept out by later ones.

    Args:
        most: Number of pixels; at least those that are encoded together.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0
        """Number of pixels inside."""
        self._changed = threading.Condition()
        self._next = 0
        self._closed = False

    def enter(self, number: int, pixels: int) -> None:
        """Wait until a picture may be decoded.

        Args:
            number: Its number, counted from 0; each must enter once.
            pixels: Its number of pixels; 0 for one that is not decoded.
        """

        def admitted() -> bool:
            fits = self.held < self.most or pixels == 0
            return self._closed or (number == self._next and fits)

        with self._changed:
            self._changed.wait_for(admitted)
            self._next = number + 1
            self.held += pixels
            self._changed.notify_all()

    def leave(self, pixels: int) -> None:
        """Make room for others."""
        with self._changed:
            self.held -= pixels
            self._changed.notify_all()

    def close(self) -> None:
        """Let everyone in, so that no thread waits for pictures that will not be scored."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
