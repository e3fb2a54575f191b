"""A local git repository that serves single files, as public hosts do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def run(*command: str, cwd: Path) -> str:
    who = {f"GIT_{r}_{k}": "a@b.c" for r in ("AUTHOR", "COMMITTER") for k in ("NAME", "EMAIL")}
    return subprocess.run(
        command, cwd=cwd, env=os.environ | who, check=True, capture_output=True, text=True
    ).stdout.strip()


def repository(folder: Path, files: dict[str, bytes]) -> tuple[str, str]:
    """A repository whose server, as public hosts do, sends single files on request."""
    folder.mkdir()
    run("git", "init", "--quiet", cwd=folder)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    run("git", "add", "--all", cwd=folder)
    run("git", "commit", "--quiet", "--message=data", cwd=folder)
    for option in ("allowFilter", "allowAnySHA1InWant"):
        run("git", "config", f"uploadpack.{option}", "true", cwd=folder)
    return folder.as_uri(), run("git", "rev-parse", "HEAD", cwd=folder)
