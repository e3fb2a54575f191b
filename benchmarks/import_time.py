"""Importing clipiqa_plus adds less than 0.3 s to importing torch and lightning.

Each turn is a fresh process that imports torch and lightning first. Heavy parts load when they
are first used; the second row says what that costs, openai-clip's tokenizer included.

Run it from the repository root: python benchmarks/import_time.py --json import_time.json
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

from timing import options, report

CHILD = """
import json, time
times = [time.perf_counter()]
import torch, lightning
times.append(time.perf_counter())
import clipiqa_plus
times.append(time.perf_counter())
clipiqa_plus.CLIPIQAPlus
times.append(time.perf_counter())
print(json.dumps([b - a for a, b in zip(times, times[1:])]))
"""
PARTS = ("import torch, lightning", "import clipiqa_plus", "clipiqa_plus.CLIPIQAPlus")


def main() -> None:
    parser = options(__doc__)
    chosen = parser.parse_args()
    turns = []
    for _ in range(1 if chosen.quick else chosen.repeats):
        done = subprocess.run(
            [sys.executable, "-c", CHILD], check=True, capture_output=True, text=True
        )
        turns.append(json.loads(done.stdout.splitlines()[-1]))
    rows = [
        {
            "what": part,
            "median, s": round(statistics.median(times), 4),
            "fastest, s": round(min(times), 4),
        }
        for part, times in zip(PARTS, zip(*turns, strict=True), strict=True)
    ]
    report("Import time", rows, chosen.json)


if __name__ == "__main__":
    main()
