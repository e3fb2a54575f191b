"""What `clipiqa score` costs beside decoding and the model, what memory it takes, what kills do.

Overhead: a bare loop that decodes small JPEG files and scores them in batches of 16, and
`score_files` on the same files, in turns of 250 files in one process, by one RN50 of random
weights. CPU time counts all threads, so that decoding ahead in threads is no advantage; the aim is
a ratio below 1.1 with --files 10000.

Memory: the largest resident size of the whole command, libraries and RN50 included, over few and
over many listed files; the aim is below 1.5 GB with --listed 100000.

Kills: kill -9 of the command at random moments, resumed each time until it is done; every file
must be in the output exactly once. The many files of the other two parts are links to 64.

Run it from the repository root:
python benchmarks/scoring.py --threads 1 --files 10000 --listed 100000 --json scoring.json
"""

from __future__ import annotations

import csv
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from peers import TOY, pictures
from timing import Row, options, report
from torchvision.io import write_jpeg

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.conventions import OPENAI
from clipiqa_plus.clip.weights import random_clip
from clipiqa_plus.data.images import read_rgb
from clipiqa_plus.inference.bulk import score_files
from clipiqa_plus.inference.scorer import Scorer, load

BATCH = 16
TURN = 250  # files; short turns, so that other load hits both ways alike
PARTS = ["overhead", "memory", "kills"]

COMMAND = """
import re, sys
from pathlib import Path
import torch
from clipiqa_plus.commands.main import main
threads, *arguments = sys.argv[1:]
torch.set_num_threads(int(threads))
assert main(arguments) == 0
# Of this program alone: getrusage would count what its parent took.
print(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def main() -> None:
    parser = options(__doc__)
    parser.set_defaults(repeats=2)
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--files", type=int, default=512, help="files to measure the overhead on")
    parser.add_argument("--side", type=int, default=64, help="their height and width")
    parser.add_argument("--listed", type=int, default=2000, help="files to measure the memory on")
    parser.add_argument("--kills", type=int, default=10, help="moments to kill at, of each way")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.quick:
        chosen.files, chosen.listed, chosen.kills = 32, 32, 1
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        if "overhead" in chosen.parts:
            sizes = (chosen.files, chosen.side)
            rows.append(overhead(place, *sizes, chosen.repeats, chosen.quick))
        if "memory" in chosen.parts:
            counts = [chosen.listed] if chosen.quick else [min(1000, chosen.listed), chosen.listed]
            rows += memory(place, counts, chosen.threads, chosen.quick)
        if "kills" in chosen.parts:
            rows += kills(place, chosen.kills, chosen.quick)
    report("Scoring files", rows, chosen.json)


def make_files(folder: Path, count: int, side: int) -> list[str]:
    """Write up to 64 different pictures and links to them."""
    folder.mkdir(parents=True)
    paths = [folder / f"{index:06}.jpg" for index in range(count)]
    images = (pictures(min(64, count), side, side) * 255).to(torch.uint8)
    for path, image in zip(paths, images, strict=False):
        write_jpeg(image, str(path), quality=90)
    for index, path in enumerate(paths[64:], 64):
        path.hardlink_to(paths[index % 64])
    return [str(path) for path in paths]


def overhead(place: Path, count: int, side: int, repeats: int, quick: bool) -> Row:
    """Measure the bare loop and score_files in turns on folders of files, wall and CPU time."""
    clip = random_clip(TOY if quick else "RN50", seed=0)
    scorer = load(backbone=FrozenCLIP(clip, "random", "0" * 64), device="cpu")
    out = place / "scores.csv"
    wall: dict[str, list[float]] = {"bare": [], "score_files": []}
    spent: dict[str, list[float]] = {"bare": [], "score_files": []}
    for start in range(0, count, TURN):
        folder = place / f"small{start:06}"
        files = make_files(folder, min(TURN, count - start), side)
        ways: dict[str, Callable[[], object]] = {
            "bare": partial(bare_loop, scorer, files),
            "score_files": partial(score_files, scorer, [str(folder)], out, BATCH, 1, True),
        }
        if start == 0:
            score_files(scorer, [str(folder)], out, BATCH, 1, True)
            with out.open() as file:
                scored = [float(row["score"]) for row in csv.DictReader(file)]
            assert torch.allclose(bare_loop(scorer, files), torch.tensor(scored), atol=1e-6)
        for _ in range(repeats):
            for name, way in ways.items():
                began, used = time.perf_counter(), time.process_time()
                way()
                wall[name].append(time.perf_counter() - began)
                spent[name].append(time.process_time() - used)
    return {
        "what": f"overhead, {count:,} files",
        "bare, CPU s": round(sum(spent["bare"]) / repeats, 2),
        "score_files, CPU s": round(sum(spent["score_files"]) / repeats, 2),
        "CPU ratio": round(sum(spent["score_files"]) / sum(spent["bare"]), 3),
        "median CPU ratio": round(median_ratio(spent), 3),
        "median wall ratio": round(median_ratio(wall), 3),
    }


def median_ratio(times: dict[str, list[float]]) -> float:
    pairs = zip(times["score_files"], times["bare"], strict=True)
    return statistics.median(ours / bare for ours, bare in pairs)


def bare_loop(scorer: Scorer, files: Sequence[str]) -> torch.Tensor:
    """Decode and score, and nothing else: float32 [N]."""
    scores = []
    for start in range(0, len(files), BATCH):
        arrays = [read_rgb(path) for path in files[start : start + BATCH]]
        images = [torch.from_numpy(array).permute(2, 0, 1) for array in arrays]
        scores += scorer.score_images(images)[:, 0].tolist()
    return torch.tensor(scores)


def memory(place: Path, counts: Sequence[int], threads: int, quick: bool) -> list[Row]:
    """Run the command on few and on many files of the least size, each in a fresh process."""
    weights = place / "weights.pt"
    state = random_clip(TOY if quick else "RN50", seed=0).state_dict()
    # Half precision is how OpenAI's file has them; while it is read, both are in memory.
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, weights)
    del state
    rows: list[Row] = []
    for count in counts:
        folder = place / f"listed{count}"
        make_files(folder, count, 32)
        arguments = ["score", str(folder), "--backbone", str(weights), "--device", "cpu"]
        arguments += ["--activation", OPENAI.activation, "--mean", *map(str, OPENAI.mean)]
        arguments += ["--std", *map(str, OPENAI.std), "--out", str(place / f"listed{count}.csv")]
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, str(threads), *arguments],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        largest = round(int(done.stdout.splitlines()[-1]) / 1024**2, 3)
        rows.append({"what": f"memory, {count:,} files", "largest resident, GiB": largest})
    return rows


def kills(place: Path, count: int, quick: bool) -> list[Row]:
    """Kill the command at random moments, resume it, and count each name in its output."""
    folder = place / "killed"
    files = make_files(folder, 64 if quick else 1500, 48)
    shards = place / "shards"
    shards.mkdir()
    for index in range(2):
        with tarfile.open(shards / f"{index}.tar", "w", dereference=True) as archive:
            for path in files[index::2]:
                archive.add(path, Path(path).name)
    in_shards = [f"{shards}/{i}.tar/{Path(f).name}" for i in range(2) for f in files[i::2]]
    return [
        killed("files", folder, files, [], count),
        killed("shards", shards, in_shards, [], count),
        killed("shards, 2 processes", shards, in_shards, ["--devices", "2"], count),
    ]


def killed(what: str, source: Path, names: list[str], more: list[str], count: int) -> Row:
    out = source.with_name(f"{what}.csv")
    command = [sys.executable, "-m", "clipiqa_plus.commands.main", "score", str(source), *more]
    command += ["--backbone", "demo", "--device", "cpu", "--out", str(out)]
    moments = random.Random(what)
    kills = 0
    for _ in range(count):
        before = out.stat().st_size if out.exists() else 0
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None and (out.stat().st_size if out.exists() else 0) <= before:
                time.sleep(0.001)
            time.sleep(moments.uniform(0, 0.5))
            process.kill()
        kills += process.returncode < 0
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with out.open() as file:
        found = [row["image"] for row in csv.DictReader(file)]
    if found != names:
        raise SystemExit(f"{out}: {len(found)} rows, {len(set(found))} names, {len(names)} files")
    return {"what": f"kills, {what}", "killed": kills, "files": len(names), "rows": len(found)}


if __name__ == "__main__":
    main()
