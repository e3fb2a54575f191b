"""Learning rate schedule of context tokens: a cosine whose period never changes on resume."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch import Trainer
from torch.optim import LBFGS, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR


def scheduled(
    optimizer: Optimizer,
    constant: bool,
    trainer: Trainer,
    period: int | None = None,
    min_lr: float = 0.0,
) -> Any:
    """Return an optimizer with its schedule, in the form that Lightning expects.

    Args:
        optimizer: The optimizer.
        constant: Whether the learning rate stays; otherwise it follows :class:`CosineSchedule`.
        trainer: Knows the number of steps and the precision.
        period: See :class:`CosineSchedule`.
        min_lr: See :class:`CosineSchedule`.

    Raises:
        ValueError: If L-BFGS is combined with a schedule or with half precision.
    """
    if isinstance(optimizer, LBFGS) and not (constant and "16" not in trainer.precision):
        raise ValueError(
            "L-BFGS compares losses along a line: set model.schedule to constant and "
            f"trainer.precision, {trainer.precision}, to 32-true"
        )
    if constant:
        return optimizer
    steps = max(1, trainer.estimated_stepping_batches)  # infinite without a limit
    schedule = CosineSchedule(optimizer, steps, period, min_lr)
    return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class CosineSchedule(CosineAnnealingLR):
    """Torch's cosine annealing, which can only be resumed with its original period.

    Torch's own class restores the old period from a checkpoint, and after its end the learning rate
    rises again: training for longer than planned would jump from almost 0 to the initial rate.

    Args:
        optimizer: The optimizer.
        steps: Steps of the training; infinite without a limit.
        period: Steps until the minimum rate is reached; None uses those of the training.
        min_lr: The minimum rate.

    Raises:
        ValueError: If the training has more steps than the period.
    """

    def __init__(
        self, optimizer: Optimizer, steps: float, period: int | None = None, min_lr: float = 0.0
    ) -> None:
        length = period or steps
        if steps > length or math.isinf(length):
            raise ValueError(
                f"the training has {steps} steps and the cosine schedule a period of {length}: "
                "end within it (trainer.max_steps, trainer.max_epochs), give a longer one "
                "(model.period), or set model.schedule to constant"
            )
        super().__init__(optimizer, T_max=int(length), eta_min=min_lr)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a checkpoint.

        Raises:
            ValueError: If that schedule has another period or minimum rate.
        """
        before = state_dict["T_max"], state_dict["eta_min"]
        now = self.T_max, self.eta_min
        if before != now:
            raise ValueError(
                f"the checkpoint's cosine schedule falls to {before[1]:g} in {before[0]:,} steps, "
                f"that of this training to {now[1]:g} in {now[0]:,}; the learning rate would jump. "
                "Resume with the number of epochs or steps and the batch size of the run, or "
                "begin a new run from its prompts: --run NEW --model.prompts.file OLD/"
                "prompts.safetensors"
            )
        super().load_state_dict(state_dict)
