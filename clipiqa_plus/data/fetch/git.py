"""Fetch one commit of a git repository in batches, so that an interruption loses only one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from clipiqa_plus.data.fetch.sources import GitRepository

BATCH = 200  # files that git requests at once


def fetch_commit(source: GitRepository, folder: Path) -> None:
    """Download the files of a commit to a folder.

    An interrupted call is resumed by the next one. git itself verifies every file against the hash
    of the commit. The repository's own data (``.git``) are removed at the end.

    Args:
        source: The commit.
        folder: Target folder.

    Raises:
        FileNotFoundError: If git is not installed, or the address or the commit does not exist.
    """
    if shutil.which("git") is None:
        raise FileNotFoundError(f"git is not installed; it is needed to fetch {source.url}")
    folder.mkdir(parents=True, exist_ok=True)
    finished = folder / ".git.finished"
    if finished.is_dir():  # an earlier call was interrupted while cleaning up
        shutil.rmtree(finished)
        return
    if not (folder / ".git").is_dir():
        _git(source, folder, "init", "--quiet")
    for lock in (folder / ".git").rglob("*.lock"):  # left by a killed process
        lock.unlink()
    if not _knows_commit(source, folder):
        # The tree without the contents of its files, which follow batch by batch.
        _git(source, folder, "config", "remote.origin.url", source.url)
        _git(source, folder, "config", "remote.origin.promisor", "true")
        _git(source, folder, "config", "remote.origin.partialclonefilter", "blob:none")
        _git(source, folder, "fetch", "--quiet", "--depth=1", "origin", source.commit)
        _git(source, folder, "update-ref", "refs/heads/fetched", source.commit)
    listed = _git(source, folder, "ls-tree", "-r", "-z", "--name-only", source.commit)
    wanted = [name for name in _names(listed) if _is_wanted(name, source.paths)]
    missing = sorted(set(wanted) - _present(source, folder))
    with Progress(*Progress.get_default_columns(), console=Console(stderr=True)) as progress:
        task = progress.add_task("files", total=len(wanted), completed=len(wanted) - len(missing))
        for start in range(0, len(missing), BATCH):
            names = missing[start : start + BATCH]
            _git(source, folder, "checkout", source.commit, "--", *names)
            progress.advance(task, len(names))
    absent = set(wanted) - _present(source, folder)
    if absent:
        raise FileNotFoundError(f"{source.url}: {len(absent)} files did not arrive; run it again")
    (folder / ".git").rename(finished)
    shutil.rmtree(finished)


def _knows_commit(source: GitRepository, folder: Path) -> bool:
    command = ["git", "rev-parse", "--verify", "--quiet", "refs/heads/fetched"]
    done = subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True)
    return done.stdout.strip() == source.commit


def _present(source: GitRepository, folder: Path) -> set[str]:
    """Files that an earlier batch checked out and that are unchanged since."""
    indexed = _names(_git(source, folder, "ls-files", "-z"))
    changed = _names(_git(source, folder, "diff", "--name-only", "-z"))
    return set(indexed) - set(changed)


def _is_wanted(name: str, paths: Sequence[str]) -> bool:
    return not paths or any(name == path or name.startswith(path + "/") for path in paths)


def _names(listing: str) -> list[str]:
    return [name for name in listing.split("\0") if name]


def _git(source: GitRepository, folder: Path, *arguments: str) -> str:
    """Run git in the folder, with literal paths: names contain blanks and brackets."""
    command = ["git", "--literal-pathspecs", *arguments]
    done = subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise FileNotFoundError(
            f"{source.url} (commit {source.commit[:10]}): git {arguments[0]} failed: {reason}. "
            "Files already downloaded are kept: run the same command again, or name another "
            "address with --url"
        )
    return done.stdout


def _environment() -> dict[str, str]:
    """Environment in which git never prompts for a password and uses only this folder."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    return kept | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
