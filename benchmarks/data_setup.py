"""Time from label file to split rows: AVA's 255,530 lines, and a table of a million rows.

Run it from the repository root: python benchmarks/data_setup.py
The files are made on the spot. Every step is one call of the data module; "pictures" finds all
files by one directory listing. Memory is what the peak grew by since the imports.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clipiqa_plus.data import TableData
from clipiqa_plus.data.base import IQADataModule
from clipiqa_plus.data.benchmarks import AVA
from clipiqa_plus.data.splits import make_split

AVA_ROWS, TABLE_ROWS = 255_530, 1_000_000


def main() -> None:
    """Print one line per step."""
    with tempfile.TemporaryDirectory() as folder:
        for write in (write_ava, write_table):
            # In a process of its own, so that only reading counts below.
            writer = multiprocessing.get_context("spawn").Process(
                target=write, args=(Path(folder),)
            )
            writer.start()
            writer.join()
        before = peak_memory()
        ava = AVA(Path(folder))
        timed(f"AVA, {AVA_ROWS:,} rows: labels", lambda: len(ava.annotations))
        timed("AVA: official split", lambda: len(make_split(ava.annotations, "official").test))
        timed("AVA: random split", lambda: len(make_split(ava.annotations, "random").test))
        timed("AVA: pictures", lambda: sum(path is not None for path in ava.paths))
        print(f"{'AVA: memory':<48}{peak_memory() - before:8.0f} MB")
        before = peak_memory()
        table = TableData(str(Path(folder) / "table.csv"), mos_range=(0.0, 100.0))
        timed(f"CSV, {TABLE_ROWS:,} rows: labels, split, pictures", lambda: set_up(table))
        print(f"{'CSV: further memory':<48}{peak_memory() - before:8.0f} MB")


def peak_memory() -> float:
    """Return the most memory that the process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def set_up(data: IQADataModule) -> int:
    """Set a data module up and return the size of its test part."""
    data.setup()
    return len(data.rows("test"))


def timed(step: str, work: Callable[[], int]) -> None:
    """Run a step and print its time and its result."""
    start = time.perf_counter()
    result = work()
    print(f"{step:<48}{time.perf_counter() - start:8.2f} s   {result:,}")


def write_ava(root: Path) -> None:
    """Write AVA.txt in the distributed form, the test list and empty pictures."""
    rng = np.random.default_rng(0)
    rows = np.empty((AVA_ROWS, 15), dtype=np.int64)
    rows[:, 0] = np.arange(1, AVA_ROWS + 1)
    rows[:, 1] = 100 + 3 * rng.permutation(AVA_ROWS)
    rows[:, 2:12] = rng.integers(1, 60, (AVA_ROWS, 10))
    rows[:, 12:] = rng.integers(0, 1400, (AVA_ROWS, 3))
    (root / "images").mkdir(parents=True)
    (root / "aesthetics_image_lists").mkdir()
    np.savetxt(root / "AVA.txt", rows, fmt="%d")
    np.savetxt(root / "aesthetics_image_lists" / "generic_test.jpgl", rows[:20_000, 1], fmt="%d")
    for name in rows[:, 1]:
        (root / "images" / f"{name}.jpg").touch()


def write_table(root: Path) -> None:
    """Write a CSV of a million rows over a thousand folders of empty pictures."""
    rng = np.random.default_rng(0)
    names = [f"{i % 1000:03d}/{i:07d}.jpg" for i in range(TABLE_ROWS)]
    for i in range(1000):
        (root / f"{i:03d}").mkdir(parents=True)
    for name in names:
        (root / name).touch()
    scores = rng.uniform(0, 100, TABLE_ROWS)
    lines = (f"{name},{score:.4f}\n" for name, score in zip(names, scores, strict=True))
    with (root / "table.csv").open("w") as file:
        file.write("image,mos\n")
        file.writelines(lines)


if __name__ == "__main__":
    main()
