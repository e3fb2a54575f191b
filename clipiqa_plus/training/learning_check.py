"""LearningCheck: refuses a training that cannot work, warns of one that changed no prompt."""

from __future__ import annotations

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from clipiqa_plus.data import IQADataModule
from clipiqa_plus.module import CLIPIQAPlus

NEGLIGIBLE = 0.001
"""A smaller change in every entry of the unit text features leaves the scores almost unchanged."""


class LearningCheck(Callback):
    """Refuses a training that cannot work, and warns of one that learned nothing.

    It cannot work if it is to stop by a validation metric and there is no validation part. It
    learned nothing if the text features after it equal the initial or the zero-shot ones.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Look for the validation part, before any picture is encoded.

        Raises:
            ValueError: If early stopping watches a validation metric and the part is empty.
        """
        watched = [stop.monitor for stop in trainer.early_stopping_callbacks]
        metric = next((name for name in watched if name.startswith("val/")), None)
        data: IQADataModule = trainer.datamodule  # type: ignore[attr-defined]
        if stage == "fit" and metric and not len(data.rows("val")):
            raise ValueError(
                f"{data.label}: the split has no validation part, and early stopping watches "
                f"{metric}; give it one, as with --data.fractions '[0.7, 0.1, 0.2]', or take a "
                "recipe without early stopping"
            )

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
