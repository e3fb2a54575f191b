"""Batches of pictures to rows of scores; the next batch is decoded while one is scored."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Self

from torch import Tensor

from clipiqa_plus.inference.bulk.output import Row
from clipiqa_plus.inference.bulk.pictures import Decoded, Picture, SizeLimit, decode
from clipiqa_plus.inference.bulk.pixel_room import PixelRoom
from clipiqa_plus.inference.scorer import Scorer

# Maximum number of pixels encoded together: about 1 GB of feature maps.
_MOST_PIXELS = 8_000_000
# Number of decoded pixels, 3 bytes each, beyond which no further picture is decoded ahead.
_PIXELS_AHEAD = 100_000_000


class BatchScorer:
    """Scores batches of pictures, first in, first out.

    A batch is split only if it has too many pixels. A picture is therefore encoded together with
    the same other pictures, in whichever process its batch is scored.

    Args:
        scorer: The scorer.
        workers: Number of decoding threads; Pillow's decoders run in parallel.
        limit: Limit on the size of a picture.
    """

    def __init__(self, scorer: Scorer, workers: int, limit: SizeLimit) -> None:
        self.scorer = scorer
        self.limit = limit
        if limit.oversize == "tile" and limit.max_pixels is not None:
            scorer.backbone.piece_pixels = limit.max_pixels
        # What is encoded together must have room, or the first picture would wait for itself.
        self.room = PixelRoom(max(_PIXELS_AHEAD, _MOST_PIXELS))
        self._fed = 0
        self._threads = ThreadPoolExecutor(workers)
        self._waiting: deque[deque[tuple[str, Future[Decoded]]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.room.close()
        self._threads.shutdown(cancel_futures=True)

    def prefetch(self, batch: Iterable[Picture]) -> None:
        """Start to decode a batch, as far as there is room for its pixels.

        Args:
            batch: Its pictures.
        """
        waiting: deque[tuple[str, Future[Decoded]]] = deque()
        for picture in batch:
            future = self._threads.submit(self._decode, self._fed, picture)
            waiting.append((picture.name, future))
            self._fed += 1
        self._waiting.append(waiting)

    def score_next(self) -> list[Row]:
        """Score the batch that was prefetched first.

        Returns:
            Its rows, in order.
        """
        batch = self._waiting.popleft()
        rows: list[Row] = []
        while batch:
            part = _encoded_together(batch)
            pixels = sum(decoded.pixels for _, decoded in part)
            rows += self._score(part)
            part.clear()  # frees the pixels before others enter
            self.room.leave(pixels)
        return rows

    def score(self, batches: Iterable[list[Picture]], ahead: int) -> Generator[list[Row]]:
        """Score batches.

        Args:
            batches: Batches of pictures.
            ahead: Number of batches to decode ahead of the one being scored.

        Yields:
            The rows of each batch, in order.
        """
        for batch in batches:
            self.prefetch(batch)
            if len(self._waiting) > ahead:
                yield self.score_next()
        while self._waiting:
            yield self.score_next()

    def _decode(self, number: int, picture: Picture) -> Decoded:
        entered = 0

        def enter(pixels: int) -> None:
            nonlocal entered
            self.room.enter(number, pixels)
            entered = pixels

        scorer, backbone = self.scorer, self.scorer.backbone
        only = backbone.only_size if scorer.conditions.views is None else None
        decoded = decode(picture, scorer.least_size, only, self.limit, backbone.tiles, enter)
        if not entered:
            self.room.enter(number, 0)
        self.room.leave(entered - decoded.pixels)
        return decoded

    def _score(self, part: list[tuple[str, Decoded]]) -> list[Row]:
        images: list[Tensor] = [d.image for _, d in part if d.image is not None]
        scores = iter(self.scorer.score_columns(images).tolist() if images else [])
        return [
            Row(name, None if d.image is None else next(scores), d.reason, d.resized_from)
            for name, d in part
        ]


def _encoded_together(batch: deque[tuple[str, Future[Decoded]]]) -> list[tuple[str, Decoded]]:
    """Take the first pictures of a batch, up to the number of pixels that are encoded together."""
    part: list[tuple[str, Decoded]] = []
    pixels = 0
    while batch and pixels < _MOST_PIXELS:
        name, future = batch.popleft()
        part.append((name, future.result()))
        pixels += part[-1][1].pixels
    return part


def batched(pictures: Iterator[Picture], size: int) -> Iterator[list[Picture]]:
    """Split pictures into batches of a size; the last may be smaller."""
    while batch := list(islice(pictures, size)):
        yield batch


def batches_ahead(workers: int, batch_size: int) -> int:
    """Return the number of batches to decode ahead so that all threads are busy."""
    return max(1, -(-workers // batch_size))
