"""L-BFGS with an ask-and-tell interface, so that many minimisations advance together.

``torch.optim.LBFGS`` calls the objective itself, so minimisations can only run one after another.
Here :meth:`LBFGS.ask` returns the next point and :meth:`LBFGS.tell` receives its loss and gradient,
so that the caller can evaluate the points of many minimisations in one batch.

Direction: Nocedal and Wright, Numerical Optimization (2nd edition), algorithm 7.4. Line search:
Lewis and Overton, Nonsmooth optimization via quasi-Newton methods (2013), algorithm 2.6, whose weak
Wolfe conditions keep the Hessian approximation positive definite.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

from torch import Tensor

SUFFICIENT_DECREASE = 1e-4
"""c1 of the Wolfe conditions."""
CURVATURE = 0.9
"""c2 of the Wolfe conditions, the usual value for quasi-Newton directions."""


@dataclass(frozen=True)
class _Trial:
    """A point of a line search, with its loss, gradient and slope."""

    step: float
    x: Tensor
    loss: float
    gradient: Tensor
    slope: float


_Search = Generator[Tensor, tuple[float, Tensor], _Trial | None]


class LBFGS:
    """A minimisation.

    Args:
        start: Starting point, float [n].
        history: Number of past steps in the Hessian approximation.
        tolerance_gradient: Stop when no component of the gradient is larger than this.
        tolerance_change: Stop when an iteration changes the loss by less than this.
        max_trials: Maximum number of points per line search.

    Attributes:
        x: Current iterate, [n].
        loss: Loss of the current iterate; infinite before the first :meth:`tell`.
        iterations: Number of iterations.
        ended: Why the minimisation stopped; empty while it is running.
    """

    def __init__(
        self,
        start: Tensor,
        history: int = 10,
        tolerance_gradient: float = 1e-7,
        tolerance_change: float = 1e-9,
        max_trials: int = 25,
    ) -> None:
        self.x = start.detach().clone()
        self.loss = math.inf
        self.iterations = 0
        self.ended = ""
        self._history: deque[tuple[Tensor, Tensor, float]] = deque(maxlen=history)
        self._tolerances = tolerance_gradient, tolerance_change
        self._max_trials = max_trials
        self._accepted = False
        self._run = self._minimise()
        self._asked = next(self._run)

    def ask(self) -> Tensor:
        """Return the point to evaluate next, [n]."""
        return self._asked

    def tell(self, loss: float, gradient: Tensor) -> bool:
        """Receive the loss and gradient of the point returned by :meth:`ask`.

        Args:
            loss: The loss; if it is not finite, the line search takes a shorter step.
            gradient: Its gradient, [n].

        Returns:
            True if the point is the new iterate ``x``.

        Raises:
            FloatingPointError: If the loss at the start is not finite.
        """
        self._accepted = False
        with suppress(StopIteration):  # `ended` holds the reason
            self._asked = self._run.send((float(loss), gradient.detach()))
        return self._accepted

    def _minimise(self) -> Generator[Tensor, tuple[float, Tensor], None]:
        loss, gradient = yield self.x
        if not math.isfinite(loss) or not gradient.isfinite().all():
            raise FloatingPointError(f"the loss at the start is {loss}")
        self.loss, self._accepted = loss, True
        for iteration in count():
            if float(gradient.abs().max()) <= self._tolerances[0]:
                self.ended = "the gradient vanishes"
                return
            direction = self._direction(gradient)
            slope = float(gradient @ direction)
            if slope >= 0:  # rounding errors have spoilt the approximation: reset it
                self._history.clear()
                direction = -gradient
                slope = float(gradient @ direction)
            # Without curvature information, the first step has a length of at most 1.
            first = 1.0 if iteration else min(1.0, 1 / float(gradient.abs().sum()))
            here = _Trial(0.0, self.x, self.loss, gradient, slope)
            found = yield from _search(here, direction, first, self._max_trials)
            if found is None:
                self.ended = "the line search finds no lower loss"
                return
            step, change = found.x - self.x, found.gradient - gradient
            curvature = float(step @ change)
            if curvature > 1e-10:
                self._history.append((step, change, curvature))
            fall = self.loss - found.loss
            self.x, self.loss, gradient = found.x, found.loss, found.gradient
            self.iterations += 1
            self._accepted = True
            if fall < self._tolerances[1]:
                self.ended = "the loss no longer changes"
                return

    def _direction(self, gradient: Tensor) -> Tensor:
        """Two-loop recursion: minus the approximate inverse Hessian times the gradient."""
        direction = -gradient
        weights = []
        for step, change, curvature in reversed(self._history):
            weight = float(step @ direction) / curvature
            weights.append(weight)
            direction = direction - weight * change
        if self._history:
            _, change, curvature = self._history[-1]
            direction = direction * (curvature / float(change @ change))
        for (step, change, curvature), weight in zip(self._history, reversed(weights), strict=True):
            direction = direction + (weight - float(change @ direction) / curvature) * step
        return direction


def _search(start: _Trial, direction: Tensor, first: float, max_trials: int) -> _Search:
    """Find a step that meets the weak Wolfe conditions, by doubling and bisection.

    Returns:
        The first such point; after ``max_trials``, the point of lowest loss, or None if no loss
        is below that of the start.
    """
    lowest: _Trial | None = None
    low, high, step = 0.0, math.inf, first
    for _ in range(max_trials):
        x = start.x + step * direction
        loss, gradient = yield x
        trial = _Trial(step, x, loss, gradient, float(gradient @ direction))
        finite = math.isfinite(loss) and math.isfinite(trial.slope)
        if finite and loss < (lowest or start).loss:
            lowest = trial
        if not finite or loss > start.loss + SUFFICIENT_DECREASE * step * start.slope:
            high = step
        elif trial.slope < CURVATURE * start.slope:
            low = step
        else:
            return trial
        step = 2 * low if math.isinf(high) else (low + high) / 2
    return lowest
