"""The folder of a training run: what was run, on what, and what came out."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from clipiqa_plus import __version__
from clipiqa_plus.module import CLIPIQAPlus
from clipiqa_plus.prompts.files import PROMPT_FILE, save_prompts
from clipiqa_plus.prompts.sources import ContextPrompts

RUN_FILE = "run.json"
# What a run that failed before its record was written, as by a wrong root of the data, leaves.
_BEGINNINGS = {"logs", "wandb", "config.yaml", "split.json"}
_PACKAGES = ("torch", "lightning", "torchmetrics", "openai-clip", "albumentations", "numpy")


def claim(folder: Path, resume: bool, overwrite: bool) -> None:
    """Make a folder ready for a run, without ever mixing two runs in one.

    Args:
        folder: Folder of the run.
        resume: The run goes on from a checkpoint in it.
        overwrite: Delete the run that the folder holds.

    Raises:
        FileExistsError: If the folder holds a run, and neither is asked for.
        FileNotFoundError: If there is no run to resume.
    """
    if getattr(rank_zero_only, "rank", 0) != 0:
        return
    holds_run = (folder / RUN_FILE).is_file()
    if resume and not holds_run:
        raise FileNotFoundError(f"{folder}: no run to resume; check --run, or drop --ckpt_path")
    if holds_run and not resume:
        if not overwrite:
            raise FileExistsError(
                f"{folder} holds a run: go on with --ckpt_path last, replace it with "
                "--overwrite true, or name another folder with --run"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not holds_run and {path.name for path in folder.iterdir()} - _BEGINNINGS:
        raise FileExistsError(f"{folder} has files of something else; name another with --run")


class RunRecord(Callback):
    """Writes config, versions, seed, split, metrics and the learned prompts to the run folder.

    Files: ``config.yaml`` (resolved; reruns the run), ``run.json`` (versions, seed, command, data),
    ``split.json``, ``prompts.safetensors`` (the last state, as in the official recipe) and
    ``metrics.json`` (the last value of each).

    Args:
        folder: Folder of the run, see :func:`claim`.
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

    @rank_zero_only
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write what is known before the run."""
        if (self.folder / RUN_FILE).is_file() and stage != "fit":
            return
        write_text(self.folder / "config.yaml", self.config)
        data = getattr(trainer, "datamodule", None)
        split = getattr(data, "split", None)
        if split is not None:
            split.save(self.folder / "split.json")
        write_json(
            self.folder / RUN_FILE,
            {
                "recipe": self.recipe,
                "seed": self.seed,
                "command": sys.argv,
                "versions": versions(),
                "world_size": trainer.world_size,
                **_data_facts(data),
            },
        )

    @rank_zero_only
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the learned prompts and the metrics."""
        path = self._write_prompts(trainer, pl_module)
        if path is not None:
            rank_zero_info(f"learned prompts: {path}")

    @rank_zero_only
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the test metrics, also to what the prompt file tells about itself."""
        self._write_prompts(trainer, pl_module)

    def _write_prompts(self, trainer: Trainer, pl_module: LightningModule) -> Path | None:
        assert isinstance(pl_module, CLIPIQAPlus)
        metrics = self._write_metrics(trainer)
        prompts = pl_module.prompts
        if not isinstance(prompts, ContextPrompts) or not prompts.learned:
            return None
        regressor = pl_module.regressor
        path = save_prompts(
            self.folder / PROMPT_FILE,
            prompts,
            pl_module.backbone,
            regressor=dict(regressor.state_dict()) if regressor is not None else None,
            licence=self.licence,
            reduction=pl_module.reduction,
            recipe=self.recipe,
            seed=self.seed,
            metrics=metrics,
            **_data_facts(getattr(trainer, "datamodule", None)),
        )
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.log_artifact(path, type="prompts")
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
    """Return the versions that a run's numbers depend on."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"clipiqa_plus": __version__, "python": platform.python_version(), **found}


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    unfinished.write_text(text)
    os.replace(unfinished, path)


def _data_facts(data: Any) -> dict[str, Any]:
    split = getattr(data, "split", None)
    if split is None:
        return {}
    return {
        "dataset": data.title or data.name or type(data).__name__,
        "dataset_terms": data.terms or None,
        "split": data.split_kind,
        "split_sha256": split.digest,
        "samples": {part: len(data.rows(part)) for part in ("train", "val", "test")},
        "skipped": {part: len(data.skipped(part)) for part in ("train", "val", "test")},
        "mos_range": list(data.mos_range),
    }
