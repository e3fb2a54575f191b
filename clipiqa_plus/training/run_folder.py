"""RunRecord: writes the config, environment, data, metrics and prompts of a run to its folder."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from clipiqa_plus import __version__
from clipiqa_plus.data.mixed import MixedData
from clipiqa_plus.metrics.by_set import selection
from clipiqa_plus.metrics.conformal import interval_facts
from clipiqa_plus.module import CLIPIQAPlus
from clipiqa_plus.prompts.files import (
    BEST_PROMPT_FILE,
    LAST_CHECKPOINT,
    PROMPT_FILE,
    read_prompts,
    save_prompts,
)
from clipiqa_plus.prompts.sources import ContextPrompts
from clipiqa_plus.training.run_lock import ASIDE, RUN_FILE
from clipiqa_plus.training.tracking import prompt_artifact

_PACKAGES = ("torch", "lightning", "torchmetrics", "openai-clip", "albumentations", "numpy")


class RunRecord(Callback):
    """Writes config, versions, seed, split, metrics and the learned prompts to the run folder.

    Files: ``config.yaml`` (the resolved recipe, which repeats the run), ``run.json`` (versions,
    seed, command, data), ``split.json``, ``prompts.safetensors`` (the last state, as in the
    official recipe; also written if training is interrupted), ``prompts_best.safetensors`` (the
    epoch of highest validation SRCC, or accuracy on votes, averaged over targets and sets) and
    ``metrics.json`` (the last value of each).

    Args:
        folder: Folder of the run, see :class:`~clipiqa_plus.training.run_lock.RunLock`.
        config: The resolved config as YAML.
        recipe: Name of the recipe.
        seed: The seed of the run.
        licence: Licence of the learned prompts.
    """

    def __init__(
        self,
        folder: Path,
        config: str,
        recipe: str,
        seed: int | bool | None,
        licence: str | None = None,
    ) -> None:
        self.folder = folder
        self.config = config
        self.recipe = recipe
        self.seed = seed
        self.licence = licence
        self.best = -math.inf
        self.training = False
        self.intervals: dict[str, Any] = {}

    def state_dict(self) -> dict[str, float]:
        """Return the highest validation SRCC so far, for resuming."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Restore the highest validation SRCC of a resumed run."""
        self.best = state_dict["best"]

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what is known before training. By now a checkpoint to resume has been accepted."""
        self.training = True
        self._write_run(trainer)

    @rank_zero_only
    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the same before a test without training."""
        if not (self.folder / RUN_FILE).is_file():
            self._write_run(trainer)

    def _write_run(self, trainer: Trainer) -> None:
        write_text(self.folder / "config.yaml", self.config)
        data = getattr(trainer, "datamodule", None)
        split = getattr(data, "split", None)
        if split is not None:
            split.save(self.folder / "split.json")
        facts = {
            "recipe": self.recipe,
            "seed": self.seed,
            "command": sys.argv,
            "versions": versions(),
            "world_size": trainer.world_size,
            **_training_facts(trainer),
            **data_facts(data),
        }
        write_json(self.folder / RUN_FILE, facts)
        for logger in trainer.loggers:
            logger.log_hyperparams(facts)

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the prompts if their validation SRCC is the highest so far."""
        mean = selection(trainer.callback_metrics)
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or mean is None:
            return
        if mean > self.best:  # False if NaN, the SRCC of constant scores
            self.best = mean
            self._write_prompts(trainer, pl_module, BEST_PROMPT_FILE)

    @rank_zero_only
    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Write the current prompts when training is interrupted, and print how to resume."""
        if not self.training or not trainer.global_step:
            return
        stopped = f"training stopped after {trainer.global_step:,} steps"
        if (self.folder / ASIDE).is_dir():
            message = f"{stopped}, before its first checkpoint: the old run is kept"
        else:
            path = self._write_prompts(trainer, pl_module)
            resumable = (self.folder / LAST_CHECKPOINT).is_file()
            resume = f"resume with --run {self.folder} --ckpt_path last"
            message = f"{stopped}; prompts so far: {path}; {resume if resumable else 'start again'}"
        if isinstance(exception, KeyboardInterrupt):
            exception.add_note(message)  # printed in the one line after Ctrl-C
        else:
            rank_zero_info(message)

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the learned prompts and the metrics."""
        self.training = False
        self._write_prompts(trainer, pl_module)

    @rank_zero_only
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the test metrics, also to the metadata of the prompt file, which is then final."""
        path = self._write_prompts(trainer, pl_module)
        for logger in trainer.loggers:
            if path and isinstance(logger, WandbLogger):
                logger.experiment.log_artifact(prompt_artifact(path, read_prompts(path)[1]))

    def _write_prompts(
        self, trainer: Trainer, pl_module: LightningModule, name: str = PROMPT_FILE
    ) -> Path | None:
        assert isinstance(pl_module, CLIPIQAPlus)
        metrics = self._write_metrics(trainer)
        prompts = pl_module.prompts
        if not isinstance(prompts, ContextPrompts) or not prompts.learned:
            return None
        regressor = pl_module.regressor
        data = getattr(trainer, "datamodule", None)
        measured = _intervals(pl_module, data)
        self.intervals = measured or self.intervals  # not available during a test
        path = save_prompts(
            self.folder / name,
            prompts,
            pl_module.backbone,
            regressor=dict(regressor.state_dict()) if regressor is not None else None,
            licence=self.licence,
            reduction=pl_module.reduction,
            recipe=self.recipe,
            seed=self.seed,
            epoch=trainer.current_epoch,
            metrics=metrics,
            **self.intervals,
            **data_facts(data),
        )
        return path

    def _write_metrics(self, trainer: Trainer) -> dict[str, float | None]:
        path = self.folder / "metrics.json"
        metrics: dict[str, float | None] = json.loads(path.read_text()) if path.is_file() else {}
        for name, value in trainer.callback_metrics.items():
            number = float(value)
            metrics[name] = number if math.isfinite(number) else None  # JSON has no NaN
        write_json(path, metrics)
        return metrics


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that affect the results."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"clipiqa_plus": __version__, "python": platform.python_version(), **found}


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)


def _training_facts(trainer: Trainer) -> dict[str, Any]:
    if not trainer.optimizers:  # nothing is trained
        return {}
    optimizer = trainer.optimizers[0]
    return {
        "optimizer": type(optimizer).__name__,
        "learning_rate": optimizer.defaults["lr"],
        "batch_size": getattr(getattr(trainer, "datamodule", None), "batch_size", None),
        "max_epochs": trainer.max_epochs,
        "max_steps": trainer.max_steps,
    }


def _intervals(model: CLIPIQAPlus, data: Any) -> dict[str, Any]:
    """Return the interval quantiles from the validation part, if its features are available."""
    lookup = getattr(data, "features", {}).get("val")
    if lookup is None:
        return {}
    rows = torch.from_numpy(data.rows("val"))
    rows = rows[data.mos[rows].isfinite().all(dim=1)]  # pictures of votes have no MOS
    if not len(rows):
        return {}
    with torch.no_grad():
        scores = model.score_features(lookup(rows, torch.zeros_like(rows))).cpu()
    facts = interval_facts(scores, data.mos[rows], data.mos_range, data.higher_is_better)
    return {"intervals": facts}


def data_facts(data: Any) -> dict[str, Any]:
    """Return the facts about the data that a prompt file records; empty without a split."""
    split = getattr(data, "split", None)
    if split is None:
        return {}
    if isinstance(data, MixedData):
        sets = {name: data_facts(module) for name, module in data.sets.items()}
        titles = ", ".join(facts["dataset"] for facts in sets.values())
        terms = "; ".join(f"{name}: {facts['dataset_terms']}" for name, facts in sets.items())
        mixed = {"dataset": titles, "dataset_terms": terms, "sets": sets}
        mixed |= {"sampling": data.sampling, "absent": list(data.absent)}
    else:
        mixed = {}
    return {
        "dataset": data.title or data.name or type(data).__name__,
        "dataset_terms": data.terms or None,
        "split": data.split_kind,
        "split_sha256": split.digest,
        "samples": {part: len(data.rows(part)) for part in ("train", "val", "test")},
        "skipped": {part: len(data.skipped(part)) for part in ("train", "val", "test")},
        "mos_range": list(data.mos_range),
        **mixed,
    }
