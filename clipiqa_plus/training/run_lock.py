"""A run folder belongs to one run at a time; a new run replaces an old one once it works."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout
from lightning.pytorch.utilities import rank_zero_only

from clipiqa_plus.prompts.files import BEST_PROMPT_FILE, PROMPT_FILE

RUN_FILE = "run.json"
ASIDE = ".replaced"
"""Folder in a run folder that keeps the old run's results until the new run has a checkpoint."""

LOCK = ".lock"
_RESULTS = (
    RUN_FILE,
    "config.yaml",
    "split.json",
    "metrics.json",
    PROMPT_FILE,
    BEST_PROMPT_FILE,
    "checkpoints/*.ckpt",
    "**/version_*/metrics.csv",
    "**/version_*/hparams.yaml",
    "**/events.out.tfevents.*",
    "wandb/*run-*",
    "wandb/latest-run",
    "wandb/debug*.log",
)
"""What runs write, as patterns: nothing else in a folder is ever moved or deleted."""

# What a run that failed before its record was written, as by a wrong root of the data, leaves.
_BEGINNINGS = {"logs", "wandb", "checkpoints", "config.yaml", "split.json", LOCK}


class RunLock:
    """The right of this process to write to a run folder; released at the end of a with block.

    If the run replaces an old one, the old results stand aside until :meth:`keep`; without it,
    they come back at the end of the block, or, after a kill, at the next claim.

    Args:
        folder: Folder of the run; made if need be.
        resume: The run goes on from a checkpoint in it.
        overwrite: Replace the run that the folder holds.

    Raises:
        FileExistsError: If the folder holds a run and neither is asked for, or another process
            is writing to it, or it has files of something else.
        FileNotFoundError: If there is no run to resume.
        PermissionError: If the folder cannot be written to.
    """

    def __init__(self, folder: Path, resume: bool, overwrite: bool) -> None:
        self.folder = folder
        self._lock: FileLock | None = None
        if getattr(rank_zero_only, "rank", 0) != 0:  # the first process claims for all
            return
        if resume and not folder.is_dir():
            raise FileNotFoundError(_nothing_to_resume(folder))
        self._acquire()
        try:
            self._restore()  # of a run that was to be replaced by one that was killed
            self._claim(resume, overwrite)
        except BaseException:
            self._release()
            raise

    def _acquire(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.folder / LOCK, timeout=0)
            self._lock.acquire()
        except Timeout as error:
            raise FileExistsError(
                f"{self.folder}: another process is writing this run; wait for its end, or name "
                "another folder with --run"
            ) from error
        except OSError as error:
            raise type(error)(
                f"{self.folder}: the run's folder cannot be written to ({error}); name another "
                "with --run"
            ) from error

    def _claim(self, resume: bool, overwrite: bool) -> None:
        holds_run = (self.folder / RUN_FILE).is_file()
        if resume and not holds_run:
            raise FileNotFoundError(_nothing_to_resume(self.folder))
        if holds_run and not resume:
            if not overwrite:
                raise FileExistsError(
                    f"{self.folder} holds a run: go on with --ckpt_path last, replace it with "
                    "--overwrite, or name another folder with --run"
                )
            _move(self.folder, self.folder / ASIDE)
        if not holds_run and {path.name for path in self.folder.iterdir()} - _BEGINNINGS:
            raise FileExistsError(
                f"{self.folder} has files of something else; name another with --run"
            )

    def keep(self) -> None:
        """Delete the results that stand aside: the new run has something to show."""
        shutil.rmtree(self.folder / ASIDE, ignore_errors=True)

    def _restore(self) -> None:
        aside = self.folder / ASIDE
        if aside.is_dir():
            for path in list(_results(self.folder)):
                _delete(path)
            _move(aside, self.folder)
            self.keep()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lock is not None:
            self._restore()
        self._release()


def _nothing_to_resume(folder: Path) -> str:
    return f"{folder}: no run to resume; check --run, or drop --ckpt_path"


def _results(folder: Path) -> Iterator[Path]:
    aside = folder / ASIDE
    for pattern in _RESULTS:
        for path in folder.glob(pattern):
            if aside not in path.parents:
                yield path


def _move(source: Path, target: Path) -> None:
    """Move the results of a run, and nothing else, from one folder to another."""
    for path in list(_results(source)):
        if not os.path.lexists(path):  # it went with its folder
            continue
        moved = target / path.relative_to(source)
        moved.parent.mkdir(parents=True, exist_ok=True)
        path.replace(moved)
        _prune(path.parent, source)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _prune(folder: Path, root: Path) -> None:
    """Remove folders that a move left empty, up to the root."""
    while folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
