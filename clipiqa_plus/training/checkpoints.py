"""Checkpoints of a training run: written after every epoch, read without running code."""

from __future__ import annotations

from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from clipiqa_plus.prompts.checkpoints import read_torch
from clipiqa_plus.training.run_lock import RunLock


class LastCheckpoint(ModelCheckpoint):
    """Saves last.ckpt after every epoch, for resuming.

    Lightning's ``save_last`` follows the monitored metric: its last.ckpt is the last *best* epoch.

    Args:
        folder: Folder of the checkpoints.
        run_lock: Lock of the run folder; the first checkpoint commits the run.
    """

    def __init__(self, folder: str, run_lock: RunLock) -> None:
        super().__init__(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
        self.run_lock = run_lock

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        super()._save_checkpoint(trainer, filepath)
        if trainer.is_global_zero:
            self.run_lock.commit()


class TensorCheckpoints(TorchCheckpointIO):
    """Reads checkpoints of tensors and plain values; refuses any that could run code."""

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load a checkpoint, always to the CPU.

        Raises:
            FileNotFoundError: If the file does not exist. URLs are not supported.
            ValueError: If the file is damaged or contains Python objects.
        """
        content: dict[str, Any] = read_torch(path)
        return content
