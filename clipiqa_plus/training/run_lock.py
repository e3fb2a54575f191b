"""Exclusive use of a run folder; a new run replaces the old one at its first checkpoint."""

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
"""Subfolder that holds the old run's results until the new run has a checkpoint."""

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
"""Files that runs write, as patterns. No other file is ever moved or deleted."""

# Left behind by a run that failed before it wrote its record, for example on a wrong data root.
_BEGINNINGS = {"logs", "wandb", "checkpoints", "config.yaml", "split.json", LOCK}


class RunLock:
    """Locks a run folder for this process; a context manager that releases it on exit.

    If the run replaces an old one, the old results are set aside until :meth:`commit`. Without a
    commit they are restored on exit, or, if the process was killed, when the folder is locked next.

    Args:
        folder: Folder of the run; created if it does not exist.
        resume: Continue the run in the folder.
        overwrite: Replace the run in the folder.

    Raises:
        FileExistsError: If the folder holds a run that is neither resumed nor overwritten, if
            another process is writing to it, or if it holds other files.
        FileNotFoundError: If there is no run to resume.
        PermissionError: If the folder is not writable.
    """

    def __init__(self, folder: Path, resume: bool, overwrite: bool) -> None:
        self.folder = folder
        self._lock: FileLock | None = None
        if getattr(rank_zero_only, "rank", 0) != 0:  # the first process locks it for all
            return
        if resume and not folder.is_dir():
            raise FileNotFoundError(_nothing_to_resume(folder))
        self._acquire()
        try:
            self._restore()  # the old run, if its replacement was killed
            self._check(resume, overwrite)
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
                f"{self.folder}: another process is writing this run; wait until it ends, or name "
                "another folder with --run"
            ) from error
        except OSError as error:
            raise type(error)(
                f"{self.folder}: the run folder is not writable ({error}); name another with --run"
            ) from error

    def _check(self, resume: bool, overwrite: bool) -> None:
        """Check the folder's content; set an old run aside if it is to be overwritten."""
        holds_run = (self.folder / RUN_FILE).is_file()
        if resume and not holds_run:
            raise FileNotFoundError(_nothing_to_resume(self.folder))
        if holds_run and not resume:
            if not overwrite:
                raise FileExistsError(
                    f"{self.folder} already holds a run: resume it with --ckpt_path last, replace "
                    "it with --overwrite, or name another folder with --run"
                )
            _move(self.folder, self.folder / ASIDE)
        if not holds_run and {path.name for path in self.folder.iterdir()} - _BEGINNINGS:
            raise FileExistsError(
                f"{self.folder} holds files that are not a run's; name another folder with --run"
            )

    def commit(self) -> None:
        """Delete the old run's results for good."""
        shutil.rmtree(self.folder / ASIDE, ignore_errors=True)

    def _restore(self) -> None:
        aside = self.folder / ASIDE
        if aside.is_dir():
            for path in list(_results(self.folder)):
                _delete(path)
            _move(aside, self.folder)
            self.commit()

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
    return f"{folder}: no run to resume; check --run, or omit --ckpt_path"


def _results(folder: Path) -> Iterator[Path]:
    aside = folder / ASIDE
    for pattern in _RESULTS:
        for path in folder.glob(pattern):
            if aside not in path.parents:
                yield path


def _move(source: Path, target: Path) -> None:
    """Move a run's results, and no other files, from one folder to another."""
    for path in list(_results(source)):
        if not os.path.lexists(path):  # already moved with its folder
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
    """Remove empty folders from here up to the root."""
    while folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
