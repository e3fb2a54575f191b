"""Blocks of pictures to rows of scores, the next block decoded while one is scored."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Self

from torch import Tensor

from clipiqa_plus.inference.bulk.output import Row
from clipiqa_plus.inference.bulk.pictures import Decoded, Picture, SizeLimit, decode
from clipiqa_plus.inference.scorer import Scorer

# Pictures are scored together up to this many pixels: about 1 GB of feature maps.
_MOST_PIXELS = 8_000_000


class BatchScorer:
    """Scores blocks of pictures, first in, first out.

    A block is cut further where its pixels are too many, and by nothing else: a picture is scored
    together with the same others wherever and in whatever process its block is.

    Args:
        scorer: The preset.
        workers: Threads that decode; Pillow's decoders run side by side in them.
        limit: Of the size of a picture.
    """

    def __init__(self, scorer: Scorer, workers: int, limit: SizeLimit) -> None:
        self.scorer = scorer
        self.limit = limit
        self._threads = ThreadPoolExecutor(workers)
        self._waiting: deque[deque[tuple[str, Future[Decoded]]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def prefetch(self, block: Iterable[Picture]) -> None:
        """Begin to decode a block.

        Args:
            block: Its pictures.
        """
        least = self.scorer.backbone.least_size
        submit = self._threads.submit
        self._waiting.append(deque((p.name, submit(decode, p, least, self.limit)) for p in block))

    def score_next(self) -> list[Row]:
        """Score the first of the blocks that are waiting.

        Returns:
            Its rows, in its order.
        """
        block = self._waiting.popleft()
        rows: list[Row] = []
        while block:
            part: list[tuple[str, Decoded]] = []
            pixels = 0
            while block and pixels < _MOST_PIXELS:
                name, future = block.popleft()
                decoded = future.result()
                part.append((name, decoded))
                pixels += 0 if decoded.image is None else decoded.image[0].numel()
            rows += self._score(part)
        return rows

    def score(self, blocks: Iterable[list[Picture]], ahead: int) -> Generator[list[Row]]:
        """Score blocks.

        Args:
            blocks: The pictures, in blocks.
            ahead: Blocks that are decoded beyond the one that is scored.

        Yields:
            The rows of each block, in order.
        """
        for block in blocks:
            self.prefetch(block)
            if len(self._waiting) > ahead:
                yield self.score_next()
        while self._waiting:
            yield self.score_next()

    def _score(self, part: list[tuple[str, Decoded]]) -> list[Row]:
        images: list[Tensor] = [d.image for _, d in part if d.image is not None]
        scores = iter(self.scorer.score_columns(images).tolist() if images else [])
        return [
            Row(name, None if d.image is None else next(scores), d.reason, d.resized_from)
            for name, d in part
        ]


def batched(pictures: Iterator[Picture], size: int) -> Iterator[list[Picture]]:
    """Cut pictures into blocks of a size; the last may be smaller."""
    while block := list(islice(pictures, size)):
        yield block


def batches_ahead(workers: int, batch_size: int) -> int:
    """Return how many blocks beyond the scored one keep all threads busy."""
    return max(1, -(-workers // batch_size))
