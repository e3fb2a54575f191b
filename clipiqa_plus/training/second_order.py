"""SecondOrder: support for training with L-BFGS in Lightning's loop."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.optim import LBFGS

from clipiqa_plus.metrics.by_set import selection

State = dict[str, Tensor]


class SecondOrder(Callback):
    """Stops training with ``torch.optim.LBFGS`` on convergence or divergence; keeps the best state.

    A step of L-BFGS is up to ``max_iter`` iterations over one batch, which ``data.batch_size: all``
    makes the whole training part. Training stops when a step changes no parameter, or when the loss
    or a parameter is not finite; the state before that step is then restored. After training, the
    model gets the state of highest validation SRCC (averaged over targets), if there is a
    validation part. With other optimizers, this callback does nothing.
    """

    def __init__(self) -> None:
        self.best = -math.inf
        self.best_at = 0
        self.best_state: State = {}
        self._before: State = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the best state so far, for resuming."""
        return {"best": self.best, "best_at": self.best_at, "best_state": self.best_state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best state of a resumed run."""
        for name, value in state_dict.items():
            setattr(self, name, value)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn if an epoch has more than one batch."""
        if _lbfgs(trainer) and trainer.num_training_batches > 1:
            rank_zero_warn(
                f"L-BFGS needs the whole training part in one batch, but an epoch has "
                f"{trainer.num_training_batches}; set data.batch_size to all"
            )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Store the state before the step."""
        if _lbfgs(trainer):
            self._before = _state(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Stop training if the step diverged or changed no parameter.

        Raises:
            FloatingPointError: If the first loss is not finite.
        """
        optimizer = _lbfgs(trainer)
        if optimizer is None:
            return
        iterations = _counts(optimizer)[0]
        trained = [p for p in pl_module.parameters() if p.requires_grad]
        if not all(bool(values.isfinite().all()) for values in (outputs["loss"], *trained)):
            _restore(pl_module, self._before)
            if trainer.global_step <= 1:
                raise FloatingPointError(
                    f"the loss is {float(outputs['loss']):g} in the first step of L-BFGS: check "
                    "MOS and features for values that are not finite, or reduce the step length "
                    "(model.optimizer.init_args.lr)"
                )
            rank_zero_warn(
                f"training diverged: the loss is not finite after {iterations} iterations; "
                f"it stops with the state before this step"
            )
            trainer.should_stop = True
        elif all(torch.equal(p, self._before[n]) for n, p in _trained(pl_module)):
            rank_zero_info(
                f"training converged: no step lowers the loss after {iterations} iterations"
            )
            trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Store the state if its validation SRCC is the highest so far."""
        optimizer = _lbfgs(trainer)
        mean = selection(trainer.callback_metrics)
        if optimizer is None or trainer.sanity_checking or mean is None:
            return
        if mean > self.best:  # False if NaN, the SRCC of constant scores
            self.best, self.best_at = mean, _counts(optimizer)[0]
            self.best_state = _state(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the best state and print a summary."""
        optimizer = _lbfgs(trainer)
        if optimizer is None:
            return
        iterations, passes = _counts(optimizer)
        kept = "the last state"
        if self.best_state:
            _restore(pl_module, self.best_state)
            names = [k for k in trainer.callback_metrics if k in ("val/SRCC", "val/accuracy")]
            name = names[0] if names else "mean of the validation metrics"
            kept = f"the state of highest {name} ({self.best:.4f}), iteration {self.best_at}"
        rank_zero_info(f"L-BFGS: {iterations} iterations, {passes} text passes; kept {kept}")


def _lbfgs(trainer: Trainer) -> LBFGS | None:
    optimizer = trainer.optimizers[0] if trainer.optimizers else None
    return optimizer if isinstance(optimizer, LBFGS) else None


def _counts(optimizer: LBFGS) -> tuple[int, int]:
    """Return the number of iterations and of evaluations of the loss so far."""
    state = optimizer.state[optimizer.param_groups[0]["params"][0]]
    return state.get("n_iter", 0), state.get("func_evals", 0)


def _trained(module: LightningModule) -> list[tuple[str, Tensor]]:
    return [(name, p) for name, p in module.named_parameters() if p.requires_grad]


def _state(module: LightningModule) -> State:
    """Return a copy of the trained tensors and of the step count."""
    tensors = _trained(module)
    tensors += [(name, b) for name, b in module.named_buffers() if name == "prompts.steps"]
    return {name: tensor.detach().clone() for name, tensor in tensors}


def _restore(module: LightningModule, state: State) -> None:
    tensors = dict([*module.named_parameters(), *module.named_buffers()])
    with torch.no_grad():
        for name, value in state.items():
            tensors[name].copy_(value)
