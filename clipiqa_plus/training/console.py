"""Terminal output of training: our own lines, without Lightning's notices and advertisements."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import lightning
from lightning.pytorch import Trainer

from clipiqa_plus.data.base import IQADataModule
from clipiqa_plus.data.mixed import MixedData
from clipiqa_plus.prompts.files import BEST_PROMPT_FILE, PROMPT_FILE

_LIGHTNING = str(Path(lightning.__file__).parent)
_LOGGERS = ("pytorch.utilities.rank_zero", "fabric.utilities.rank_zero", "fabric.utilities.seed")
_WARNINGS = (
    "LightningCLI's args parameter is intended",  # names of recipes are replaced by paths
    ".*isinstance.treespec, LeafSpec.*",  # Lightning calls a function that torch deprecates
    "Found .* module.s. in eval mode",  # CLIP is frozen
    ".*does not have many workers",  # cached features need none
    "Checkpoint directory .* exists and is not empty",  # normal when a run is resumed
    "Total length of .* across ranks is zero",  # a split without a validation part
    "You're resuming from a checkpoint that ended before the epoch ended",
)


def quiet_lightning() -> None:
    """Silence Lightning's notices, and its warnings that users can do nothing about."""
    for name in _LOGGERS:
        logging.getLogger(f"lightning.{name}").addFilter(_is_ours)
    for message in _WARNINGS:
        warnings.filterwarnings("ignore", message)


def _is_ours(record: logging.LogRecord) -> bool:
    # One of Lightning's notices matters to users: that a GPU is used.
    used = record.getMessage().startswith("GPU available: True")
    return used or record.levelno > logging.INFO or not record.pathname.startswith(_LIGHTNING)


def closing_lines(folder: Path, trainer: Trainer, data: IQADataModule, evaluate: str) -> str:
    """Return the closing lines of a run: result, files, next command.

    Args:
        folder: Folder of the run.
        trainer: The trainer, after the test.
        data: The data module that was tested.
        evaluate: Command that runs an evaluation.
    """
    shown = ("test/SRCC", "test/accuracy") if isinstance(data, MixedData) else ("test/",)
    metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(shown)}
    result = ", ".join(f"{name.removeprefix('test/')} {v:.4f}" for name, v in metrics.items())
    prompts = [name for name in (PROMPT_FILE, BEST_PROMPT_FILE) if (folder / name).is_file()]
    learned = [str(folder / PROMPT_FILE)] if PROMPT_FILE in prompts else []
    evaluation = " ".join([evaluate, "--prompts zero_shot", *learned])
    return (
        f"result: {result} on {len(data.rows('test')):,} test pictures\n"
        f"files:  {folder}/ with {', '.join([*prompts, 'metrics.json', 'config.yaml', 'logs'])}\n"
        f"next:   {evaluation} --data {folder / 'config.yaml'}"
    )
