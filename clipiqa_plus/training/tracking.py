"""Loggers of a training run, and prompt files as artifacts at Weights & Biases."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import CSVLogger, WandbLogger

if TYPE_CHECKING:
    import wandb


def run_loggers(given: Any, folder: Path, project: str | None) -> Any:
    """Return the recipe's loggers, by default CSV, and Weights & Biases if a project is named.

    Args:
        given: ``trainer.logger`` of the recipe.
        folder: Folder of the run.
        project: Project at Weights & Biases.

    Raises:
        ValueError: If Weights & Biases does not start, as without a key.
    """
    if given is False:
        return False
    loggers = [CSVLogger(folder, name="logs")] if given in (None, True) else given
    if project:
        loggers = loggers if isinstance(loggers, list) else [loggers]
        loggers.append(WandbLogger(project=project, name=folder.name, save_dir=folder))
        start_wandb(lambda: loggers[-1].experiment)
    return loggers


def start_wandb(start: Any) -> Any:
    """Return what starting a run at Weights & Biases gives.

    Args:
        start: Starts the run.

    Raises:
        ValueError: With the remedy, if it does not start.
    """
    import wandb

    try:
        return start()
    except wandb.errors.Error as error:
        raise ValueError(
            f"Weights & Biases: {error} Or set WANDB_API_KEY, or WANDB_MODE=offline to log to the "
            "disk, or leave --wandb out"
        ) from error


def require_wandb() -> None:
    """Check, before hours of work, that Weights & Biases will start.

    Raises:
        ValueError: If there is no key.
    """
    import wandb

    mode = os.environ.get("WANDB_MODE") or wandb.setup().settings.mode
    if mode in ("online", "shared"):
        start_wandb(wandb.login)


def prompt_artifact(path: Path, metadata: dict[str, Any]) -> wandb.Artifact:
    """Return a prompt file as an artifact: of one name and content in training and evaluation.

    Weights & Biases counts a version for each content, so an evaluation meets the version that the
    training has logged.

    Args:
        path: The prompt file; the artifact is named after its folder, the run.
        metadata: What is known of it, for the first that logs this content.
    """
    import wandb

    run = path.resolve().parent.name
    name = "".join(c if c.isalnum() or c in "-_." else "_" for c in f"{run}-{path.stem}")
    artifact = wandb.Artifact(name, "prompts", metadata=metadata)
    artifact.add_file(str(path), path.name)
    return artifact
