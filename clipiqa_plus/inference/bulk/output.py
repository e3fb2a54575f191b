"""Files of scores that survive a kill: one row for each picture, in order, each exactly once."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

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


class ScoreFile:
    """Scores on disk, with a second file of the pictures that could not be read.

    Every row is appended by one write of its own, scores and failures in the order of the
    pictures, so what a kill leaves is a beginning of the whole; at most the last line is cut.
    Parquet cannot be appended to: its rows wait in a hidden JSONL file beside it.

    Beside ``scores.csv`` stand ``scores.csv.json``, the settings, and ``scores.failed.csv``.

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
        ValueError: If the suffix is none of these, or the file that is there is complete, of
            other settings, or not known to be one of ours.
    """

    def __init__(
        self, path: Path, names: Sequence[str], settings: dict[str, Any], overwrite: bool = False
    ) -> None:
        if path.suffix not in FORMATS:
            raise ValueError(f"{path}: give a name that ends in {', '.join(FORMATS)}")
        self.path = path
        self.names = list(names)
        self.settings = settings
        is_parquet = path.suffix == ".parquet"
        self.rows = path.with_name(f".{path.name}.jsonl") if is_parquet else path
        self.failures = path.with_suffix(".failed.csv")
        self.facts = path.with_name(f"{path.name}.json")
        self.done = self.failed = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        if overwrite:
            for file in (path, self.rows, self.failures, self.facts):
                file.unlink(missing_ok=True)
        self._claim()
        self._constant = {
            "preset": settings["preset"],
            "backbone": settings["backbone"],
            "weights": settings["weights_sha256"][:12],
        }
        self._marks_resized = settings.get("oversize") == "resize"
        mark = ["resized_from"] if self._marks_resized else []
        self._columns = ["image", *self.names, *mark, *self._constant]
        header = _csv_line(self._columns) if self.rows.suffix == ".csv" else b""
        self._rows = _Log(self.rows, header)
        self._failures = _Log(self.failures, _csv_line(["image", "reason"]))

    def resume(self, names: Iterator[str]) -> None:
        """Pass over the pictures that are recorded already.

        Args:
            names: Of the pictures, in the order of the first time; those that are left stay in it.

        Raises:
            ValueError: If they are not those of the first time.
        """
        scored, failed = self._recorded_scores(), self._recorded_failures()
        next_scored, next_failed = next(scored, None), next(failed, None)
        while next_scored is not None or next_failed is not None:
            name = next(names, None)
            shown = None if name is None else printable(name)
            if shown is not None and shown == next_scored:
                next_scored = next(scored, None)
            elif shown is not None and shown == next_failed:
                next_failed = next(failed, None)
                self.failed += 1
            else:
                goes_on = "ends" if shown is None else f"has {shown}"
                raise ValueError(
                    f"{self.path}: holds scores of another list of pictures, which goes on with "
                    f"{next_scored or next_failed} where this one {goes_on}; give the same list, "
                    "another file, or --overwrite"
                )
            self.done += 1

    def record(self, row: Row) -> None:
        """Append a picture: to the scores, or to the failures.

        Args:
            row: Its T scores, or the reason why there are none.
        """
        if row.scores is None:
            reason = " ".join(row.reason.split())
            self._failures.append(_csv_line([printable(row.name), reason]))
            self.failed += 1
        else:
            self._rows.append(self._line(row, row.scores))
        self.done += 1

    def _line(self, row: Row, scores: list[float]) -> bytes:
        # Nine digits bring back every float32.
        values: list[Any] = [float(f"{score:.9g}") for score in scores]
        if self._marks_resized:
            values.append(row.resized_from)
        values = [row.name, *values, *self._constant.values()]
        if self.rows.suffix == ".csv":
            return _csv_line(values)
        fields = dict(zip(self._columns, values, strict=True))
        return json.dumps(fields, ensure_ascii=False).encode() + b"\n"

    def finish(self) -> None:
        """Close the files; write the Parquet file from its rows."""
        self._rows.append(b"")  # a file of no rows, if every picture failed
        self._rows.close()
        self._failures.close()
        if self.rows != self.path:
            self._write_parquet()

    def _claim(self) -> None:
        mine = json.loads(json.dumps({"scores": self.names, **self.settings}))
        if self.facts.exists():
            theirs = json.loads(self.facts.read_text())
            if other := [k for k in {**mine, **theirs} if mine.get(k) != theirs.get(k)]:
                told = "; ".join(f"{k} {theirs.get(k)} there, {mine.get(k)} now" for k in other)
                raise ValueError(
                    f"{self.path}: was begun with other settings ({told}); give those, another "
                    "file, or --overwrite"
                )
            if self.rows != self.path and self.path.exists() and not self.rows.exists():
                raise ValueError(f"{self.path}: is complete; give another file, or --overwrite")
            return
        if there := [f for f in (self.path, self.rows, self.failures) if f.exists()]:
            raise ValueError(
                f"{there[0]}: exists, and {self.facts.name} with its settings does not; give "
                "another file, or --overwrite"
            )
        unfinished = self.facts.with_name(f".{self.facts.name}.{os.getpid()}.part")
        unfinished.write_text(json.dumps(mine, indent=2) + "\n")
        os.replace(unfinished, self.facts)

    def _recorded_scores(self) -> Iterator[str]:
        if not self.rows.exists():
            return
        with self.rows.open(encoding="utf-8", newline="") as file:
            if self.rows.suffix == ".csv":
                yield from (row[0] for row in islice(csv.reader(file), 1, None))
            else:
                yield from (json.loads(line)["image"] for line in file)

    def _recorded_failures(self) -> Iterator[str]:
        if self.failures.exists():
            with self.failures.open(encoding="utf-8", newline="") as file:
                yield from (row[0] for row in islice(csv.reader(file), 1, None))

    def _write_parquet(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        fields = [
            (name, pa.float32() if name in self.names else pa.string()) for name in self._columns
        ]
        facts = {"clipiqa_plus": json.dumps(self.settings)}
        schema = pa.schema(fields, metadata=facts)
        unfinished = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        with self.rows.open("rb") as file, pq.ParquetWriter(unfinished, schema) as writer:
            while rows := [json.loads(line) for line in islice(file, _ROW_GROUP)]:
                writer.write_table(pa.Table.from_pylist(rows, schema))
        os.replace(unfinished, self.path)
        self.rows.unlink()


class _Log:
    """A file that grows by whole lines; it begins to exist with its first."""

    def __init__(self, path: Path, header: bytes) -> None:
        self.path = path
        self.header = header
        self._file: io.FileIO | None = None
        if path.exists():
            _cut_unfinished_line(path)

    def append(self, line: bytes) -> None:
        if self._file is None:
            self._file = self.path.open("ab", buffering=0)
            if self._file.tell() == 0:
                line = self.header + line
        if self._file.write(line) != len(line):
            raise OSError(f"{self.path}: could not be written in full; is the disk full?")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def printable(path: str) -> str:
    """Return a path as it can stand in one line of UTF-8, itself if it is such.

    Args:
        path: A path as the operating system has it.
    """
    name = os.fsencode(path).decode("utf-8", "backslashreplace")
    return name.replace("\r", "\\r").replace("\n", "\\n")


def _csv_line(values: Sequence[Any]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue().encode()


def _cut_unfinished_line(path: Path) -> None:
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        file.truncate(end)
