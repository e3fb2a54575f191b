import hashlib
import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from clipiqa_plus.clip import weights as module
from clipiqa_plus.clip.conventions import OPENAI
from clipiqa_plus.clip.weights import (
    ARCHITECTURES,
    Architecture,
    build_clip,
    import_clip,
    load_weights,
    random_clip,
)
from tests.support.mirror_server import PAGE, serve
from tests.support.weight_files import RESNET, SMALL, pictures, save_jit, save_plain

Save = Callable[[nn.Module, Path], object]


def save_legacy(model: nn.Module, path: Path) -> None:
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=False)


def save_checkpoint(model: nn.Module, path: Path) -> None:
    """Write a training checkpoint as open_clip's distributed runs do."""
    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({"epoch": 32, "name": "run", "state_dict": state}, path)


def save_safetensors(model: nn.Module, path: Path) -> None:
    safetensors.torch.save_file(model.state_dict(), path, metadata={"seed": "3"})


def save_like_pickle(model: nn.Module, path: Path) -> None:
    """Write safetensors whose first byte, of the header's length, is that of a pickle."""
    for padding in range(0, 2048, 8):
        safetensors.torch.save_file(model.state_dict(), path, {"padding": "x" * padding})
        with path.open("rb") as file:
            if file.read(1) == b"\x80":
                return
    raise AssertionError("no such length")


FORMATS: dict[str, Save] = {
    "jit": save_jit,
    "plain": save_plain,
    "legacy": save_legacy,
    "checkpoint": save_checkpoint,
    "safetensors": save_safetensors,
}
EVERY_FORMAT = pytest.mark.parametrize("save", FORMATS.values(), ids=FORMATS)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home without a cache folder set."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("CLIPIQA_CACHE", raising=False)
    return tmp_path / "home"


# ---------------------------------------------------------------- files


def test_safetensors_that_begin_like_a_pickle(tmp_path: Path) -> None:
    save_like_pickle(random_clip(RESNET, seed=3), tmp_path / "a")
    original = random_clip(RESNET, seed=3).state_dict()["text_projection"]
    assert torch.equal(load_weights(tmp_path / "a").state_dict["text_projection"], original)


@SMALL
@EVERY_FORMAT
def test_every_format_gives_the_same_weights(
    save: Save, architecture: Architecture, tmp_path: Path
) -> None:
    original = random_clip(architecture, seed=3).state_dict()
    path = tmp_path / "weights.any"  # the suffix must not matter
    save(random_clip(architecture, seed=3), path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch deprecates its archives: no noise for the user
        loaded = load_weights(path)
    assert loaded.name == "weights.any"
    assert (loaded.path, loaded.sha256) == (path, sha256(path))
    assert loaded.metadata == ({"seed": "3"} if save is save_safetensors else {})
    assert loaded.state_dict.keys() == original.keys()
    for key, value in loaded.state_dict.items():
        expected = original[key]
        assert torch.equal(value, expected.to(value.dtype)), key
        assert value.dtype in {expected.dtype, torch.float16}
    fp16 = any(value.dtype == torch.float16 for value in loaded.state_dict.values())
    assert fp16 == (save is save_jit)


@SMALL
@pytest.mark.parametrize("save", [save_jit, save_plain], ids=["fp16", "fp32"])
def test_build_clip_computes_what_openai_clip_computes(
    save: Save, architecture: Architecture, tmp_path: Path
) -> None:
    path = tmp_path / "weights"
    save(random_clip(architecture, seed=3), path)
    loaded = load_weights(path)
    reference = import_clip().model.build_model(dict(loaded.state_dict)).float()
    # build_model stores in fp16 what OpenAI stores in fp16: undo its rounding of the others.
    reference.load_state_dict({k: v.float() for k, v in loaded.state_dict.items()})
    state = torch.random.get_rng_state()
    model = build_clip(loaded)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    images, tokens = pictures(2, 64), torch.randint(1, 98, (2, 16))
    with torch.no_grad():  # bitwise: the same class and weights on the same computer
        assert torch.equal(model.encode_image(images), reference.encode_image(images))
        assert torch.equal(model.encode_text(tokens), reference.encode_text(tokens))


def test_build_clip_makes_no_second_copy() -> None:
    state_dict = random_clip(RESNET).state_dict()
    built = build_clip(state_dict).state_dict()
    assert all(built[key].data_ptr() == value.data_ptr() for key, value in state_dict.items())


def test_build_clip_releases_what_it_converts_on_request() -> None:
    weights = {k: v.half() for k, v in random_clip(RESNET).state_dict().items()}
    kept = build_clip(weights).state_dict()
    released = build_clip(weights, release=True).state_dict()
    assert not weights
    assert all(torch.equal(released[key], value) for key, value in kept.items())


def test_counts_of_training_steps_may_be_absent() -> None:
    state_dict = random_clip(RESNET, seed=3).state_dict()
    bare = {k: v for k, v in state_dict.items() if not k.endswith("num_batches_tracked")}
    assert len(bare) < len(state_dict)
    images = pictures(2, 64)
    with torch.no_grad():
        expected = random_clip(RESNET, seed=3).encode_image(images)
        assert torch.equal(build_clip(bare).encode_image(images), expected)


@pytest.mark.parametrize("name", ["demo", "photo"])
def test_an_embedded_name_is_the_file_in_the_package(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Path(module.__file__).parents[1]
    relative = module.EMBEDDED[name].relative_to(package).as_posix()
    assert relative == f"clip/assets/{name}_clip.safetensors"
    path = tmp_path / "embedded.safetensors"
    monkeypatch.setitem(module.EMBEDDED, name, path)
    with pytest.raises(FileNotFoundError, match="install clipiqa-plus again"):
        load_weights(name)
    save_safetensors(random_clip(RESNET), path)
    loaded = load_weights(name)
    assert (loaded.name, loaded.path, loaded.metadata) == (name, path, {"seed": "3"})


def test_a_matrix_may_be_stored_as_two_factors(tmp_path: Path) -> None:
    state_dict = random_clip(RESNET).state_dict()
    left, right = torch.randn(RESNET.vocab_size, 3), torch.randn(3, RESNET.transformer_width)
    state_dict["token_embedding.weight.left"] = left.half()
    state_dict["token_embedding.weight.right"] = right.half()
    del state_dict["token_embedding.weight"]
    safetensors.torch.save_file(state_dict, tmp_path / "factored")
    found = load_weights(tmp_path / "factored").state_dict["token_embedding.weight"]
    expected = (left.half().double() @ right.half().double()).float()
    # A sum of three products in fp32.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)

    longer = {**state_dict, "token_embedding.weight.right": torch.zeros(4, right.shape[1])}
    del state_dict["token_embedding.weight.right"]
    for broken in (longer, state_dict):
        safetensors.torch.save_file(broken, tmp_path / "broken")
        with pytest.raises(ValueError, match=r"broken holds factors of token_embedding\.weight"):
            load_weights(tmp_path / "broken")


def test_sha256_argument(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    save_plain(random_clip(RESNET), path)
    assert load_weights(path, sha256=sha256(path).upper()).sha256 == sha256(path)
    with pytest.raises(ValueError, match=f"{path} is not the expected file.*not {'0' * 64}"):
        load_weights(path, sha256="0" * 64)


# ---------------------------------------------------------------- bad files


class Trap:
    """An object whose unpickling would leave a trace."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("trapped",)


def write(state_dict: object) -> Callable[[Path], None]:
    return lambda path: torch.save(state_dict, path)


def small_state(**changes: Tensor) -> dict[str, Tensor]:
    return random_clip(RESNET).state_dict() | changes


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("folder/picture.png", b"")


def without(*keys: str) -> dict[str, Tensor]:
    return {key: value for key, value in small_state().items() if key not in keys}


HF_KEYS = {f"text_model.{i}.weight": torch.zeros(1) for i in range(3)}
BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "is empty: download it again"),
    "web page": (lambda path: path.write_bytes(b"\n" + PAGE), "holds a web page"),
    "text": (lambda path: path.write_text("version https://git-lfs"), "is not a weights file"),
    "json": (lambda path: path.write_text(json.dumps([{"a": 1}] * 99)), "is not a weights file"),
    "other archive": (write_zip, "is not a weights file"),
    "objects": (write({"weight": Trap()}), "holds Python objects beside tensors"),
    "bare pickle": (lambda path: path.write_bytes(pickle.dumps(Trap(), 2)), "Python objects"),
    "list": (write([torch.zeros(1)]), "holds a list, not a state dict"),
    "optimizer": (write({"lr": 0.1}), "holds no state dict: lr is not a tensor"),
    "no tensors": (write({}), "visual.conv1.weight.* missing, its first keys are none"),
    "other layout": (
        write(HF_KEYS),
        r"openai-clip's key layout: visual\.conv1\.weight, .* "
        r"missing, its first keys are text_model\.0\.weight",
    ),
    "keys missing": (
        write(without("visual.bn1.weight", "ln_final.bias")),
        r"does not fit openai-clip's model: .*visual\.bn1\.weight, ln_final\.bias missing",
    ),
    "key unknown": (write(small_state(logit_bias=torch.zeros(()))), "logit_bias unknown"),
    "shape": (
        write(small_state(**{"ln_final.bias": torch.zeros(5)})),
        r"ln_final\.bias of another shape",
    ),
    "integers": (
        write(small_state(**{"ln_final.bias": torch.zeros(64, dtype=torch.int8)})),
        r"ln_final\.bias not floating-point",
    ),
    "infinity": (
        write(small_state(**{"ln_final.bias": torch.tensor([float("-inf")] + [0.0] * 63)})),
        r"holds NaN or infinite weights in ln_final\.bias",
    ),
    "nan": (
        write(small_state(**{"ln_final.bias": torch.tensor([float("nan")] + [0.0] * 63)})),
        r"holds NaN or infinite weights in ln_final\.bias",
    ),
    "unbuildable": (
        write(small_state(**{"ln_final.weight": torch.ones(200)})),  # 200 channels, 3 heads
        "has sizes that openai-clip cannot build",
    ),
}


@pytest.mark.parametrize(("write_file", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_file(
    write_file: Callable[[Path], object],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pt"
    write_file(path)
    with pytest.raises(ValueError, match=message) as caught:
        load_weights(path)
    assert str(caught.value).startswith(str(path))
    assert not (tmp_path / "trapped").exists()


@pytest.mark.slow
@EVERY_FORMAT
@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_file_cut_short(save: Save, share: float, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    save(random_clip(RESNET), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match="is damaged") as caught:
        load_weights(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("RN5O", ValueError, r"'RN5O' is not the name of a CLIP\. Did you mean RN50.*ViT-L/14@336"),
        ("ViT-B/33", ValueError, "Did you mean ViT-B/32"),
        ("nonsense", ValueError, r"a CLIP\. Names: RN50, RN101"),
        ("absent/weights.pt", FileNotFoundError, "absent/weights.pt: no such weights file"),
        ("/absent/weights", FileNotFoundError, "/absent/weights: no such weights file"),
        (".", ValueError, "is a folder: give the path of the weights file in it"),
    ],
)
def test_name_that_leads_nowhere(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_weights(name)
    if error is ValueError and name != ".":
        with pytest.raises(ValueError, match=message):
            random_clip(name)


# ---------------------------------------------------------------- cache and mirrors


@pytest.fixture
def published(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small file that stands for RN50 in openai-clip's table, with no mirror that answers."""
    path = tmp_path / "published"
    save_plain(random_clip(RESNET, seed=3), path)
    address = f"http://127.0.0.1:9/clip/models/{sha256(path)}/RN50.pt"  # the discard port
    monkeypatch.setitem(import_clip().clip._MODELS, "RN50", address)
    monkeypatch.setattr(module, "_COPIES", {"RN50": "http://127.0.0.1:9/copy/RN50.pt"})
    monkeypatch.setattr(module, "_MIRRORS", {})
    return path


@pytest.mark.parametrize("way", ["argument", "environment", "default", "openai-clip"])
def test_cached_file_is_found(
    way: str, published: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = {
        "argument": home / "mine",
        "environment": home / "shelf",
        "default": home / ".cache" / "clipiqa_plus",
        "openai-clip": home / ".cache" / "clip",
    }[way]
    folder.mkdir(parents=True)
    (folder / "RN50.pt").write_bytes(published.read_bytes())
    if way == "environment":
        monkeypatch.setenv("CLIPIQA_CACHE", "~/shelf")
    loaded = load_weights("RN50", cache_dir="~/mine" if way == "argument" else None)
    assert (loaded.name, loaded.path) == ("RN50", folder / "RN50.pt")
    assert loaded.sha256 == sha256(published)


@pytest.mark.parametrize("cache", ["clipiqa_plus", "clip"])
def test_wrong_cached_file_is_never_used(cache: str, published: Path, home: Path) -> None:
    wrong = home / ".cache" / cache / "RN50.pt"
    wrong.parent.mkdir(parents=True)
    save_plain(random_clip(RESNET, seed=4), wrong)  # sound weights, but not RN50's
    with (
        pytest.warns(UserWarning, match=f"{wrong} is not used: its SHA-256 is not"),
        pytest.raises(FileNotFoundError),
    ):
        load_weights("RN50")


def test_wrong_cached_file_is_replaced(
    published: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = home / ".cache" / "clipiqa_plus" / "RN50.pt"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"not weights")
    with serve(published.read_bytes()) as mirror:
        monkeypatch.setattr(module, "_COPIES", {"RN50": mirror.url("cut", "RN50.pt")})
        with pytest.warns(UserWarning, match="is not used"):
            loaded = load_weights("RN50")
    assert (loaded.name, loaded.path, loaded.sha256) == ("RN50", cached, sha256(published))


def test_no_mirror_gives_one_error_that_helps(published: Path, home: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        load_weights("RN50")
    message = str(caught.value)
    for fact in [
        "RN50.pt (255,827,503 bytes) could not be downloaded",
        f"http://127.0.0.1:9/clip/models/{sha256(published)}/RN50.pt",
        "http://127.0.0.1:9/copy/RN50.pt",
        sha256(published),
        str(home / ".cache" / "clipiqa_plus" / "RN50.pt"),
        "or give the path of the file in place of the name RN50.",
    ]:
        assert fact in message
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_mirrors_and_sha256_come_from_openai_clip(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class AskedError(Exception):
        pass

    def ask(urls: list[str], sha256: str, destination: Path, **_: object) -> Path:
        raise AskedError(urls, sha256, destination)

    monkeypatch.setattr(module, "download", ask)
    with pytest.raises(AskedError) as caught:
        load_weights(name)
    urls, digest, destination = caught.value.args
    address = import_clip().clip._MODELS[name]
    assert urls[0] == address
    assert (
        urls[1] == f"https://openaipublic.blob.core.windows.net{address[address.index('/clip/') :]}"
    )
    assert len(urls) == (3 if name == "RN50" else 2)
    assert digest == address.split("/")[-2]
    assert len(bytes.fromhex(digest)) == 32
    assert destination.name == address.split("/")[-1]


def test_file_of_a_published_clip_carries_its_name(published: Path, tmp_path: Path) -> None:
    loaded = load_weights(published)
    assert loaded.name == "RN50"
    assert list(loaded.recorded.values()) == [OPENAI.describe()]
    (tmp_path / "RN50.pt").write_bytes(b"")
    save_plain(random_clip(RESNET), tmp_path / "RN50.pt")
    assert load_weights(tmp_path / "RN50.pt").name == "RN50.pt"  # the content decides


def test_the_mirror_of_timm_is_the_last_resort(
    published: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "timm.safetensors"
    save_safetensors(random_clip(RESNET, seed=4), other)
    pinned = module._Mirror("timm/resnet50_clip.openai", "revision", sha256(other))
    monkeypatch.setattr(module, "_MIRRORS", {"RN50": pinned})
    with serve(other.read_bytes()) as mirror:
        address = mirror.url("good", "{repository}/{revision}/open_clip_model.safetensors")
        monkeypatch.setattr(module, "_HUB", address)
        loaded = load_weights("RN50")
        again = load_weights("RN50")  # from the cache
        assert len(mirror.requests) == 1
    assert (loaded.name, loaded.sha256) == ("RN50", sha256(other))
    assert again.path == loaded.path == home / ".cache/clipiqa_plus/RN50.timm.safetensors"
    assert list(loaded.recorded.values()) == [OPENAI.describe()]
    assert load_weights(other).name == "RN50"  # by its pinned hash
    loaded.path.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"(?s)RN50\.pt.*Nor from its mirror.*timm/resnet50"
    ):
        load_weights("RN50")


def test_pinned_mirrors_are_whole_hashes_of_pinned_revisions() -> None:
    assert set(module._MIRRORS) <= set(ARCHITECTURES)
    for mirror in module._MIRRORS.values():
        assert len(bytes.fromhex(mirror.sha256)) == 32
        assert len(bytes.fromhex(mirror.revision)) == 20
    assert len({mirror.sha256 for mirror in module._MIRRORS.values()}) == len(module._MIRRORS)


def test_qualiclips_weights_are_known_by_their_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fine_tuned.pt"
    save_plain(random_clip(RESNET, seed=5), path)
    monkeypatch.setitem(module._FINE_TUNED, sha256(path), "a fine-tuned RN50")
    assert load_weights(path).recorded == {
        "its SHA-256, that of a fine-tuned RN50": OPENAI.describe()
    }
