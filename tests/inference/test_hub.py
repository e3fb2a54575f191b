"""Prompts onto the Hub and back, with a folder in its place; what it says when it is not there."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import huggingface_hub
import pytest
import torch
from huggingface_hub import ModelCard

import clipiqa_plus as ciq
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.commands.main import main
from clipiqa_plus.evaluation.evaluation import load_sources
from clipiqa_plus.inference.hub import write_repository
from clipiqa_plus.prompts.files import find_prompts, read_prompts, save_prompts
from clipiqa_plus.prompts.sources import ContextPrompts

REPO = "user/repo"
FACTS: dict[str, Any] = {
    "reduction": "mean",
    "recipe": "koniq_official",
    "dataset": "KonIQ-10k",
    "split_sha256": "5" * 64,
    "metrics": {"test/SRCC": 0.87654, "val/PLCC": None, "lr-SGD": 0.002},
}


@pytest.fixture(scope="module")
def demo() -> FrozenCLIP:
    return FrozenCLIP.from_name("demo")


@pytest.fixture
def file(tmp_path: Path, demo: FrozenCLIP) -> Path:
    prompts = ContextPrompts(demo, seed=4)
    prompts.steps += 1
    return save_prompts(tmp_path / "run/prompts.safetensors", prompts, demo, **FACTS)


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of the Hub, behind huggingface_hub's own signatures."""
    folder = tmp_path / "remote"
    api = create_autospec(huggingface_hub.HfApi)  # a wrong argument is an error

    def create(repo: str, private: bool | None, exist_ok: bool) -> str:
        assert exist_ok
        return f"https://hub/{repo}" + ("?private" if private else "")

    def upload(repo_id: str, folder_path: str, commit_message: str) -> None:
        shutil.copytree(folder_path, folder / repo_id / "main")

    def download(repo: str, name: str, revision: str | None) -> str:
        return str(folder / repo / (revision or "main") / name)

    api.return_value.create_repo.side_effect = create
    api.return_value.upload_folder.side_effect = upload
    fetch = create_autospec(huggingface_hub.hf_hub_download, side_effect=download)
    monkeypatch.setattr(huggingface_hub, "HfApi", api)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    return folder


def scores(scorer: Any) -> torch.Tensor:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return scorer(images)


def test_pushed_prompts_come_back(file: Path, remote: Path) -> None:
    assert ciq.push_to_hub(file, REPO, licence="CC-BY-4.0") == f"https://hub/{REPO}"
    expected = scores(ciq.load("clipiqa+", file, device="cpu"))
    assert torch.equal(scores(ciq.from_pretrained(REPO, device="cpu")), expected)
    by_address = ciq.load("clipiqa+", f"hf://{REPO}", device="cpu")
    assert torch.equal(scores(by_address), expected)
    tensors, facts = read_prompts(f"hf://{REPO}")
    before, earlier = read_prompts(file)
    assert torch.equal(tensors["ctx"], before["ctx"])
    assert facts == {**earlier, "licence": "CC-BY-4.0"}


def test_a_revision_is_asked_for(file: Path, remote: Path) -> None:
    (remote / REPO / "v2").mkdir(parents=True)
    shutil.copy(file, remote / REPO / "v2")
    assert find_prompts(f"hf://{REPO}@v2").parent.name == "v2"
    assert scores(ciq.from_pretrained(REPO, revision="v2", device="cpu")).shape == (2, 1)
    with pytest.raises(ValueError, match="is a local path, which has no revision v2"):
        ciq.from_pretrained(file, revision="v2")


def test_a_folder_is_taken_wherever_a_prompt_file_is(file: Path, demo: FrozenCLIP) -> None:
    expected = scores(ciq.load("clipiqa+", file, demo))
    for folder in (file.parent, str(file.parent)):
        assert torch.equal(scores(ciq.from_pretrained(folder, device="cpu")), expected)
    (source,) = load_sources([str(file.parent)]).values()
    assert torch.equal(scores(source), expected)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"run/prompts\.safetensors: no such prompt file"):
        ciq.from_pretrained(file.parent)


def test_the_card_says_what_the_prompts_are(file: Path, tmp_path: Path, demo: FrozenCLIP) -> None:
    write_repository(file, tmp_path / "out", REPO, licence="cc-by-4.0")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "README.md",
        "prompts.safetensors",
    }
    text = (tmp_path / "out/README.md").read_text()
    card = ModelCard(text)
    assert card.data.license == "cc-by-4.0"
    assert "image-quality-assessment" in card.data.tags
    lines = text.replace("`", "").splitlines()
    rows = dict(line.strip("| ").split(" | ") for line in lines if " | " in line[3:])
    assert rows["SHA-256 of its weights"] == demo.fingerprint
    assert rows["antonym pairs, high score first"] == '[["Good photo.", "Bad photo."]]'
    assert rows["data set"] == "KonIQ-10k"
    assert rows["SHA-256 of the split"] == "5" * 64
    assert rows["test/SRCC"] == "0.8765"
    assert not {"val/PLCC", "lr-SGD"} & set(rows)
    assert f'ciq.from_pretrained("{REPO}")' in text


def test_what_a_file_says_is_only_text_on_the_card(tmp_path: Path, demo: FrozenCLIP) -> None:
    prompts = ContextPrompts(demo)
    prompts.steps += 1
    evil = "`<script>alert(1)</script>\n\n# [x](javascript:y) | ![](http://z)"
    facts = {"dataset": evil, "recipe": evil, "metrics": {f"test/{evil}": 0.5}}
    file = save_prompts(tmp_path / "p.safetensors", prompts, demo, licence="mit", **facts)
    write_repository(file, tmp_path / "out", REPO)
    text = (tmp_path / "out/README.md").read_text().replace("\\|", "")
    assert text.count("<script>") == 4  # in the sentence, and in three tables
    for line in text.splitlines():
        outside = "".join(line.split("`")[::2])  # of inline code, in which nothing is read
        assert "<script>" not in outside
        assert "javascript:" not in outside
        assert not line.startswith("# [x]")


def test_a_licence_must_be_known_and_one(file: Path, tmp_path: Path, demo: FrozenCLIP) -> None:
    with pytest.raises(ValueError, match="states no licence; give one"):
        write_repository(file, tmp_path / "out", REPO)
    prompts = ContextPrompts(demo)
    prompts.steps += 1
    stated = save_prompts(tmp_path / "stated", prompts, demo, licence="CC0-1.0", **FACTS)
    with pytest.raises(ValueError, match=r"states the licence CC0-1\.0, not mit"):
        write_repository(stated, tmp_path / "out", REPO, "mit")
    assert not (tmp_path / "out").exists()
    write_repository(stated, tmp_path / "out", REPO)
    assert (tmp_path / "out/prompts.safetensors").read_bytes() == stated.read_bytes()


def test_without_a_network_one_message_says_so(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(FileNotFoundError, match=r"hf://user/repo: prompts\.safetensors could not"):
        ciq.from_pretrained(REPO)
    with pytest.raises(FileNotFoundError, match=r"at v2 could not .* give the path of the file"):
        ciq.load("clipiqa+", f"hf://{REPO}@v2")
    assert main(["prompts", "push", str(file), REPO, "--licence", "mit"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("clipiqa: hf://user/repo: not uploaded (")
    assert error.count("\n") == 1
    assert "'hf auth login'" in error


def test_a_wrong_name_is_refused_without_a_network(file: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"hf://a/b/c: .*Repo id must be"):
        find_prompts("hf://a/b/c")


def test_the_missing_package_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for use in (lambda: ciq.push_to_hub(file, REPO, "mit"), lambda: ciq.from_pretrained(REPO)):
        with pytest.raises(ImportError, match=r"pip install '\.\[hub\]'"):
            use()
    assert ciq.from_pretrained(file, device="cpu").names == ["score"]  # no need of it here


def test_the_command_pushes(file: Path, remote: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--licence", "cc-by-4.0", "--private"]
    assert main(["prompts", "push", str(file.parent), REPO, *options]) == 0
    assert capsys.readouterr().out == f"https://hub/{REPO}?private\n"
    assert main(["prompts", "show", f"hf://{REPO}"]) == 0
    assert "cc-by-4.0" in capsys.readouterr().out
