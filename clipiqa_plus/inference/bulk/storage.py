"""Pictures in files, tar shards and Parquet tables, local or at URLs that fsspec opens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import fsspec

from clipiqa_plus.inference.bulk.inputs import check_sources, find_files
from clipiqa_plus.inference.bulk.pictures import Picture
from clipiqa_plus.inference.bulk.shards import PICTURE_NAME, is_shard, members

_ROWS = 64  # rows of a table read at once
_COLUMNS = ("bytes", "image", "path")
_NOTHING = "the row has neither bytes nor a path"


def find_locations(sources: Sequence[str]) -> Iterator[str]:
    """List files, shards and tables in a fixed order, without duplicates.

    Args:
        sources: As for :func:`~clipiqa_plus.inference.bulk.inputs.find_pictures`; or URLs
            (``://``) that fsspec opens: files, folders and globs. Parquet tables must be named or
            matched by a glob.

    Yields:
        Paths and URLs of files.

    Raises:
        FileNotFoundError: If a source does not exist.
    """
    yield from dict.fromkeys(_found(sources))


def _found(sources: Sequence[str]) -> Iterator[str]:
    for is_remote, group in groupby(sources, lambda source: "://" in source):
        some = list(group)
        if is_remote:
            for source in some:
                yield from _remote(source)
        else:
            check_sources(some)
            yield from find_files(some)


def _remote(source: str) -> Iterator[str]:
    fs, path = fsspec.url_to_fs(source)
    if fs.isdir(path):
        found = [p for p in sorted(fs.find(path)) if _is_listed(p.removeprefix(path))]
    else:
        found = sorted(fs.glob(path)) if "*" in path else [path] if fs.exists(path) else []
        if not found:
            raise FileNotFoundError(f"{source}: no such file or folder, and no file matches it")
    yield from (fs.unstrip_protocol(path) for path in found)


def pictures_in(location: str) -> Iterator[Picture]:
    """List the pictures in a file, shard or table.

    Of a table, the first of the columns ``bytes``, ``image`` and ``path`` is read. It contains
    encoded pictures, which are named ``table.parquet/N`` with N from 0; or paths, which serve as
    names; or structs of both, as in Hugging Face datasets.

    Args:
        location: See :func:`find_locations`.

    Yields:
        Pictures; for those in shards, see :func:`~clipiqa_plus.inference.bulk.shards.members`. A
        shard or table that cannot be read yields a flaw of its name.
    """
    is_remote = "://" in location
    if is_shard(location) and is_remote:
        try:
            with fsspec.open(location) as file:
                yield from members(location, file)
        except OSError as error:
            yield Picture(location, flaw=f"not readable ({error})")
    elif is_shard(location):
        yield from members(location)
    elif location.endswith(".parquet"):
        yield from _rows_of(location)
    else:
        yield Picture(location, location)


def count_pictures(location: str) -> int | None:
    """Return the number of pictures in a file, shard or table, or None if counting is slow."""
    if is_shard(location):
        return None if "://" in location else sum(1 for _ in members(location))
    if location.endswith(".parquet"):
        import pyarrow.parquet as pq

        try:
            with fsspec.open(location) as file:
                return pq.ParquetFile(file).metadata.num_rows
        except (OSError, ValueError):  # reported when it is read
            return 1
    return 1


def _rows_of(location: str) -> Iterator[Picture]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with fsspec.open(location) as file:
            table = pq.ParquetFile(file)
            columns = [name for name in _COLUMNS if name in table.schema_arrow.names]
            if not columns:
                yield Picture(location, flaw=f"the table has no column {' or '.join(_COLUMNS)}")
                return
            number = 0
            for batch in table.iter_batches(_ROWS, columns=columns[:1]):
                for value in batch.column(0).to_pylist():
                    yield _of_value(f"{location}/{number}", value)
                    number += 1
    except (OSError, pa.ArrowException) as error:
        yield Picture(location, flaw=f"not a readable table ({error})")


def _of_value(row: str, value: Any) -> Picture:
    if isinstance(value, dict):  # as stored by Hugging Face datasets
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str):
        return Picture(value, value)
    return Picture(row, data=value) if isinstance(value, bytes) else Picture(row, flaw=_NOTHING)


def _is_listed(below: str) -> bool:
    *folders, name = below.strip("/").split("/")
    hidden = any(folder.startswith(".") for folder in folders)
    return not hidden and (PICTURE_NAME.fullmatch(name) is not None or is_shard(name))
