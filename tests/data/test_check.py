from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from clipiqa_plus.data.benchmarks import BENCHMARKS, CLIVE, KADID10k, KonIQ10k
from clipiqa_plus.data.check import check, facts, find_benchmark, render_check, render_facts
from tests.support.benchmark_files import picture, real_labels, write_csv

ROWS = tuple(f"I{i:02d}_01_01.png,I{i:02d}.png,{1 + i / 5},0.5" for i in range(1, 11))


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(KADID10k, "count", 10)
    write_csv(tmp_path / "dmos.csv", "dist_img,ref_img,dmos,var", ROWS)
    for row in ROWS:
        for name in row.split(",")[:2]:
            picture(tmp_path / "images" / name)
    return tmp_path


def text(renderable):
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(renderable)
    return console.export_text()


def test_whole_data_set(root):
    result = check("kadid10k", root)
    assert result.ok
    assert result.label_file == root / "dmos.csv"
    assert (result.rows, result.expected, result.scores) == (10, (10,), (1.2, 3.0))
    assert result.folders == {"images": 20}
    assert (result.split, result.parts) == ("content", {"train": 8, "val": 0, "test": 2})
    assert not result.missing
    assert not result.surplus  # the references are rightly unrated
    shown = text(render_check(result))
    assert "10 rated of 10" in shown
    assert "1.2 to 3 (1 to 5, higher is better)" in shown
    assert "complete: ready to use" in shown


def test_missing_and_surplus_pictures(root):
    (root / "images" / "I01_01_01.png").rename(root / "images" / "I01_01_01 (copy).png")
    (root / "images" / "notes.txt").touch()
    result = check("kadid10k", root)
    assert not result.ok
    assert result.missing == ("I01_01_01.png",)
    assert result.surplus == ("images/I01_01_01 (copy).png",)
    assert "1 of 10 pictures are missing" in result.problem
    assert "Get kadid10k.zip" in result.problem
    shown = text(render_check(result))
    assert "missing" in shown
    assert "1: I01_01_01.png" in shown
    assert "1: images/I01_01_01 (copy).png" in shown


def test_missing_pictures_that_are_allowed(root):
    (root / "images" / "I01_01_01.png").unlink()
    result = check("kadid10k", root, max_missing=1)
    assert result.ok
    assert result.missing == ("I01_01_01.png",)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_nothing_there(tmp_path, name):
    result = check(name, tmp_path)
    assert not result.ok
    assert result.label_file is None
    assert "which holds nothing" in result.problem
    assert BENCHMARKS[name].obtain in result.problem
    assert "not found" in text(render_check(result))


def test_no_such_folder(tmp_path):
    assert "no folder" in check("clive", tmp_path / "none").problem


def test_label_file_of_another_edition(tmp_path):
    write_csv(tmp_path / "koniq10k_distributions_sets.csv", "image_name,MOS", ["1.jpg,3.2"])
    result = check("koniq10k", tmp_path, resolution="512x384")
    assert result.label_file == tmp_path / "koniq10k_distributions_sets.csv"
    assert "no column set; it has image_name, MOS" in result.problem


def test_check_decodes_and_fetches_nothing(root, monkeypatch):
    monkeypatch.setattr("clipiqa_plus.data.benchmarks.common.download", None)
    for row in ROWS:
        (root / "images" / row.split(",")[0]).write_bytes(b"")
    assert check("kadid10k", root).ok


def test_unknown_benchmark():
    with pytest.raises(ValueError, match="no benchmark 'KonIQ-10k'; there are koniq10k"):
        find_benchmark("KonIQ-10k")
    assert find_benchmark("clive") is CLIVE


def test_facts_of_every_benchmark():
    table = facts().set_index("name")
    assert list(table.index) == list(BENCHMARKS)
    for column in ("title", "protocol", "source", "terms", "obtain"):
        assert (table[column].str.len() > 2).all(), column
    assert (table["low"] < table["high"]).all()
    assert set(table.index[table["better"] == "lower"]) == {"csiq", "live", "live_md"}
    assert table["pictures"]["ava"] == 255_530
    shown = text(render_facts(facts()))
    for benchmark in BENCHMARKS.values():
        assert benchmark.name in shown
        assert benchmark.source in shown


def test_label_files_are_fetched_where_the_licence_allows_it(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "clipiqa_plus.data.benchmarks.common.download",
        lambda urls, sha256, destination, **_: asked.append((urls, sha256, destination)),
    )
    (tmp_path / "koniq-10k").mkdir()
    KonIQ10k(tmp_path).prepare_data()
    [(urls, sha256, destination)] = asked
    assert destination == tmp_path / "koniq-10k" / "koniq10k_distributions_sets.csv"
    assert urls[0].startswith("https://")
    assert len(sha256) == 64
    write_csv(destination, "image_name,MOS,set", [])
    KonIQ10k(tmp_path).prepare_data()
    CLIVE(tmp_path).prepare_data()
    assert len(asked) == 1


@real_labels("koniq10k", "agiqa3k", "agiqa1k", "flive")
def test_checksums_of_the_files_that_are_fetched(labels):
    import gzip
    import hashlib

    for name in ("koniq10k", "agiqa3k", "agiqa1k", "flive"):
        for file in BENCHMARKS[name].downloads:
            path = labels / name / file.name
            if path.exists():
                content = path.read_bytes()
            else:
                content = gzip.decompress((labels / name / f"{file.name}.gz").read_bytes())
            assert hashlib.sha256(content).hexdigest() == file.sha256
            assert len(content) == file.size


def test_the_page_lists_every_benchmark_with_its_facts():
    page = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    table = facts()
    assert [row[0].strip("`") for row in rows] == list(table["name"])
    for row, fact in zip(rows, table.itertuples(), strict=True):
        count = "all" if pd.isna(fact.pictures) else f"{fact.pictures:,}"
        scale = f"{fact.low:g} to {fact.high:g}, {fact.better}"
        assert row[1:5] == [f"[{fact.title}]({fact.source})", count, scale, fact.protocol]
    assert f"{len(table)} data sets" in page


def test_readme_counts_the_benchmarks():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert f"**[{len(BENCHMARKS)} benchmarks](docs/benchmarks.md)**" in readme
