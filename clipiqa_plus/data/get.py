"""Download a benchmark from its public address into the layout that ``check`` expects."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from clipiqa_plus.data.benchmarks import Benchmark
from clipiqa_plus.data.check import Check, check, find_benchmark
from clipiqa_plus.data.fetch.archives import is_archive, unpack, unpacked_size
from clipiqa_plus.data.fetch.download import download
from clipiqa_plus.data.fetch.git import fetch_commit
from clipiqa_plus.data.fetch.sources import Archive, GitRepository

_ARCHIVES = ".archives"


def get(name: str, root: str | os.PathLike[str] | None = None, url: str | None = None) -> Check:
    """Download a benchmark, or resume an interrupted download.

    Files are collected in ``<root>.part``, which is renamed to ``root`` once the data set is
    complete: a folder with the final name is always complete.

    Args:
        name: Short name of the benchmark.
        root: Target folder; None uses ``data/<name>``.
        url: Another address of the same files, in place of the benchmark's first.

    Returns:
        The result of ``check`` on the folder; its ``problem`` is None.

    Raises:
        ValueError: If there is no such benchmark, or the downloaded data set is incomplete.
        FileNotFoundError: If the benchmark cannot be downloaded automatically (with what to do
            instead), or an address or a required program is missing.
        FileExistsError: If ``root`` holds anything else, such as an incomplete data set.
        OSError: If there is too little disk space.
    """
    benchmark = find_benchmark(name)
    root = Path(root or f"data/{name}")
    if root.is_dir() and any(root.iterdir()):
        result = check(name, root)
        if result.ok:
            return result
        raise FileExistsError(
            f"{root} is not empty and not the complete data set ({result.problem}). Move it away, "
            "or name another folder with --root; nothing in it was changed"
        )
    if not benchmark.fetch_from:
        raise FileNotFoundError(
            f"{benchmark.title} cannot be downloaded automatically. {benchmark.obtain}"
        )
    part = root.with_name(root.name + ".part")
    part.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{part}.lock", timeout=0):
            arrived = part / _ARCHIVES / "all"
            if not arrived.is_file():
                _fill(benchmark, part, url)
                arrived.parent.mkdir(exist_ok=True)
                arrived.touch()
            result = check(name, part)
            if not result.ok:
                arrived.unlink()
                raise ValueError(f"the data set in {part} is incomplete: {result.problem}")
            shutil.rmtree(part / _ARCHIVES, ignore_errors=True)
            if root.is_dir():
                root.rmdir()  # it is empty
            part.rename(root)
    except Timeout as error:
        raise FileExistsError(f"another process is downloading {name} into {part}") from error
    Path(f"{part}.lock").unlink(missing_ok=True)
    return check(name, root)


def _fill(benchmark: type[Benchmark], part: Path, url: str | None) -> None:
    for number, source in enumerate(benchmark.fetch_from):
        if url is not None and number == 0:
            source = replace(source, url=url)
        if isinstance(source, GitRepository):
            _need_room(part, 2 * (source.size or 0), source.url)  # git keeps a packed copy
            fetch_commit(source, part)
        else:
            _fetch_archive(source, part, benchmark.obtain)


def _fetch_archive(source: Archive, part: Path, remedy: str) -> None:
    target = part / source.folder
    kept = part / _ARCHIVES / source.name if is_archive(Path(source.name)) else target / source.name
    done = part / _ARCHIVES / f"{source.name}.unpacked"
    if done.is_file():
        return
    have = sum(p.stat().st_size for p in (kept, Path(f"{kept}.part")) if p.is_file())
    _need_room(part, max(0, (source.size or 0) - have), source.url)
    download([source.url], source.sha256, kept, md5=source.md5, size=source.size, remedy=remedy)
    if not is_archive(kept):
        return
    try:
        _need_room(part, unpacked_size(kept), source.url)
        unpack(kept, target)
    except ValueError:
        kept.unlink()  # damaged: the next call downloads it again
        raise
    done.touch()
    kept.unlink()


def _need_room(folder: Path, size: int, url: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise OSError(
            f"{folder}: {url} needs {size / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free; "
            "free some space, or name a folder on another disk with --root"
        )
