"""Loggers of a training run, and prompt files as Weights & Biases artifacts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import CSVLogger, WandbLogger

if TYPE_CHECKING:
    import wandb


def run_loggers(given: Any, folder: Path, project: str | None) -> Any:
    """Return the recipe's loggers (default: CSV), plus Weights & Biases if a project is named.

    Args:
        given: ``trainer.logger`` of the recipe.
        folder: Folder of the run.
        project: Weights & Biases project.

    Raises:
        ValueError: If Weights & Biases does not start, for example without an API key.
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
    """Start Weights & Biases and return the result.

    Args:
        start: Function that starts it.

    Raises:
        ValueError: If it does not start; the message gives the remedy.
    """
    import wandb

    try:
        return start()
    except wandb.errors.Error as error:
        raise ValueError(
            f"Weights & Biases: {error} Or set WANDB_API_KEY, set WANDB_MODE=offline to log to "
            "disk, or omit --wandb"
        ) from error


def require_wandb() -> None:
    """Check, before any long computation, that Weights & Biases can start.

    Raises:
        ValueError: If there is no API key.
    """
    import wandb

    mode = os.environ.get("WANDB_MODE") or wandb.setup().settings.mode
    if mode in ("online", "shared"):
        start_wandb(wandb.login)


def prompt_artifact(path: Path, metadata: dict[str, Any]) -> wandb.Artifact:
    """Return a prompt file as an artifact.

    Weights & Biases versions artifacts by content, so training and evaluation log the same version.

    Args:
        path: The prompt file; the artifact is named after its run folder.
        metadata: Metadata of the artifact, used when this content is logged for the first time.
    """
    import wandb

    run = path.resolve().parent.name
    name = "".join(c if c.isalnum() or c in "-_." else "_" for c in f"{run}-{path.stem}")
    artifact = wandb.Artifact(name, "prompts", metadata=metadata)
    artifact.add_file(str(path), path.name)
    return artifact
