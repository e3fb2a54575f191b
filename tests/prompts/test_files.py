"""Prompt files come back as they were, and only onto the backbone they belong to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from clipiqa_plus import __version__
from clipiqa_plus.clip.backbone import FrozenCLIP
from clipiqa_plus.clip.image_tower import PosEmbedding
from clipiqa_plus.clip.weights import build_clip, random_clip
from clipiqa_plus.prompts.files import (
    load_prompts,
    read_prompts,
    save_prompts,
    write_prompts,
)
from clipiqa_plus.prompts.sources import ContextPrompts
from tests.support.models import SMALL_RESNET, small_clip


def trained(clip: FrozenCLIP, **layout: object) -> ContextPrompts:
    prompts = ContextPrompts(clip, **layout)  # type: ignore[arg-type]
    prompts.steps += 7
    return prompts


@pytest.mark.parametrize("class_specific", [False, True])
@pytest.mark.parametrize("position", ["front", "middle", "end"])
def test_saved_prompts_come_back_exactly(
    clip: FrozenCLIP, tmp_path: Path, class_specific: bool, position: str
) -> None:
    pairs = ["quality", ["Ünïcode photo.", '"Quoted" photo.']]
    prompts = trained(clip, pairs=pairs, position=position, class_specific=class_specific)
    path = save_prompts(tmp_path / "a.safetensors", prompts, clip, recipe="test")
    again = load_prompts(path, clip)
    assert again.pairs == prompts.pairs
    assert int(again.steps) == 7
    with torch.no_grad():
        assert torch.equal(again(clip), prompts(clip))


def test_others_may_read_what_they_may_read_of_every_file(clip: FrozenCLIP, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    path = save_prompts(tmp_path / "p.safetensors", trained(clip), clip)
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_metadata_says_what_the_prompts_belong_to(clip: FrozenCLIP, tmp_path: Path) -> None:
    path = save_prompts(
        tmp_path / "a.safetensors", trained(clip), clip, recipe="r", metrics={"val/SRCC": 0.5}
    )
    tensors, facts = read_prompts(path)
    assert tensors["ctx"].shape == (16, clip.width)
    assert facts["backbone"] == clip.name
    assert facts["weights_sha256"] == clip.fingerprint
    assert facts["metrics"] == {"val/SRCC": 0.5}
    assert facts["pairs"] == [["Good photo.", "Bad photo."]]
    assert facts["position"] == "middle"
    assert facts["version"] == __version__
    assert facts["licence"] is None  # not stated, and said so
    save_prompts(path, trained(clip), clip, licence="CC-BY-4.0")
    assert read_prompts(path)[1]["licence"] == "CC-BY-4.0"


def test_a_file_that_begins_like_a_pickle_is_read(clip: FrozenCLIP, tmp_path: Path) -> None:
    # safetensors begin with the length of the header, the lowest byte of which may be any.
    path = tmp_path / "a.safetensors"
    for padding in range(0, 2048, 8):
        save_prompts(path, trained(clip), clip, padding="x" * padding)
        if path.read_bytes()[:1] == b"\x80":
            break
    else:
        raise AssertionError("no such length")
    assert load_prompts(path, clip).learned


def test_untrained_prompts_are_not_written(clip: FrozenCLIP, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="untrained"):
        save_prompts(tmp_path / "a.safetensors", ContextPrompts(clip), clip)
    assert not list(tmp_path.iterdir())


def test_other_weights_and_other_positional_embedding_are_refused(
    clip: FrozenCLIP, tmp_path: Path
) -> None:
    path = save_prompts(tmp_path / "a.safetensors", trained(clip), clip)
    with pytest.raises(ValueError, match=r"learned on small-resnet-0 .* is small-resnet-1"):
        load_prompts(path, small_clip(seed=1))
    with pytest.raises(ValueError, match=r"pos_embedding none, but the backbone has .* grid"):
        load_prompts(path, small_clip(pos_embedding="grid"))


@pytest.mark.parametrize("key", ["activation", "mean", "std"])
def test_prompts_learned_with_other_conventions_are_refused(
    key: str, clip: FrozenCLIP, tmp_path: Path
) -> None:
    path, half = tmp_path / "a.safetensors", (0.5, 0.5, 0.5)
    weights = random_clip(SMALL_RESNET, 0).state_dict()
    others = {
        "activation": FrozenCLIP(build_clip(weights, "gelu"), clip.name, clip.fingerprint),
        "mean": FrozenCLIP(clip.clip, clip.name, clip.fingerprint, mean=half),
        "std": FrozenCLIP(clip.clip, clip.name, clip.fingerprint, std=half),
    }
    save_prompts(path, trained(clip), clip)
    with pytest.raises(ValueError, match=rf"a\.safetensors was learned with {key} .* but the"):
        load_prompts(path, others[key])
    save_prompts(path, trained(clip), others[key])
    assert read_prompts(path)[1][key] == others[key].describe()[key]
    with pytest.raises(ValueError, match=f"was learned with {key} "):
        load_prompts(path, clip)


def test_prompts_of_earlier_versions_were_learned_with_openais(
    clip: FrozenCLIP, tmp_path: Path
) -> None:
    path = save_prompts(tmp_path / "a.safetensors", trained(clip), clip)
    tensors, facts = read_prompts(path)
    earlier = {k: v for k, v in facts.items() if k not in ("activation", "mean", "std")}
    write_prompts(path, tensors, earlier)
    assert read_prompts(path)[1] == facts
    assert load_prompts(path, clip).learned
    write_prompts(path, tensors, facts | {"mean": [0.5, "half"]})
    with pytest.raises(ValueError, match=r"a\.safetensors: the metadata gives mean .*damaged"):
        read_prompts(path)


def test_missing_damaged_and_foreign_files_are_named(clip: FrozenCLIP, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"b\.safetensors: no such prompt file"):
        load_prompts(tmp_path / "b.safetensors", clip)
    path = save_prompts(tmp_path / "a.safetensors", trained(clip), clip)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"a\.safetensors: not a readable safetensors file"):
        load_prompts(path, clip)
    save_file({"weight": torch.zeros(1)}, tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match=r"c\.safetensors: not a prompt file"):
        load_prompts(tmp_path / "c.safetensors", clip)


@pytest.mark.parametrize(
    ("recorded", "way", "vit"),
    [(False, "none", False), (True, "grid", False), (True, "grid", True), ("table", "table", True)],
)
def test_positional_embedding_of_earlier_and_of_today_s_files(
    tmp_path: Path, recorded: bool | str, way: PosEmbedding, vit: bool
) -> None:
    clip = small_clip(way, vit=vit)
    path = save_prompts(tmp_path / "a.safetensors", trained(clip), clip)
    tensors, facts = read_prompts(path)
    assert facts["pos_embedding"] == way
    write_prompts(path, tensors, {**facts, "pos_embedding": recorded})
    assert read_prompts(path)[1]["pos_embedding"] == way
    assert torch.equal(load_prompts(path, clip).ctx, tensors["ctx"])
    other = {"none": "grid", "grid": "table", "table": "grid"}[way]
    with pytest.raises(ValueError, match=f"pos_embedding {way}, but .* pos_embedding {other}"):
        load_prompts(path, small_clip(other, vit=vit))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["ctx", "regressor.weight"])
def test_numbers_that_are_none_are_refused(
    clip: FrozenCLIP, tmp_path: Path, name: str, value: float
) -> None:
    regressor = {"weight": torch.ones(1, 1), "bias": torch.zeros(1)}
    path = save_prompts(tmp_path / "a.safetensors", trained(clip), clip, regressor)
    tensors, facts = read_prompts(path)
    tensors[name].view(-1)[-1] = value
    write_prompts(path, tensors, facts)
    with pytest.raises(ValueError, match=rf"a\.safetensors: {name} is NaN or infinite"):
        read_prompts(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": None}, "pairs is null"),
        ({"pairs": [["one"]]}, r'pairs is \[\["one"\]\]'),
        ({"pairs": "<script>"}, 'pairs is "<script>"'),
        ({"n_ctx": "16"}, None),  # a number, however it was written
        ({"n_ctx": -1}, "n_ctx is -1"),
        ({"n_ctx": 10**12}, "metadata describe"),
        ({"n_ctx": 4}, "metadata describe"),
        ({"position": "nowhere"}, "prompt file .*a.safetensors: .*nowhere"),
        ({"class_specific": "maybe"}, 'class_specific is "maybe"'),
        ({"steps": 2**64}, "steps is"),
    ],
)
def test_metadata_that_do_not_fit_are_one_error(
    clip: FrozenCLIP, tmp_path: Path, changes: dict[str, object], message: str | None
) -> None:
    path = save_prompts(tmp_path / "a.safetensors", trained(clip), clip)
    tensors, facts = read_prompts(path)
    write_prompts(path, tensors, {**facts, **changes})
    if message is None:
        assert load_prompts(path, clip).n_ctx == 16
        return
    with pytest.raises(ValueError, match=message):
        load_prompts(path, clip)


def test_metadata_that_are_missing_are_named(clip: FrozenCLIP, tmp_path: Path) -> None:
    path = save_prompts(tmp_path / "a.safetensors", trained(clip), clip)
    tensors, facts = read_prompts(path)
    write_prompts(path, tensors, {k: v for k, v in facts.items() if k != "pairs"})
    with pytest.raises(ValueError, match="metadata are damaged: pairs is missing"):
        read_prompts(path)
