"""Pictures in any place that fsspec opens: files, tar shards and Parquet tables, here or remote."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import fsspec

from clipiqa_plus.inference.bulk.inputs import check_sources, find_files
from clipiqa_plus.inference.bulk.pictures import Picture
from clipiqa_plus.inference.bulk.shards import PICTURE_NAME, is_shard, members

_ROWS = 64  # of a table, read at once
_COLUMNS = ("bytes", "image", "path")
_NOTHING = "neither bytes nor a path in this row"


def find_locations(sources: Sequence[str]) -> Iterator[str]:
    """List files, shards and tables in a fixed order, each once.

    Args:
        sources: As for :func:`~clipiqa_plus.inference.bulk.inputs.find_pictures`; or, with
            ``://``, places that fsspec knows: files, folders and globs. A Parquet table is taken
            where it is named or matched by a glob.

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
            raise FileNotFoundError(f"{source}: no such file, folder or glob with files")
    yield from (fs.unstrip_protocol(path) for path in found)


def pictures_in(place: str) -> Iterator[Picture]:
    """List the pictures in a file, shard or table.

    Of a table the first of the columns ``bytes``, ``image`` and ``path`` is taken. It holds encoded
    pictures, which are named ``table.parquet/N`` with N from 0; or paths, which are their names; or
    both in a struct, as in tables of Hugging Face.

    Args:
        place: See :func:`find_locations`.

    Yields:
        Pictures, those of shards as :func:`~clipiqa_plus.inference.bulk.shards.members` does. A
        shard or table that cannot be read is a flaw of its name.
    """
    is_remote = "://" in place
    if is_shard(place) and is_remote:
        try:
            with fsspec.open(place) as file:
                yield from members(place, file)
        except OSError as error:
            yield Picture(place, flaw=f"not readable ({error})")
    elif is_shard(place):
        yield from members(place)
    elif place.endswith(".parquet"):
        yield from _rows_of(place)
    else:
        yield Picture(place, place)


def count_pictures(place: str) -> int | None:
    """Return the number of pictures in a file, shard or table, or None if that takes long."""
    if is_shard(place):
        return None if "://" in place else sum(1 for _ in members(place))
    if place.endswith(".parquet"):
        import pyarrow.parquet as pq

        try:
            with fsspec.open(place) as file:
                return pq.ParquetFile(file).metadata.num_rows
        except (OSError, ValueError):  # reported when it is read
            return 1
    return 1


def _rows_of(place: str) -> Iterator[Picture]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with fsspec.open(place) as file:
            table = pq.ParquetFile(file)
            columns = [name for name in _COLUMNS if name in table.schema_arrow.names]
            if not columns:
                yield Picture(place, flaw=f"a table needs a column {', '.join(_COLUMNS)}")
                return
            number = 0
            for batch in table.iter_batches(_ROWS, columns=columns[:1]):
                for value in batch.column(0).to_pylist():
                    yield _of_value(f"{place}/{number}", value)
                    number += 1
    except (OSError, pa.ArrowException) as error:
        yield Picture(place, flaw=f"not a readable table ({error})")


def _of_value(row: str, value: Any) -> Picture:
    if isinstance(value, dict):  # a picture as Hugging Face's datasets keeps it
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str):
        return Picture(value, value)
    return Picture(row, data=value) if isinstance(value, bytes) else Picture(row, flaw=_NOTHING)


def _is_listed(below: str) -> bool:
    *folders, name = below.strip("/").split("/")
    hidden = any(folder.startswith(".") for folder in folders)
    return not hidden and (PICTURE_NAME.fullmatch(name) is not None or is_shard(name))
