"""Files of scores that survive a kill: one row per picture, in order."""

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
    """The result for one picture."""

    name: str
    scores: list[float] | None
    """T scores, or None for a failure."""
    reason: str = ""
    """Reason of the failure."""
    resized_from: str = ""
    """Original size, such as ``8000x6000``, if the picture was downsized for scoring."""


class _Named(Protocol):
    @property
    def name(self) -> str: ...


P = TypeVar("P", bound=_Named)


class ScoreFile:
    """A file of scores, with a second file for failures.

    Each row is appended by a single write, scores and failures in the order of the pictures. A kill
    therefore leaves a valid beginning of the file, with at most its last line incomplete. Parquet
    files cannot be appended to: their rows are first collected in a hidden JSONL file beside them.

    Next to ``scores.csv`` are ``scores.csv.json``, the settings, and ``scores.failed.csv``. Use it
    in a ``with`` block, which locks the file against other processes.

    Args:
        path: The file, ``.csv``, ``.jsonl`` or ``.parquet``.
        names: Names of the T scores.
        settings: Everything that determines the scores, JSON values. If ``oversize`` is ``resize``,
            rows have a column ``resized_from`` with the original size of a downsized picture.
        overwrite: Replace an existing file instead of resuming it.

    Attributes:
        done: Number of recorded pictures, including failures.
        failed: Number of failures.

    Raises:
        ValueError: If the suffix is none of these, or an existing file has other settings, was not
            written by this class, or is being written by another process.
        OSError: If the folder is not writable.
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
        # Failures to retry: index among the failures, and number of scores before it.
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
            self._check_settings()
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
                f"{self.path}: another process is writing it; wait until it ends, or give another "
                "file"
            ) from None
        try:
            yield
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()

    def resume(self, pictures: Iterator[P]) -> list[P]:
        """Skip the pictures that are already recorded.

        Args:
            pictures: The same pictures as before, in the same order; the iterator is advanced to
                the first new one.

        Returns:
            The earlier failures. Retry them first: the next rows to record must be theirs.

        Raises:
            ValueError: If the pictures differ from those recorded.
        """
        scored, failed = self._recorded_scores(), self._recorded_failures()
        next_scored, next_failed = next(scored, None), next(failed, None)
        again: list[P] = []
        failure = 0  # index of the next one
        while next_scored is not None or next_failed is not None:
            picture = next(pictures, None)
            shown = None if picture is None else printable(picture.name)
            if picture is not None and shown == next_scored:
                next_scored = next(scored, None)
                if shown == next_failed:  # a repair was killed between the two files
                    self._outdated.add(failure)
                    next_failed, failure = next(failed, None), failure + 1
            elif picture is not None and shown == next_failed:
                self._retried.append((failure, self.done - self.failed))
                again.append(picture)
                next_failed, failure = next(failed, None), failure + 1
                self.failed += 1
            else:
                here = "this list ends" if shown is None else f"this list has {shown}"
                raise ValueError(
                    f"{self.path}: holds scores of another list of pictures ({here} where the file "
                    f"has {next_scored or next_failed}); give the same list, another file, or "
                    "--overwrite"
                )
            self.done += 1
        return again

    def record(self, row: Row) -> None:
        """Append a picture to the scores or the failures.

        Args:
            row: Its result.
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
        """Insert the scores of earlier failures where they belong."""
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
        # Nine digits represent every float32 exactly.
        values: list[Any] = [float(f"{score:.9g}") for score in scores]
        if self._marks_resized:
            values.append(row.resized_from)
        values = [row.name, *values, *self._constant.values()]
        return csv_line(values) if self.rows.suffix == ".csv" else self._json_line(values)

    def _json_line(self, values: Sequence[Any]) -> bytes:
        fields = dict(zip(self._columns, values, strict=True))
        return json.dumps(fields, ensure_ascii=False).encode() + b"\n"

    def finish(self) -> None:
        """Write the Parquet file from its rows; if all pictures failed, write an empty file."""
        if self._retried == [] and self._outdated:
            self._repair()
        if self.is_parquet and self.path.exists() and not self.rows.exists():
            return  # already complete
        self._rows.append(b"")
        if self.is_parquet:
            self._write_parquet()

    def _check_settings(self) -> None:
        mine = json.loads(json.dumps({"scores": self.names, **self.settings}))
        if self.facts.exists():
            with self._readable(self.facts):
                theirs = dict(json.loads(self.facts.read_text()))
            if other := [k for k in {**mine, **theirs} if mine.get(k) != theirs.get(k)]:
                changed = "; ".join(
                    f"{k}: {theirs.get(k)} in the file, {mine.get(k)} now" for k in other
                )
                raise ValueError(
                    f"{self.path}: was started with other settings ({changed}); use the same, "
                    "another file, or --overwrite"
                )
            return
        if there := [f for f in (self.path, self.rows, self.failures) if f.exists()]:
            raise ValueError(
                f"{there[0]}: exists, but {self.facts.name} with its settings does not; give "
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
                f"{path}: damaged or modified ({error}); give another file, or --overwrite"
            ) from error

    def _parquet_rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(_ROW_GROUP, columns=columns):
                yield from batch.to_pylist()

    def _unpack(self) -> None:
        """Convert a complete Parquet file back to rows, so that others can be added."""
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
