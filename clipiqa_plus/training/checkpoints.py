"""How training writes checkpoints and how it reads them: tensors and plain values only."""

from __future__ import annotations

from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from clipiqa_plus.prompts.checkpoints import read_torch
from clipiqa_plus.training.run_lock import RunLock


class LastCheckpoint(ModelCheckpoint):
    """Saves last.ckpt after every epoch, for resuming.

    Lightning's own ``save_last`` follows the monitored metric: its last.ckpt is the last *best*.

    Args:
        folder: Folder of the checkpoints.
        claim: The run folder; what the run replaces goes with its first checkpoint.
    """

    def __init__(self, folder: str, claim: RunLock) -> None:
        super().__init__(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
        self.claim = claim

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        super()._save_checkpoint(trainer, filepath)
        if trainer.is_global_zero:
            self.claim.keep()


class TensorCheckpoints(TorchCheckpointIO):
    """Reads checkpoints of tensors and plain values; what could run code is refused by name."""

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load a checkpoint to the CPU, whatever is asked for.

        Raises:
            FileNotFoundError: If there is no such file; addresses of the network are none.
            ValueError: If the file is damaged or holds Python objects.
        """
        content: dict[str, Any] = read_torch(path)
        return content
