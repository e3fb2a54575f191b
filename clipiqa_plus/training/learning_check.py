"""LearningCheck: warns if training has not changed the prompts."""

from __future__ import annotations

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from clipiqa_plus.module import CLIPIQAPlus

NEGLIGIBLE = 0.001
"""A smaller change in every entry of the unit text features leaves the scores almost unchanged."""


class LearningCheck(Callback):
    """Warns if the text features after training equal the initial or the zero-shot ones."""

    @torch.no_grad()
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Store the initial and the zero-shot text features."""
        assert isinstance(pl_module, CLIPIQAPlus)
        words = pl_module.prompts.in_words(pl_module.backbone).to(pl_module.device)
        self.before: dict[str, Tensor] = {
            "their initial values": pl_module.text_features().clone(),
            "the zero-shot ones": words(pl_module.backbone),
        }

    @torch.no_grad()
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare them with the learned ones."""
        assert isinstance(pl_module, CLIPIQAPlus)
        text = pl_module.text_features()
        for name, before in self.before.items():
            change = float((text - before).abs().max())
            if change < NEGLIGIBLE and pl_module.regressor is None:
                rank_zero_warn(
                    f"nothing learned: after {trainer.global_step:,} steps the text features are "
                    f"within {change:.1g} of {name}; train for more steps (--trainer.max_steps) or "
                    "at a higher learning rate (--model.optimizer)"
                )
                return
