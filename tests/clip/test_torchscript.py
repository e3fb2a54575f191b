"""TorchScript archives: the state dict that torch reads, and nothing of them is ever run."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from clipiqa_plus.clip.torchscript import read_torchscript
from clipiqa_plus.clip.weights import load_weights, random_clip
from tests.support.weight_files import RESNET, save_jit

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")


class Part(nn.Module):
    """A part of every kind of attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4).half().t())  # not contiguous
        self.register_buffer("count", torch.tensor(7))
        self.register_buffer("nothing", torch.zeros(0, 3, dtype=torch.float64))
        self.register_buffer("flags", torch.tensor([True, False]))
        self.sizes = [1, 2]
        self.names = ["a"]
        self.rates = [0.5]
        self.pairs = {"a": 1.5}
        self.note: str | None = None

    def forward(self, x: Tensor) -> Tensor:
        scale = self.sizes[0] * self.rates[0] * self.pairs["a"] * len(self.names)
        return x if self.note is not None else x @ self.weight.float() * scale + self.count


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(Part(), nn.Linear(3, 4, dtype=torch.bfloat16), Part())
        self.attn_mask = torch.ones(2)  # a plain attribute: state_dict has none

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[0](x) * self.attn_mask[0]


def test_the_state_dict_is_the_one_that_torch_reads(tmp_path: Path) -> None:
    path = tmp_path / "whole.pt"
    torch.jit.script(Whole()).save(path)
    expected = torch.jit.load(path).state_dict()
    found = read_torchscript(path)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


class Trap(nn.Module):
    """Loading it by torch writes a file."""

    def __init__(self) -> None:
        super().__init__()
        self.value = torch.ones(1)

    def forward(self, x: Tensor) -> Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool]:
        return self.value, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]) -> None:
        torch.save(state[0], "trapped")
        self.value = state[0]
        self.training = state[1]


def test_code_of_an_archive_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.jit.script(Trap()).save("evil.pt")
    torch.jit.load("evil.pt")
    assert Path("trapped").exists()  # else the trap is none
    Path("trapped").unlink()
    with pytest.raises(ValueError, match=r"evil\.pt .*are not loaded.*save only its state dict"):
        load_weights("evil.pt")
    assert not Path("trapped").exists()


def archive(path: Path, pickled: bytes, **records: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", pickled)
        file.writestr("a/constants.pkl", pickle.dumps(()))
        for name, data in records.items():
            file.writestr(f"a/data/{name.removeprefix('r')}", data)
    return path


def tensor(size: str, stride: str, offset: str = "K\x00") -> bytes:
    """A pickle of a module whose attribute `w` is a tensor of the eight bytes of record 0."""
    texts = (f"X{chr(len(text))}\x00\x00\x00{text}" for text in ("storage", "0", "cpu"))
    storage = "({}ctorch\nFloatStorage\n{}{}K\x02tQ".format(*texts)
    attribute = f"ctorch._utils\n_rebuild_tensor_v2\n({storage}{offset}({size}t({stride}t\x89NtR"
    return f"\x80\x02c__torch__.a\nM\n)\x81}}(X\x01\x00\x00\x00w{attribute}ub.".encode("latin-1")


def test_a_tensor_by_hand(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", tensor("K\x02", "K\x01"), r0=struct.pack("<2f", 1, 2))
    assert read_torchscript(path)["w"].tolist() == [1, 2]


class Call:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path("trapped").mkdir, ()  # type: ignore[return-value]


HUGE = "J\xff\xff\xff\x7f"  # 2^31 - 1
HOSTILE: dict[str, bytes] = {
    "a call": pickle.dumps(Call(), 2),
    "a call by a newer protocol": pickle.dumps(Call(), 4),
    "a stride of 0": tensor(HUGE, "K\x00"),
    "more than the data": tensor("K\x03", "K\x01"),
    "an offset beyond the data": tensor("K\x02", "K\x01", "K\x01"),
    "a negative offset": tensor("K\x02", "K\x01", "J\xff\xff\xff\xff"),
    "a negative size": tensor("J\xff\xff\xff\xff", "K\x01"),
    "a size that is no number": tensor("N", "K\x01"),
    "another type": tensor("K\x02", "K\x01").replace(b"FloatStorage", b"load\n...."),
    "a state that is no mapping": b"\x80\x02c__torch__.a\nM\n)\x81K\x01b.",
    "no module": b"\x80\x02K\x01.",
    "an empty stack": b"\x80\x02t.",
    "a place beyond the memo": b"\x80\x02h\x01.",
    "a memo of 32 GB": b"\x80\x02Nr\xff\xff\xff\xff.",
    "bytes of 2^40": b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b".",
    "the end before its time": b"\x80\x02}",
    "nothing": b"",
}


@pytest.mark.parametrize("pickled", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_pickle_of_tensors_is_one_error(
    pickled: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = archive(tmp_path / "a.pt", pickled, r0=struct.pack("<2f", 1, 2))
    with pytest.raises(ValueError, match=r"a\.pt is damaged") as caught:
        load_weights(path)
    assert "\n" not in str(caught.value)
    assert not Path("trapped").exists()


def test_a_module_that_holds_itself_is_read_once(tmp_path: Path) -> None:
    looped = b"\x80\x02c__torch__.a\nM\n)\x81q\x00}(X\x01\x00\x00\x00ah\x00ub."
    assert read_torchscript(archive(tmp_path / "a.pt", looped)) == {}


def test_a_compressed_record_could_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save_jit(random_clip(RESNET), path)
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "b.pt", "w") as copy:
        for record in whole.infolist():
            kind = zipfile.ZIP_DEFLATED if "/data/" in record.filename else zipfile.ZIP_STORED
            copy.writestr(record.filename, whole.read(record), kind)
    with pytest.raises(ValueError, match=r"b\.pt is damaged .*is compressed"):
        load_weights(tmp_path / "b.pt")
