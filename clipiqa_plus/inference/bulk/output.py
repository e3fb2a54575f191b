"""Files of scores that survive a kill: one row for each picture, in order, each exactly once."""

from __future__ import annotations

import csv
import glob
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, TypeVar

from filelock import FileLock, Timeout

from clipiqa_plus.inference.bulk.durable_files import (
    LineFile,
    csv_line,
    merged,
    printable,
    replace_file,
    replacing,
    unwritable,
)

FORMATS = (".csv", ".jsonl", ".parquet")

_ROW_GROUP = 50_000


class Row(NamedTuple):
    """What is recorded of a picture."""

    name: str
    scores: list[float] | None
    """T scores, or None for a failure."""
    reason: str = ""
    """Why there are none."""
    resized_from: str = ""
    """Size of the picture, as ``8000x6000``, if it was made smaller to be scored."""


class _Named(Protocol):
    @property
    def name(self) -> str: ...


P = TypeVar("P", bound=_Named)


class ScoreFile:
    """Scores on disk, with a second file of the pictures that could not be read.

    Every row is appended by one write of its own, scores and failures in the order of the
    pictures, so what a kill leaves is a beginning of the whole; at most the last line is cut.
    Parquet cannot be appended to: its rows wait in a hidden JSONL file beside it.

    Beside ``scores.csv`` stand ``scores.csv.json``, the settings, and ``scores.failed.csv``. To be
    used in a ``with`` block, which keeps other processes away from the file.

    Args:
        path: The file, ``.csv``, ``.jsonl`` or ``.parquet``.
        names: Of the T scores of a row.
        settings: All that fixes the scores, JSON values. Where ``oversize`` is ``resize`` each row
            has a column ``resized_from``, the size of a picture that was made smaller.
        overwrite: Remove what is there, instead of going on with it.

    Attributes:
        done: Number of pictures that are recorded, failures included.
        failed: Number of failures among them.

    Raises:
        ValueError: If the suffix is none of these, or the file that is there is of other
            settings, not known to be one of ours, or being written by another process.
        OSError: If the folder cannot be written.
    """

    def __init__(
        self, path: Path, names: Sequence[str], settings: dict[str, Any], overwrite: bool = False
    ) -> None:
        if path.suffix not in FORMATS:
            raise ValueError(f"{path}: give a name that ends in {', '.join(FORMATS)}")
        self.path = path
        self.names = list(names)
        self.settings = settings
        self.overwrite = overwrite
        self.is_parquet = path.suffix == ".parquet"
        self.rows = path.with_name(f".{path.name}.jsonl") if self.is_parquet else path
        self.failures = path.with_suffix(".failed.csv")
        self.facts = path.with_name(f"{path.name}.json")
        self.done = self.failed = 0
        self._constant = {
            "preset": settings["preset"],
            "backbone": settings["backbone"],
            "weights": settings["weights_sha256"][:12],
        }
        self._marks_resized = settings.get("oversize") == "resize"
        mark = ["resized_from"] if self._marks_resized else []
        self._columns = ["image", *self.names, *mark, *self._constant]
        # Failures that are tried again: place among the failures, and number of scores before it.
        self._retried: list[tuple[int, int]] = []
        self._retries: list[Row] = []
        self._outdated: set[int] = set()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(self._lock())
                for unfinished in self.path.parent.glob(f".{glob.escape(self.path.name)}.*.part"):
                    unfinished.unlink(missing_ok=True)
            except OSError as error:
                raise unwritable(self.path, error, "choose another folder") from error
            if self.overwrite:
                for file in (self.path, self.rows, self.failures, self.facts):
                    file.unlink(missing_ok=True)
            self._claim()
            header = b"" if self.rows.suffix == ".jsonl" else csv_line(self._columns)
            self._rows = stack.enter_context(LineFile(self.rows, header))
            header = csv_line(["image", "reason"])
            self._failures = stack.enter_context(LineFile(self.failures, header))
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(
                f"{self.path}: another process is writing it; wait for that, or give another file"
            ) from None
        try:
            yield
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()

    def resume(self, pictures: Iterator[P]) -> list[P]:
        """Pass over the pictures that are recorded already.

        Args:
            pictures: In the order of the first time; those that are left stay in it.

        Returns:
            Those that had no score. They are to be tried again, before the others: the first rows
            to be recorded are theirs.

        Raises:
            ValueError: If they are not those of the first time.
        """
        scored, failed = self._recorded_scores(), self._recorded_failures()
        next_scored, next_failed = next(scored, None), next(failed, None)
        again: list[P] = []
        failure = 0  # that comes next
        while next_scored is not None or next_failed is not None:
            picture = next(pictures, None)
            shown = None if picture is None else printable(picture.name)
            if picture is not None and shown == next_scored:
                next_scored = next(scored, None)
                if shown == next_failed:  # killed between the two files of a repair
                    self._outdated.add(failure)
                    next_failed, failure = next(failed, None), failure + 1
            elif picture is not None and shown == next_failed:
                self._retried.append((failure, self.done - self.failed))
                again.append(picture)
                next_failed, failure = next(failed, None), failure + 1
                self.failed += 1
            else:
                goes_on = "ends" if shown is None else f"has {shown}"
                raise ValueError(
                    f"{self.path}: holds scores of another list of pictures, which goes on with "
                    f"{next_scored or next_failed} where this one {goes_on}; give the same list, "
                    "another file, or --overwrite"
                )
            self.done += 1
        return again

    def record(self, row: Row) -> None:
        """Append a picture: to the scores, or to the failures.

        Args:
            row: Its T scores, or the reason why there are none.
        """
        if len(self._retries) < len(self._retried):
            self._retries.append(row)
            if len(self._retries) == len(self._retried):
                self._repair()
        elif row.scores is None:
            reason = " ".join(row.reason.split())
            self._failures.append(csv_line([printable(row.name), reason]))
            self.failed += 1
            self.done += 1
        else:
            self._unpack()
            self._rows.append(self._line(row, row.scores))
            self.done += 1

    def _repair(self) -> None:
        """Put the scores of pictures that had none where they belong."""
        found: dict[int, list[bytes]] = {}
        for (failure, before), row in zip(self._retried, self._retries, strict=True):
            if row.scores is not None:
                found.setdefault(before, []).append(self._line(row, row.scores))
                self._outdated.add(failure)
                self.failed -= 1
        if found:
            self._unpack()
            with self.rows.open("rb") if self.rows.exists() else io.BytesIO() as file:
                replace_file(self.rows, merged(file, self._rows.header, found))
        if self._outdated:
            with self.failures.open("rb") as file:
                header = file.readline()
                kept = [line for i, line in enumerate(file) if i not in self._outdated]
            if kept:
                replace_file(self.failures, [header, *kept])
            else:
                self.failures.unlink()

    def _line(self, row: Row, scores: list[float]) -> bytes:
        # Nine digits bring back every float32.
        values: list[Any] = [float(f"{score:.9g}") for score in scores]
        if self._marks_resized:
            values.append(row.resized_from)
        values = [row.name, *values, *self._constant.values()]
        return csv_line(values) if self.rows.suffix == ".csv" else self._json_line(values)

    def _json_line(self, values: Sequence[Any]) -> bytes:
        fields = dict(zip(self._columns, values, strict=True))
        return json.dumps(fields, ensure_ascii=False).encode() + b"\n"

    def finish(self) -> None:
        """Write the Parquet file from its rows; make a file of no rows if every picture failed."""
        if self._retried == [] and self._outdated:
            self._repair()
        if self.is_parquet and self.path.exists() and not self.rows.exists():
            return  # complete before
        self._rows.append(b"")
        if self.is_parquet:
            self._write_parquet()

    def _claim(self) -> None:
        mine = json.loads(json.dumps({"scores": self.names, **self.settings}))
        if self.facts.exists():
            with self._readable(self.facts):
                theirs = dict(json.loads(self.facts.read_text()))
            if other := [k for k in {**mine, **theirs} if mine.get(k) != theirs.get(k)]:
                changed = "; ".join(f"{k} {theirs.get(k)} there, {mine.get(k)} now" for k in other)
                raise ValueError(
                    f"{self.path}: was begun with other settings ({changed}); give those, another "
                    "file, or --overwrite"
                )
            return
        if there := [f for f in (self.path, self.rows, self.failures) if f.exists()]:
            raise ValueError(
                f"{there[0]}: exists, and {self.facts.name} with its settings does not; give "
                "another file, or --overwrite"
            )
        replace_file(self.facts, [json.dumps(mine, indent=2).encode(), b"\n"])

    def _recorded_scores(self) -> Iterator[str]:
        with self._readable(self.rows if self.rows.exists() else self.path):
            if self.rows.suffix == ".csv":
                yield from self._first_column(self.rows)
            elif self.rows.exists():
                with self.rows.open("rb") as file:
                    yield from (json.loads(line)["image"] for line in file)
            elif self.path.exists():
                yield from (row["image"] for row in self._parquet_rows(["image"]))

    def _recorded_failures(self) -> Iterator[str]:
        with self._readable(self.failures):
            yield from self._first_column(self.failures)

    @staticmethod
    def _first_column(path: Path) -> Iterator[str]:
        if path.exists():
            with path.open(encoding="utf-8", newline="") as file:
                yield from (row[0] for row in islice(csv.reader(file), 1, None))

    @contextmanager
    def _readable(self, path: Path) -> Iterator[None]:
        try:
            yield
        except (ValueError, LookupError, TypeError, csv.Error) as error:
            raise ValueError(
                f"{path}: is damaged or was changed ({error}); give another file, or --overwrite"
            ) from error

    def _parquet_rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(_ROW_GROUP, columns=columns):
                yield from batch.to_pylist()

    def _unpack(self) -> None:
        """Turn a complete Parquet file into rows again, to which others are added."""
        if self.is_parquet and self.path.exists() and not self.rows.exists():
            rows = self._parquet_rows(self._columns)
            replace_file(self.rows, (self._json_line(list(row.values())) for row in rows))

    def _write_parquet(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        fields = [
            (name, pa.float32() if name in self.names else pa.string()) for name in self._columns
        ]
        facts = {"clipiqa_plus": json.dumps(self.settings)}
        schema = pa.schema(fields, metadata=facts)
        with (
            replacing(self.path) as part,
            self.rows.open("rb") as file,
            pq.ParquetWriter(part, schema) as writer,
        ):
            while rows := [json.loads(line) for line in islice(file, _ROW_GROUP)]:
                writer.write_table(pa.Table.from_pylist(rows, schema))
        self.rows.unlink()
