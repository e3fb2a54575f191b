"""Decoding ahead: bounded by pixels, whatever the sizes, and without an effect on the scores."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipiqa_plus.inference.bulk import batches
from clipiqa_plus.inference.bulk.batches import BatchScorer, batched, batches_ahead
from clipiqa_plus.inference.bulk.output import Row
from clipiqa_plus.inference.bulk.pictures import NO_LIMIT, Decoded, Picture, SizeLimit
from clipiqa_plus.inference.bulk.pixel_room import PixelRoom
from clipiqa_plus.inference.scorer import Scorer

TOGETHER, AHEAD = 6_000, 20_000
"""Pixels encoded together and decoded ahead, in place of 8 and 100 million."""
LARGE = (120, 100)


@pytest.fixture
def pictures(tmp_path: Path, make_picture: Callable[..., Path]) -> list[Picture]:
    """Small and large pictures in turns, and some that cannot be read."""
    rng = np.random.default_rng(3)
    found = []
    for index in range(24):
        width, height = LARGE if index % 3 else rng.integers(33, 60, 2).tolist()
        path = make_picture(tmp_path / f"{index:02}.png", width, height, index)
        if index % 12 == 5:
            path.write_bytes(path.read_bytes()[:200])
        found.append(Picture(path.name, str(path)))
    found.insert(7, Picture("gone.png", str(tmp_path / "gone.png")))
    return found


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_MOST_PIXELS", TOGETHER)
    monkeypatch.setattr(batches, "_PIXELS_AHEAD", AHEAD)


class LivePixels:
    """Counts the pixels of decoded pictures that are still referred to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()
        decode = batches.decode

        def counted(*args: Any) -> Decoded:
            decoded = decode(*args)
            if decoded.image is not None:
                self._add(decoded.pixels)
                weakref.finalize(decoded.image, self._add, -decoded.pixels)
            return decoded

        monkeypatch.setattr(batches, "decode", counted)

    def _add(self, pixels: int) -> None:
        with self._lock:
            self.now += pixels
            self.most = max(self.most, self.now)


def rows_of(
    scorer: Scorer, pictures: list[Picture], workers: int, size: int, limit: SizeLimit = NO_LIMIT
) -> list[Row]:
    with BatchScorer(scorer, workers, limit) as here:
        found = here.score(batched(iter(pictures), size), batches_ahead(workers, size))
        rows = [row for batch in found for row in batch]
        assert here.room.held == 0
    return rows


@pytest.mark.parametrize(("workers", "size"), [(1, 5), (2, 1), (6, 5), (6, 100)])
def test_decoded_pixels_are_bounded_and_scores_stay(
    pictures: list[Picture],
    scorer: Scorer,
    small_bounds: None,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    size: int,
) -> None:
    monkeypatch.setattr(batches, "_PIXELS_AHEAD", 10**9)
    expected = rows_of(scorer, pictures, workers, size)
    monkeypatch.setattr(batches, "_PIXELS_AHEAD", AHEAD)
    live = LivePixels(monkeypatch)
    assert rows_of(scorer, pictures, workers, size) == expected
    assert sum(row.scores is None for row in expected) == 3
    assert live.now == 0
    # One picture may enter while there is room for a single pixel.
    assert live.most < AHEAD + LARGE[0] * LARGE[1]


def test_without_the_bound_a_batch_of_large_pictures_lies_in_memory(
    pictures: list[Picture], scorer: Scorer, small_bounds: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_PIXELS_AHEAD", 10**9)
    live = LivePixels(monkeypatch)
    with BatchScorer(scorer, 2, NO_LIMIT) as here:
        here.prefetch(pictures)
        here._threads.shutdown()
    assert live.most > 8 * AHEAD


def test_resized_pictures_take_the_room_of_their_new_size(
    pictures: list[Picture], scorer: Scorer, small_bounds: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = LivePixels(monkeypatch)
    rows = rows_of(scorer, pictures, 2, 10, SizeLimit(3_000, "resize"))
    assert sum(bool(row.resized_from) for row in rows) > 10
    assert live.most < AHEAD + 3_000


def test_a_run_that_stops_early_does_not_wait(
    pictures: list[Picture], scorer: Scorer, small_bounds: None
) -> None:
    with BatchScorer(scorer, 3, NO_LIMIT) as here:
        next(here.score(batched(iter(pictures), 40), 1))
        here.prefetch(pictures)  # more than there is room for
    assert not [t for t in here._threads._threads if t.is_alive()]


def test_pictures_enter_in_order() -> None:
    room = PixelRoom(10)
    order: list[int] = []

    def enter(number: int, pixels: int) -> None:
        room.enter(number, pixels)
        order.append(number)

    threads = [threading.Thread(target=enter, args=(n, 6)) for n in (3, 2, 1, 0)]
    for thread in threads:
        thread.start()
    threads[2].join(5)
    threads[3].join(5)
    assert sorted(order) == [0, 1]  # 12 of 10 pixels: full
    room.leave(6)
    threads[1].join(5)
    assert sorted(order) == [0, 1, 2]
    room.close()
    threads[0].join(5)
    assert sorted(order) == [0, 1, 2, 3]
