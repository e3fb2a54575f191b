"""LearningCheck: tells when a training has learned nothing."""

from __future__ import annotations

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from clipiqa_plus.module import CLIPIQAPlus
from clipiqa_plus.prompts.sources import ZeroShotPrompts

NOTHING = 0.001
"""Entries of unit text features that change by less leave the scores as they were."""


class LearningCheck(Callback):
    """Warns at the end of a training whose text features are still those of its beginning.

    Or those of the fixed words: the learned prompts then score as zero-shot does.
    """

    @torch.no_grad()
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the text features of the beginning, and those of the words."""
        assert isinstance(pl_module, CLIPIQAPlus)
        words = ZeroShotPrompts(pl_module.prompts.pairs).to(pl_module.device)
        self.before: dict[str, Tensor] = {
            "their start": pl_module.text_features().clone(),
            "zero-shot": words(pl_module.backbone),
        }

    @torch.no_grad()
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare."""
        assert isinstance(pl_module, CLIPIQAPlus)
        text = pl_module.text_features()
        for name, before in self.before.items():
            moved = float((text - before).abs().max())
            if moved < NOTHING and pl_module.regressor is None:
                rank_zero_warn(
                    f"nothing learned: after {trainer.global_step:,} steps the text features are "
                    f"within {moved:.1g} of {name}; train for more steps (--trainer.max_steps) or "
                    "at a higher learning rate (--model.optimizer)"
                )
                return
