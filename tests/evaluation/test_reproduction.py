"""Published numbers computed again on small stand-ins: against scipy and another way to scores."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from clipiqa_plus.clip.weights import ARCHITECTURES, EMBEDDED
from clipiqa_plus.commands.main import main
from clipiqa_plus.data.benchmarks import BENCHMARKS, SPAQ, KonIQ10k
from clipiqa_plus.evaluation import published, reproduction
from clipiqa_plus.evaluation.published import PUBLISHED, Number, PromptSource, Published, near
from clipiqa_plus.inference.scorer import load
from tests.support.benchmark_files import write_csv, write_sheets

MOS = {f"{n}.jpg": 10.0 + 7 * (n * 3 % 8) for n in range(8)}


@pytest.fixture
def root(
    tmp_path: Path, incomplete: Callable[..., None], make_picture: Callable[..., Path]
) -> Path:
    """KonIQ-10k in small: eight pictures of the test part, one of each other part."""
    incomplete(KonIQ10k)
    rows = [f"{name},{mos},test" for name, mos in MOS.items()]
    rows += ["t.jpg,50,training", "v.jpg,50,validation"]
    folder = tmp_path / "data" / "koniq10k"
    write_csv(folder / "koniq10k_distributions_sets.csv", "image_name,MOS,set", rows)
    for seed, name in enumerate([*MOS, "t.jpg", "v.jpg"]):
        make_picture(folder / "1024x768" / name, seed=seed)
    return folder.parent


@pytest.fixture
def prompt_file(tmp_path: Path) -> Path:
    """Context tokens in the form of the released ones, for the width of the demo backbone."""
    ctx = torch.randn(16, 32, generator=torch.Generator().manual_seed(0)) * 0.1
    torch.save(ctx.half(), tmp_path / "prompts.pth")
    return tmp_path / "prompts.pth"


@pytest.fixture
def entry(prompt_file: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """What the prompts score on the stand-in, found another way and published."""
    scorer = load("clipiqa+", prompt_file, "demo", "cpu")
    scores = [float(scorer(root / "koniq10k" / "1024x768" / name)) for name in MOS]
    source = PromptSource(
        "prompts.pth", "Make it", hashlib.sha256(prompt_file.read_bytes()).hexdigest()[:8]
    )
    made = replace(
        PUBLISHED["koniq10k"],
        srcc=near(float(spearmanr(scores, list(MOS.values()))[0]), 1e-4),
        plcc=near(float(pearsonr(scores, list(MOS.values()))[0]), 1e-4),
        prompts=source,
        backbone="demo",
    )
    monkeypatch.setitem(published.PUBLISHED, "koniq10k", made)
    return made


def command(root: Path, *options: str | Path) -> int:
    out = root.parent / "card"
    arguments = ["--root", root, "--out", out, "--device", "cpu", *options]
    return main(["reproduce", "koniq10k", *map(str, arguments)])


@pytest.mark.slow
def test_whole_way_meets_what_scipy_finds(
    entry: Published, root: Path, prompt_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(root, "--prompts", prompt_file) == 0
    assert "koniq10k: within the tolerance" in capsys.readouterr().out
    card = json.loads((root.parent / "card" / "card.json").read_text())
    assert card["within"]
    assert card["numbers"]["SRCC"]["here"] == pytest.approx(entry.expected["SRCC"].published)
    assert card["data"]["pictures"] == len(MOS)
    digest = hashlib.sha256(prompt_file.read_bytes()).hexdigest()
    assert card["prompts"]["file_sha256"] == digest
    assert card["backbone"]["backbone"] == "demo"
    assert {"torch", "clipiqa_plus"} <= set(card["versions"])
    page = (root.parent / "card" / "card.md").read_text()
    assert page.startswith("# koniq10k: within the tolerance")
    assert digest in page


@pytest.mark.slow
def test_outside_the_tolerance_is_exit_code_1(
    entry: Published,
    root: Path,
    prompt_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plcc = entry.expected["PLCC"].published
    shifted = replace(entry, plcc=near(plcc + 0.003, 0.002))
    monkeypatch.setitem(published.PUBLISHED, "koniq10k", shifted)
    assert command(root, "--prompts", prompt_file) == 1
    printed = capsys.readouterr().out
    assert "-0.0030" in printed
    assert "OUTSIDE" in printed
    assert not json.loads((root.parent / "card" / "card.json").read_text())["within"]


def test_all_that_is_missing_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def offline(name: str, *_: Any) -> None:
        raise FileNotFoundError(f"{name}.pt could not be downloaded; save it as HERE")

    monkeypatch.setattr(reproduction.FrozenCLIP, "from_name", offline)
    assert main(["reproduce", "koniq10k", "--root", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "1. pictures: KonIQ-10k: no folder" in error
    assert f"They belong in {tmp_path / 'koniq10k'}" in error
    assert f"2. prompts: no file {tmp_path / 'cache'}" in error
    assert "releases/download" in error
    assert "3. weights: RN50.pt could not be downloaded; save it as HERE" in error
    assert len(error.splitlines()) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"--prompts": "OTHER"}, "is not prompts.pth: its SHA-256"),
        ({"--backbone": "OTHER"}, "is not a weights file"),
        ({"--backbone": "demo"}, "holds other weights than RN50, which koniq10k needs"),
    ],
)
def test_other_files_than_the_published_are_refused(
    options: dict[str, str],
    message: str,
    entry: Published,
    root: Path,
    prompt_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("OTHER").write_text("else")
    if options == {"--backbone": "demo"}:
        monkeypatch.setitem(published.PUBLISHED, "koniq10k", replace(entry, backbone="RN50"))
    given = {"--prompts": str(prompt_file)} | options
    assert command(root, *(word for option in given.items() for word in option)) == 1
    assert message in capsys.readouterr().err


def test_a_zero_shot_entry_takes_no_prompts(
    root: Path, prompt_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--root", str(root), "--prompts", str(prompt_file)]
    assert main(["reproduce", "koniq10k-zero-shot", *arguments]) == 1
    assert "it takes no --prompts" in capsys.readouterr().err


def test_unknown_name_is_answered_by_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "koniq"]) == 1
    error = capsys.readouterr().err
    assert "no published result 'koniq'; did you mean koniq10k" in error
    assert "reproduce list" in error


@pytest.mark.parametrize("arguments", [[], ["list"]])
def test_list_shows_names_numbers_and_sources(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["reproduce", *arguments]) == 0
    printed = capsys.readouterr().out
    for entry in PUBLISHED.values():
        assert entry.name in printed
        assert entry.source[:60] in printed


@pytest.mark.slow
def test_spaq_takes_the_pictures_that_the_official_code_draws(
    tmp_path: Path, incomplete: Callable[..., None], make_picture: Callable[..., Path]
) -> None:
    incomplete(SPAQ)
    names = [f"{n:05}.jpg" for n in range(10)]
    head = ["Image name", "MOS", "Brightness", "Colorfulness", "Contrast", "Noisiness", "Sharpness"]
    labels = tmp_path / "spaq" / "Annotations" / "MOS and Image attribute scores.xlsx"
    write_sheets(labels, {"Sheet1": [head, *([n, 10 + i, *[50] * 5] for i, n in enumerate(names))]})
    for name in names:
        make_picture(tmp_path / "spaq" / "TestImage" / name)
    entry = replace(PUBLISHED["spaq-zero-shot"], backbone="demo", sample=4)
    result = reproduction.reproduce(entry, tmp_path)
    random.seed(0)
    random.shuffle(names)
    assert set(result.scores["image"]) == set(names[:4])
    assert result.card["data"]["resize"] == 512


@pytest.mark.parametrize("entry", PUBLISHED.values(), ids=PUBLISHED)
def test_entries_are_usable(entry: Published) -> None:
    assert entry.data in BENCHMARKS
    assert entry.backbone in {*ARCHITECTURES, *EMBEDDED}
    assert entry.expected
    for number in entry.expected.values():
        assert 0 < number.lowest < number.published < number.highest < 1
    assert entry.reason
    assert set(entry.options) <= {"resolution"}


def test_a_number_that_does_not_exist_is_not_accepted() -> None:
    assert not Number(0.5, 0.4, 0.6).holds(float("nan"))
    assert Number(0.5, 0.4, 0.6).holds(0.4)
