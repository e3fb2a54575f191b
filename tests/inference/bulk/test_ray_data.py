"""The Ray engine: the scores of the local one, with a process killed meanwhile."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipiqa_plus.commands.main import main
from clipiqa_plus.inference.bulk import SizeLimit, score_files, score_with_ray
from clipiqa_plus.inference.bulk.output import ScoreFile
from clipiqa_plus.inference.bulk.pictures import Picture
from clipiqa_plus.inference.bulk.ray_data import _list, _resume
from clipiqa_plus.inference.bulk.storage import find_locations
from clipiqa_plus.inference.scorer import Scorer
from tests.support.scoring_process import load_mortal, load_small

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A Ray on this machine, with two processes to score and one to list."""
    reason = "Ray is not installed: pip install '.[ray]'"
    ray = pytest.importorskip("ray", reason=reason)
    pytest.importorskip("ray.data", reason=reason)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.fixture
def mixed(
    tmp_path: Path, make_picture: Callable[..., Path], make_shard: Callable[..., Path]
) -> Path:
    """Pictures, shards of them, and what cannot be read."""
    files = []
    for index in range(30):
        path = make_picture(tmp_path / f"in/{index:02}.png", 40 + index % 3, 40, index)
        files.append((path.name, path.read_bytes()))
    (tmp_path / "in/07.png").write_bytes(b"damaged")
    files[3] = ("03.png", b"damaged")
    make_shard(tmp_path / "in/s.tar", files)
    cut = make_shard(tmp_path / "in/t.tgz", files[:5], "gz")
    cut.write_bytes(cut.read_bytes()[:-600])
    return tmp_path / "in"


@pytest.mark.slow
def test_a_killed_process_loses_nothing(
    cluster: None, mixed: Path, tmp_path: Path, scorer: Scorer
) -> None:
    here, there = tmp_path / "here.csv", tmp_path / "there.csv"
    one = score_files(scorer, [str(mixed)], here, 4)
    mortal = partial(load_mortal, tmp_path / "died")
    both = score_with_ray(scorer, mortal, [str(mixed)], there, 4, devices=2, device="cpu")
    assert (tmp_path / "died").exists()
    assert (both.scored, both.failed) == (one.scored, one.failed)
    assert one.failed >= 3
    expected, found = pd.read_csv(here), pd.read_csv(there)
    assert list(found["image"]) == list(expected["image"])
    # Other pictures share a batch: fp32 sums in another order.
    assert list(found["score"]) == pytest.approx(list(expected["score"]), abs=1e-6)
    assert (tmp_path / "there.failed.csv").read_text() == (tmp_path / "here.failed.csv").read_text()


@pytest.mark.slow
def test_large_pictures_in_tiles(
    cluster: None, tmp_path: Path, scorer: Scorer, make_picture: Callable[..., Path]
) -> None:
    paths = [make_picture(tmp_path / f"in/{n}.png", 390 + 10 * n, 300, n) for n in range(3)]
    there, limit = tmp_path / "there.csv", SizeLimit(30_000)
    score_with_ray(
        scorer, load_small, [str(tmp_path / "in")], there, 2, devices=2, device="cpu", limit=limit
    )
    found = pd.read_csv(there)
    assert list(found["image"]) == list(map(str, paths))
    # Tiles sum in another order than one piece, and the logit scale is 100.
    whole = [float(scorer(str(path))) for path in paths]
    assert list(found["score"]) == pytest.approx(whole, abs=1e-5)


@pytest.mark.slow
def test_from_urls_and_tables_to_a_url(
    cluster: None, mixed: Path, tmp_path: Path, scorer: Scorer
) -> None:
    paths = [str(mixed / f"{index:02}.png") for index in range(6, 9)]
    table = {"bytes": [Path(path).read_bytes() for path in paths]}
    pq.write_table(pa.table(table), tmp_path / "bytes.parquet")
    pq.write_table(pa.table({"path": paths}), tmp_path / "paths.parquet")
    url = f"file://{tmp_path}"
    sources = [f"{url}/in/0*.png", f"{url}/in/s.tar", f"{url}/bytes.parquet", f"{url}/p*.parquet"]
    out = "memory://results/today/s.parquet"
    done = score_with_ray(scorer, load_small, sources, out, 4, device="cpu", overwrite=True)
    score_files(scorer, [str(mixed)], tmp_path / "here.csv", 4)
    score = pd.read_csv(tmp_path / "here.csv").set_index("image")["score"]
    with fsspec.open(out) as file:
        found = pd.read_parquet(io.BytesIO(file.read()))
    urls = [f"{url}/in/{index:02}.png" for index in range(10) if index != 7]
    urls += [f"{url}/in/s.tar/{index:02}.png" for index in range(30) if index != 3]
    rows = [f"{url}/bytes.parquet/0", f"{url}/bytes.parquet/2"]
    assert list(found["image"]) == [*urls, *rows, paths[0], paths[2]]
    same = [name.removeprefix("file://") for name in urls] + [paths[0], paths[2]] * 2
    assert list(found["score"]) == pytest.approx(list(score[same]), abs=1e-6)
    with fsspec.open(done.failures) as file:
        failed = pd.read_csv(file).set_index("image")["reason"]
    assert list(failed.index) == [
        f"{url}/in/07.png",
        f"{url}/in/s.tar/03.png",
        f"{url}/bytes.parquet/1",
        paths[1],
    ]
    with pytest.raises(ValueError, match="exists; give another file"):
        score_with_ray(scorer, load_small, sources, out, device="cpu")


@pytest.mark.slow
def test_a_stopped_run_goes_on_within_a_shard(mixed: Path, tmp_path: Path, scorer: Scorer) -> None:
    sources = [str(mixed)]
    score_files(scorer, sources, tmp_path / "whole.csv", 4)
    whole = (tmp_path / "whole.csv").read_text().splitlines(keepends=True)
    failed = (tmp_path / "whole.failed.csv").read_text().splitlines(keepends=True)
    for suffix, lines in ((".csv", whole[:40]), (".failed.csv", failed[:3])):
        (tmp_path / f"s{suffix}").write_text("".join(lines))
    (tmp_path / "s.csv.json").write_text((tmp_path / "whole.csv.json").read_text())
    places = list(find_locations(sources))
    with ScoreFile(tmp_path / "s.csv", scorer.names, scorer.settings) as file:
        parts, again = _resume(places, file)
    # 39 scores and 2 failures are 30 files and 11 pictures of the first shard; the 2 come again.
    table = pa.Table.from_pylist([{**p._asdict(), "location": p.location.encode()} for p in parts])
    left = [Picture(**row) for part in _list(table) for row in part.to_pylist()]
    assert [p.name for p in left[:again]] == [f"{mixed}/07.png", f"{mixed}/s.tar/03.png"]
    assert [p.name for p in left[again : again + 19]] == [
        f"{mixed}/s.tar/{i:02}.png" for i in range(11, 30)
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_repaired_pictures_come_into_their_place(
    mixed: Path, tmp_path: Path, scorer: Scorer, make_picture: Callable[..., Path]
) -> None:
    out = tmp_path / "s.csv"
    before = score_with_ray(scorer, load_small, [str(mixed)], out, device="cpu")
    make_picture(mixed / "07.png", 41, 40, 7)
    done = score_with_ray(scorer, load_small, [str(mixed)], out, device="cpu")
    assert (done.scored, done.failed) == (before.scored + 1, before.failed - 1)
    score_files(scorer, [str(mixed)], tmp_path / "whole.csv")
    images = [list(pd.read_csv(tmp_path / name)["image"]) for name in ("s.csv", "whole.csv")]
    assert images[0] == images[1]


def test_without_ray_one_error_says_what_to_install(
    mixed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    out = tmp_path / "s.csv"
    arguments = ["score", str(mixed), "--backbone", "demo", "--device", "cpu", "--out", str(out)]
    assert main([*arguments, "--engine", "ray"]) == 1
    assert "pip install '.[ray]'" in capsys.readouterr().err
    assert not out.exists()
