"""Fit many contexts to cached features at once: seeds, folds, bootstrap bags, random subsets.

Each fit minimises its loss over all of its training rows by L-BFGS. The text tower encodes the
contexts of all fits in one batch, since a single context leaves most of the processor idle.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.losses import GRADE_LOSSES, Labels, LossName, Predicted, training_loss
from clipiqa_plus.metrics.functional import srcc
from clipiqa_plus.prompts.sources import ContextPrompts
from clipiqa_plus.scoring import grade_probabilities, scale_score
from clipiqa_plus.training.lbfgs import LBFGS


@dataclass(frozen=True)
class Fit:
    """Starting point and data of a fit.

    Attributes:
        start: Context tokens, float32 [n_ctx, W], or [P, K, n_ctx, W] if class-specific.
        train: Training rows of the features, int64 [n]; repeated rows are allowed (bootstrap).
        val: Validation rows, int64 [m]; the context of highest SRCC is kept, or the last if empty.
    """

    start: Tensor
    train: Tensor
    val: Tensor


@dataclass(frozen=True)
class Fitted:
    """Result of a fit.

    Attributes:
        ctx: The context tokens that were kept, shaped like the start.
        text: Their text features, float32 [P, K, D].
        loss: Their training loss.
        srcc: Their SRCC on the validation rows, averaged over targets; NaN without such rows.
        iterations: Total number of iterations.
        passes: Total number of evaluations of loss and gradient.
        ended: Why the fit stopped.
    """

    ctx: Tensor
    text: Tensor
    loss: float
    srcc: float
    iterations: int
    passes: int
    ended: str

    def to(self, device: torch.device) -> Fitted:
        """Return the same with the tensors on a device."""
        return dataclasses.replace(self, ctx=self.ctx.to(device), text=self.text.to(device))

    def prompts(self, like: ContextPrompts) -> ContextPrompts:
        """Return these context tokens as learned prompts.

        Args:
            like: Prompts of the same pairs and layout; they are not modified.
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
    mos: Tensor | Labels,
    fits: Sequence[Fit],
    *,
    loss: LossName = "mse",
    mean: bool = True,
    max_iterations: int = 60,
    patience: int = 10,
    at_once: int = 16,
) -> Iterator[tuple[int, Fitted]]:
    """Fit contexts, up to ``at_once`` at a time.

    Args:
        prompts: Pairs and layout; their context tokens are not used.
        clip: The frozen CLIP.
        features: Unit image features of all rows, float32 [R, D], on the backbone's device.
        mos: Normalised MOS of all rows, float32 [R, T], or all that is known of their ratings.
        fits: The fits.
        loss: Name of the loss, see :mod:`clipiqa_plus.losses`.
        mean: Average the P pairs into one score; otherwise each has its own target, T = P.
        max_iterations: Maximum number of iterations per fit.
        patience: A fit stops after this many iterations without a better validation SRCC.
        at_once: Maximum number of fits encoded in one batch.

    Yields:
        Index and result of each fit, in the order in which they finish.

    Raises:
        FloatingPointError: If the loss of a fit is not finite at its start.
    """
    labels = mos if isinstance(mos, Labels) else Labels(mos)
    waiting = list(enumerate(fits))[::-1]
    running: list[_RunningFit] = []
    while waiting or running:
        while waiting and len(running) < at_once:
            number, fit = waiting.pop()
            running.append(_RunningFit(number, fit, max_iterations, patience))
        ctx = torch.stack([one.point() for one in running]).requires_grad_()
        with torch.enable_grad():
            text = prompts.encode_contexts(clip, ctx)  # [M, P, K, D]
            logit_scale = prompts.logit_scale(clip)
            scores = scale_score(features, text.flatten(0, 1), logit_scale, prompts.levels)
            scores = scores.unflatten(1, text.shape[:2])  # [R, M, P]
            scores = scores.mean(dim=2, keepdim=True) if mean else scores
            losses = []
            for k, one in enumerate(running):
                rows, grades = one.fit.train, None
                if loss in GRADE_LOSSES:
                    grades = grade_probabilities(features[rows], text[k], logit_scale)
                    grades = grades.mean(dim=1, keepdim=True) if mean else grades
                predicted = Predicted(scores[rows, k], grades, prompts.levels)
                losses.append(training_loss(loss, predicted, labels.rows(rows)))
            (gradients,) = torch.autograd.grad(torch.stack(losses).sum(), ctx)
        with torch.no_grad():
            for k, one in enumerate(running):
                one.update(float(losses[k]), gradients[k], text[k], scores[:, k], labels.mos)
        yield from ((one.number, one.result()) for one in running if one.ended)
        running = [one for one in running if not one.ended]


class _RunningFit:
    """A fit in progress: its minimisation and its best state so far."""

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

    def update(
        self, loss: float, gradient: Tensor, text: Tensor, scores: Tensor, mos: Tensor
    ) -> None:
        """Use the results of one evaluation; scores [R, T]."""
        self._passes += 1
        point = self.point()
        if self._search.tell(loss, gradient.flatten()):
            val_srcc = self._validate(scores, mos)
            # The SRCC of constant scores is NaN: any other is better.
            if self._best is None or not val_srcc <= self._best[0]:
                self._best_at = self._search.iterations
                self._best = (val_srcc, loss, point.clone(), text.clone())
        self.ended = self._search.ended
        if not self.ended and self._search.iterations >= self._most:
            self.ended = f"{self._most} iterations"
        if not self.ended and self._search.iterations - self._best_at >= self._patience:
            self.ended = f"no better validation SRCC in {self._patience} iterations"

    def _validate(self, scores: Tensor, mos: Tensor) -> float:
        rows = self.fit.val
        if not len(rows):
            return math.nan  # so that every iterate replaces the previous one
        columns = zip(scores[rows].T, mos[rows].T, strict=True)
        return float(torch.stack([srcc(ours, theirs) for ours, theirs in columns]).mean())

    def result(self) -> Fitted:
        assert self._best is not None
        val_srcc, loss, ctx, text = self._best
        return Fitted(ctx, text, loss, val_srcc, self._search.iterations, self._passes, self.ended)
