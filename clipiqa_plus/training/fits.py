"""Many contexts fitted to cached features at once: seeds, folds, bags, draws of ratings.

Every fit minimises its loss over its whole part by L-BFGS. The contexts of all fits go through the
text tower together, since the pass of a single one leaves most of a processor idle.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.losses import LOSSES
from clipiqa_plus.metrics.functional import srcc
from clipiqa_plus.prompts.sources import ContextPrompts
from clipiqa_plus.scoring import pair_probability
from clipiqa_plus.training.lbfgs import LBFGS


@dataclass(frozen=True)
class Fit:
    """What one fit starts from and sees.

    Attributes:
        start: Context tokens, float32 [n_ctx, W], or [P, 2, n_ctx, W] if class-specific.
        train: int64 [n], rows of the features; a row may repeat, as in a bootstrap bag.
        val: int64 [m], rows whose SRCC chooses the state that is kept; empty keeps the last.
    """

    start: Tensor
    train: Tensor
    val: Tensor


@dataclass(frozen=True)
class Fitted:
    """What one fit has come to.

    Attributes:
        ctx: The context tokens that are kept, of the start's shape.
        text: Their text features, float32 [P, 2, D].
        loss: Training loss of the state that is kept.
        srcc: Its SRCC on the validation rows, the mean over targets; NaN without any.
        iterations: Iterations in all.
        passes: Evaluations of loss and gradient in all.
        ended: Why the fit was over.
    """

    ctx: Tensor
    text: Tensor
    loss: float
    srcc: float
    iterations: int
    passes: int
    ended: str

    def prompts(self, like: ContextPrompts) -> ContextPrompts:
        """Return these context tokens as learned prompts.

        Args:
            like: Prompts of the same pairs and layout; they stay as they are.
        """
        prompts = copy.deepcopy(like)
        with torch.no_grad():
            prompts.ctx.copy_(self.ctx)
            prompts.steps.fill_(max(1, self.iterations))
        return prompts


def fit_contexts(
    prompts: ContextPrompts,
    clip: FrozenCLIP,
    features: Tensor,
    mos: Tensor,
    fits: Sequence[Fit],
    *,
    loss: str = "mse",
    mean: bool = True,
    max_iterations: int = 60,
    patience: int = 10,
    at_once: int = 16,
) -> Iterator[tuple[int, Fitted]]:
    """Fit contexts, several at a time; a finished fit makes room for the next.

    Args:
        prompts: Pairs and layout; their own context tokens are not used.
        clip: The frozen CLIP.
        features: Unit image features of all rows, float32 [R, D], on the backbone's device.
        mos: Normalised MOS of all rows, float32 [R, T].
        fits: What to fit.
        loss: Name of the loss, see :data:`clipiqa_plus.losses.LOSSES`.
        mean: Average the P pairs into one score; otherwise each has its own target, T = P.
        max_iterations: Most iterations of a fit.
        patience: Iterations without a better validation SRCC after which a fit ends.
        at_once: Most fits in one text pass.

    Yields:
        The number of a fit and its result, as they finish.

    Raises:
        FloatingPointError: If a fit has no finite loss at its start.
    """
    waiting = list(enumerate(fits))[::-1]
    running: list[_Lane] = []
    while waiting or running:
        while waiting and len(running) < at_once:
            number, fit = waiting.pop()
            running.append(_Lane(number, fit, max_iterations, patience))
        ctx = torch.stack([lane.point() for lane in running]).requires_grad_()
        with torch.enable_grad():
            text = prompts.encode_contexts(clip, ctx)  # [K, P, 2, D]
            scores = pair_probability(features, text.flatten(0, 1), clip.logit_scale)
            scores = scores.unflatten(1, text.shape[:2])  # [R, K, P]
            scores = scores.mean(dim=2, keepdim=True) if mean else scores
            losses = [
                LOSSES[loss](scores[lane.fit.train, k], mos[lane.fit.train])
                for k, lane in enumerate(running)
            ]
            (gradients,) = torch.autograd.grad(torch.stack(losses).sum(), ctx)
        with torch.no_grad():
            for k, lane in enumerate(running):
                lane.take(float(losses[k]), gradients[k], text[k], scores[:, k], mos)
        yield from ((lane.number, lane.result()) for lane in running if lane.ended)
        running = [lane for lane in running if not lane.ended]


class _Lane:
    """One fit on its way: the minimisation and the best state so far."""

    def __init__(self, number: int, fit: Fit, max_iterations: int, patience: int) -> None:
        self.number = number
        self.fit = fit
        self.ended = ""
        self._most = max_iterations
        self._patience = patience
        self._search = LBFGS(fit.start.flatten())
        self._passes = 0
        self._best_at = 0
        self._best: tuple[float, float, Tensor, Tensor] | None = None  # SRCC, loss, ctx, text

    def point(self) -> Tensor:
        return self._search.ask().view_as(self.fit.start)

    def take(
        self, loss: float, gradient: Tensor, text: Tensor, scores: Tensor, mos: Tensor
    ) -> None:
        """Take what one text pass gave; scores [R, T]."""
        self._passes += 1
        point = self.point()
        if self._search.tell(loss, gradient.flatten()):
            found = self._validate(scores, mos)
            # A constant score has no SRCC: it is worse than any.
            if self._best is None or not found <= self._best[0]:
                self._best_at = self._search.iterations
                self._best = (found, loss, point.clone(), text.clone())
        self.ended = self._search.ended
        if not self.ended and self._search.iterations >= self._most:
            self.ended = f"{self._most} iterations"
        if not self.ended and self._search.iterations - self._best_at >= self._patience:
            self.ended = f"no better validation SRCC in {self._patience} iterations"

    def _validate(self, scores: Tensor, mos: Tensor) -> float:
        rows = self.fit.val
        if not len(rows):
            return math.nan  # every iterate takes the place of the last
        columns = zip(scores[rows].T, mos[rows].T, strict=True)
        return float(torch.stack([srcc(ours, theirs) for ours, theirs in columns]).mean())

    def result(self) -> Fitted:
        assert self._best is not None
        found, loss, ctx, text = self._best
        return Fitted(ctx, text, loss, found, self._search.iterations, self._passes, self.ended)
