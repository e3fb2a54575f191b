"""L-BFGS that asks and tells: many minimisations advance together, each by its own line search.

``torch.optim.LBFGS`` calls the function itself, so that two minimisations run one after the other.
Here :meth:`LBFGS.ask` names the next point and :meth:`LBFGS.tell` takes its value, so that the
caller may evaluate the points of many minimisations in one pass.

The direction is that of Nocedal and Wright, Numerical Optimization (2nd edition), algorithm 7.4;
the line search that of Lewis and Overton, Nonsmooth optimization via quasi-Newton methods (2013),
algorithm 2.6, whose weak Wolfe conditions keep the approximated Hessian positive.
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
"""c2 of the Wolfe conditions, the usual one for quasi-Newton directions."""


@dataclass(frozen=True)
class _Trial:
    """A point on the line of a search, and what was found there."""

    step: float
    x: Tensor
    loss: float
    gradient: Tensor
    slope: float


_Search = Generator[Tensor, tuple[float, Tensor], _Trial | None]


class LBFGS:
    """One minimisation.

    Args:
        start: Where it starts, float [n].
        history: Number of past steps that approximate the Hessian.
        tolerance_gradient: The minimisation ends where no component of the gradient is larger.
        tolerance_change: It ends where an iteration changes the loss by less.
        max_trials: Most points that one line search may try.

    Attributes:
        x: The last iterate, [n].
        loss: The loss there; infinite before the first :meth:`tell`.
        iterations: Number of iterates after the start.
        ended: Why the minimisation is over; empty while it goes on.
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
        """Return the point whose loss and gradient are wanted next, [n]."""
        return self._asked

    def tell(self, loss: float, gradient: Tensor) -> bool:
        """Take the loss and the gradient at the point that was asked for.

        Args:
            loss: The loss; one that is not finite makes the line search take a shorter step.
            gradient: Its gradient, [n].

        Returns:
            Whether that point has become the iterate ``x``.

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
            if slope >= 0:  # rounding has spoilt the approximation: start it anew
                self._history.clear()
                direction = -gradient
                slope = float(gradient @ direction)
            # Before there is a curvature to judge by, a first step of length 1 at most.
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
        """Two-loop recursion: minus the inverse Hessian's approximation times the gradient."""
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
    """Search a step that meets the weak Wolfe conditions by doubling and bisection.

    Returns:
        The first such point; after ``max_trials`` the lowest that was seen, None if no lower one.
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
