"""Unpack archives: nothing is written outside the folder, and a damaged archive is an error."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

from clipiqa_plus.data.fetch.progress import progress

_BSDTAR = ("bsdtar", "-xf", "{path}", "-C", "{folder}")
# Programs for archives that Python's library cannot unpack; the first one installed is used.
_PROGRAMS = {
    ".7z": (("7z", "x", "-y", "-o{folder}", "{path}"), _BSDTAR),
    ".rar": (("unrar", "x", "-o+", "{path}", "{folder}/"), _BSDTAR),
}


def is_archive(path: Path) -> bool:
    """Whether :func:`unpack` supports a file, judged by its name."""
    return path.suffix in (".zip", *_PROGRAMS) or _is_tar(path)


def unpacked_size(path: Path) -> int:
    """Return the unpacked size of a zip in bytes; for other archives, their own size.

    Raises:
        ValueError: If the archive is damaged.
    """
    if path.suffix == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:
                return sum(member.file_size for member in archive.infolist())
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path}: damaged archive ({error})") from error
    return path.stat().st_size


def unpack(path: Path, folder: Path) -> None:
    """Unpack a zip, tar, 7z or rar archive.

    Args:
        path: The archive.
        folder: Target folder, created if absent. Files of the same name are replaced.

    Raises:
        ValueError: If the archive is damaged or contains a path outside the folder.
        FileNotFoundError: If no program for this kind of archive is installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        _unpack_zip(path, folder)
    elif _is_tar(path):
        try:
            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")  # refuses paths outside the folder
        except (tarfile.TarError, EOFError) as error:
            raise ValueError(f"{path}: damaged archive ({error})") from error
    else:
        _unpack_by_program(path, folder)


def _unpack_zip(path: Path, folder: Path) -> None:
    inside = folder.resolve()
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            for member in members:
                target = (inside / member.filename).resolve()
                if not target.is_relative_to(inside):
                    raise ValueError(f"{path}: {member.filename!r} is outside the folder")
            for member in progress(members, f"unpacking {path.name}"):
                archive.extract(member, inside)  # compares each member's CRC
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise ValueError(f"{path}: damaged archive ({error})") from error


def _unpack_by_program(path: Path, folder: Path) -> None:
    programs = _PROGRAMS[path.suffix]
    for program in programs:
        if shutil.which(program[0]):
            break
    else:
        names = " or ".join(program[0] for program in programs)
        raise FileNotFoundError(f"unpacking {path.name} needs {names}; install one of them")
    command = [part.format(path=path, folder=folder) for part in program]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise ValueError(f"{path}: {program[0]} could not unpack it ({reason})")


def _is_tar(path: Path) -> bool:
    return path.name.endswith((".tar", ".tar.gz", ".tgz"))
