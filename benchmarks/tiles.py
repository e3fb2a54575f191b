"""Large pictures in tiles: memory of a 48-megapixel JPEG, and difference to one piece.

RN50 of random weights whose features point apart (their mean is taken off) at a logit scale of
100, so that scores spread over [0, 1]: plain random weights would hide any difference. Memory is
the peak of a process that only scores the picture, libraries included. Time is measured in turns.

Run it from the repository root: python benchmarks/tiles.py --json tiles.json
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from parity import spread
from timing import options, report

from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.tiles import PIECE_PIXELS
from clipiqa_plus.clip.weights import random_clip
from clipiqa_plus.inference.scorer import Scorer
from clipiqa_plus.module import CLIPIQAPlus, PromptConfig
from clipiqa_plus.prompts.scales import PAIRS

CHILD = """
import json, re, sys, time
from pathlib import Path
sys.path.insert(0, "benchmarks")
import torch
torch.set_num_threads(int(sys.argv[2]))
import tiles
scorer = tiles.scorer()
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
before, begin = peak(), time.perf_counter()
scorer(sys.argv[1])
print(json.dumps({"loaded": before, "peak": peak(),
                  "seconds": time.perf_counter() - begin}))
"""
TOLERANCE = 1e-4


def scorer() -> Scorer:
    """RN50 of random weights that spread, with all built-in pairs."""
    clip = spread(random_clip("RN50", seed=0), "none")
    frozen = FrozenCLIP(clip, "RN50 (random)", "0" * 64)
    prompts = PromptConfig("zero_shot", pairs=[*PAIRS])
    ready = Scorer(CLIPIQAPlus(frozen, prompts=prompts, reduction="none"), "attributes").eval()
    frozen.drop_text_tower()
    return ready


def photograph(width: int, height: int, seed: int) -> Image.Image:
    """A picture with structure at many scales, uint8; brightness, contrast and detail by seed."""
    rng = np.random.default_rng(seed)
    whole = Image.new("RGB", (width, height), tuple(rng.integers(0, 256, 3).tolist()))
    for octave in (4, 16, 64, 256):
        size = (max(2, width * octave // 4096), max(2, height * octave // 4096))
        layer = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        smooth = Image.fromarray(layer).resize((width, height), Image.Resampling.BICUBIC)
        whole = Image.blend(whole, smooth, float(rng.uniform(0.1, 0.7)))
    return whole


def tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]


def compare(ready: Scorer, width: int, height: int, count: int) -> dict[str, object]:
    """Score pictures in one piece and in tiles, in turns."""
    clip = ready.backbone
    worst, apart, scores, seconds = 0.0, 0.0, [], {True: 0.0, False: 0.0}
    for seed in range(count):
        picture = tensor(photograph(width, height, seed))
        found = {}
        for tiled in (False, True):
            clip.piece_pixels = width * height // 4 if tiled else 1 << 40
            begin = time.perf_counter()
            found[tiled] = clip.encode_image(picture)
            seconds[tiled] += time.perf_counter() - begin
        one, many = (ready.score_features(found[tiled]) for tiled in (False, True))
        worst = max(worst, float((one - many).abs().max()))
        apart = max(apart, float((found[True] - found[False]).abs().max()))
        scores += one.flatten().tolist()
    return {
        "size": f"{width}x{height}",
        "pictures": count,
        "scores": f"{min(scores):.3f} to {max(scores):.3f}",
        "largest difference of a score": f"{worst:.1e}",
        "of a feature": f"{apart:.1e}",
        "time of tiles to one piece": round(seconds[True] / seconds[False], 2),
    }


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--size", default="8000x6000", help="of the JPEG whose memory is measured")
    parser.add_argument("--compared", default="2592x1944", help="size where one piece fits too")
    parser.add_argument("--pictures", type=int, default=4)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    width, height = map(int, chosen.compared.split("x"))
    count = 1 if chosen.quick else chosen.pictures
    row = compare(scorer(), width, height, count)
    width, height = map(int, ("3300x2600" if chosen.quick else chosen.size).split("x"))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "large.jpg"
        photograph(width, height, 0).save(path, quality=90)
        command = [sys.executable, "-c", CHILD, str(path), str(chosen.threads)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    facts = json.loads(done.stdout.splitlines()[-1])
    memory = {
        "picture": f"{width}x{height} JPEG",
        "peak, GB": round(facts["peak"] / 1e9, 2),
        "before the picture, GB": round(facts["loaded"] / 1e9, 2),
        "seconds": round(facts["seconds"], 1),
        "largest piece, pixels": PIECE_PIXELS,
    }
    report("Large pictures in tiles, RN50 of random weights", [row, memory], chosen.json)
    return 0 if float(str(row["largest difference of a score"])) <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
