"""L-BFGS against scipy's and against minima known in closed form."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import Tensor

from clipiqa_plus.training.lbfgs import LBFGS

Function = Callable[[Tensor], Tensor]


def rosenbrock(x: Tensor) -> Tensor:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def minimise(
    function: Function, start: Tensor, most: int = 500, **options: float
) -> tuple[LBFGS, int]:
    search = LBFGS(start, **options)
    for calls in range(most):
        if search.ended:
            return search, calls
        x = search.ask().clone().requires_grad_()
        loss = function(x)
        (gradient,) = torch.autograd.grad(loss, x)
        search.tell(loss.item(), gradient)
    return search, most


def test_least_squares_has_its_closed_form() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(40, 12, generator=generator, dtype=torch.float64)
    b = torch.randn(40, generator=generator, dtype=torch.float64)
    search, calls = minimise(lambda x: ((a @ x - b) ** 2).mean(), torch.zeros(12).double())
    expected = torch.linalg.lstsq(a, b).solution
    # The tolerance of the gradient, 1e-7, over the smallest curvature of this problem.
    torch.testing.assert_close(search.x, expected, atol=1e-4, rtol=0)
    assert calls < 60


def test_curved_valley_takes_no_more_calls_than_scipy() -> None:
    start = torch.full((10,), -1.2, dtype=torch.float64)
    search, calls = minimise(rosenbrock, start, tolerance_change=0.0)

    def both(x: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.from_numpy(x).requires_grad_()
        loss = rosenbrock(point)
        return loss.item(), torch.autograd.grad(loss, point)[0].numpy()

    theirs = optimize.minimize(both, start.numpy(), jac=True, method="L-BFGS-B", tol=1e-12)
    assert search.loss == pytest.approx(theirs.fun, abs=1e-9)
    # Another line search: of the same order, not the same number.
    assert calls <= 1.5 * theirs.nfev


def test_loss_never_rises_and_each_iterate_is_the_point_that_was_asked_for() -> None:
    search = LBFGS(torch.tensor([-1.2, 1.0]))
    losses = []
    while not search.ended and len(losses) < 60:
        x = search.ask().clone().requires_grad_()
        loss = rosenbrock(x)
        (gradient,) = torch.autograd.grad(loss, x)
        if search.tell(loss.item(), gradient):
            losses.append(search.loss)
            assert torch.equal(search.x, x.detach())
            assert search.loss == loss.item()
    assert losses == sorted(losses, reverse=True)
    assert search.iterations == len(losses) - 1


def test_a_wall_is_stepped_back_from() -> None:
    def walled(x: Tensor) -> Tensor:  # infinite beyond 1, the minimum at 0.9
        return ((x - 0.9) ** 2 - 1e-3 * torch.log(1 - x)).sum()

    search, _ = minimise(walled, torch.tensor([-30.0], dtype=torch.float64))
    assert search.ended
    assert 0.8 < search.x.item() < 1


def test_a_start_without_a_loss_is_an_error() -> None:
    search = LBFGS(torch.zeros(1))
    with pytest.raises(FloatingPointError, match="loss at the start is nan"):
        search.tell(float("nan"), torch.zeros(1))


def test_minimisations_that_take_turns_do_not_see_each_other() -> None:
    starts = [torch.tensor([-1.2, 1.0]), torch.tensor([2.0, 2.0])]
    alone = [minimise(rosenbrock, start, most=30)[0].x for start in starts]
    searches = [LBFGS(start) for start in starts]
    for _ in range(30):
        for search in searches:
            if not search.ended:
                x = search.ask().clone().requires_grad_()
                loss = rosenbrock(x)
                search.tell(loss.item(), torch.autograd.grad(loss, x)[0])
    for search, expected in zip(searches, alone, strict=True):
        assert torch.equal(search.x, expected)
