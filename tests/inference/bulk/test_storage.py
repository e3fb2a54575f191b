"""Files, shards and tables on fsspec's paths: listed in order, and what is damaged is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipiqa_plus.inference.bulk.inputs import find_files
from clipiqa_plus.inference.bulk.pictures import decode
from clipiqa_plus.inference.bulk.storage import count_pictures, find_locations, pictures_in


@pytest.fixture
def remote(folder: Path, make_shard: Callable[..., Path]) -> str:
    """The folder in fsspec's memory, with a shard, plain and compressed."""
    data = (folder / "00.png").read_bytes()
    make_shard(folder / "s.tar", [("a.png", data), ("b.txt", b""), ("c.png", data)])
    make_shard(folder / "s.tgz", [("a.png", data)], "gz")
    (folder / "b/.hidden").mkdir()
    (folder / "b/.hidden/a.png").write_bytes(data)
    fs = fsspec.filesystem("memory")
    if fs.exists("/in"):
        fs.rm("/in", recursive=True)
    fs.put(f"{folder}/", "/in/", recursive=True)
    return "memory://in"


def test_remote_places_are_those_of_a_folder(folder: Path, remote: str) -> None:
    here = [path.removeprefix(f"{folder}/") for path in find_files([str(folder)])]
    there = [place.removeprefix("memory:///in/") for place in find_locations([remote])]
    assert sorted(there) == sorted(here)
    assert there == sorted(there)
    globbed = list(find_locations([f"{remote}/*.tar", f"{remote}/00.png", str(folder / "03.png")]))
    assert globbed == ["memory:///in/s.tar", "memory:///in/00.png", str(folder / "03.png")]
    with pytest.raises(FileNotFoundError, match=r"none\.png: no such file"):
        list(find_locations([f"{remote}/none.png"]))


def test_remote_pictures_are_read(folder: Path, remote: str) -> None:
    for place in find_locations([remote]):
        for picture in pictures_in(place):
            assert decode(picture, 1).image is not None
    names = [picture.name for picture in pictures_in("memory:///in/s.tar")]
    assert names == ["memory:///in/s.tar/a.png", "memory:///in/s.tar/c.png"]
    (gone,) = pictures_in("memory://in/gone.png")
    assert decode(gone, 1).reason == "no such file"
    (gone,) = pictures_in("memory://in/gone.tar")
    assert gone.flaw.startswith("not readable")


def test_tables_of_bytes_paths_and_structs(folder: Path, tmp_path: Path) -> None:
    paths = sorted(folder.glob("[0-9]*.png"))
    data: list[bytes | None] = [path.read_bytes() for path in paths]
    data[1] = None
    names = [str(path) for path in paths]
    both = [{"bytes": d, "path": p} for d, p in zip(data, names, strict=True)]
    columns = {
        "bytes.parquet": {"bytes": data, "path": names},
        "paths.parquet": {"path": names},
        "hf.parquet": {"image": both, "label": list(range(len(both)))},
    }
    for name, column in columns.items():
        place = f"file://{tmp_path}/{name}"
        pq.write_table(pa.table(column), tmp_path / name)
        pictures = list(pictures_in(place))
        assert count_pictures(place) == len(pictures) == len(paths)
        rows = [f"{place}/{row}" for row in range(len(paths))]
        if name == "paths.parquet":
            assert [p.name for p in pictures] == names
        elif name == "hf.parquet":  # without bytes the path is what there is
            assert [p.name for p in pictures] == [rows[0], names[1], *rows[2:]]
        else:
            assert [p.name for p in pictures] == rows
            assert pictures[1].flaw == "the row has neither bytes nor a path"
        whole = [p for p in pictures if not p.flaw]
        assert all(decode(p, 1).image is not None for p in whole)


def test_damaged_tables_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no table")
    pq.write_table(pa.table({"score": [1]}), tmp_path / "b.parquet")
    (flaw,) = pictures_in(str(tmp_path / "a.parquet"))
    assert flaw.flaw.startswith("not a readable table")
    assert count_pictures(str(tmp_path / "a.parquet")) == 1
    (flaw,) = pictures_in(str(tmp_path / "b.parquet"))
    assert flaw.flaw == "the table has no column bytes or image or path"


def test_what_is_counted_is_what_is_listed(folder: Path, remote: str) -> None:
    for path in find_locations([str(folder)]):
        assert count_pictures(path) == len(list(pictures_in(path)))
    assert count_pictures("memory:///in/s.tar") is None  # it would have to be read
