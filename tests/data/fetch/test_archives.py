import io
import tarfile
from pathlib import Path

import pytest

from clipiqa_plus.data.fetch.archives import is_archive, unpack, unpacked_size
from tests.support.benchmark_files import zipped

FILES = {"images/a.png": b"a" * 1000, "dmos.csv": b"x,y\n"}


def tarred(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(("make", "name"), [(zipped, "a.zip"), (tarred, "a.tgz")])
def test_files_are_unpacked(make, name: str, tmp_path: Path) -> None:
    path = make(tmp_path / name, FILES)
    unpack(path, tmp_path / "out")
    for file, content in FILES.items():
        assert (tmp_path / "out" / file).read_bytes() == content


def test_size_on_disk_is_that_of_the_files(tmp_path: Path) -> None:
    assert unpacked_size(zipped(tmp_path / "a.zip", FILES)) == 1004


@pytest.mark.parametrize(("make", "name"), [(zipped, "a.zip"), (tarred, "a.tar.gz")])
def test_no_name_leads_out_of_the_folder(make, name: str, tmp_path: Path) -> None:
    path = make(tmp_path / name, {"../evil.txt": b"x"})
    with pytest.raises(ValueError, match=r"evil\.txt"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "evil.txt").exists()


def test_damage_is_an_error(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", FILES)
    content = bytearray(path.read_bytes())
    content[60] ^= 1  # inside the first picture: its CRC no longer fits
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.zip: damaged archive"):
        unpack(path, tmp_path / "out")
    cut = tmp_path / "b.tgz"
    cut.write_bytes(tarred(tmp_path / "c.tgz", {"a": b"a" * 10**5}).read_bytes()[:100])
    with pytest.raises(ValueError, match=r"b\.tgz: damaged archive"):
        unpack(cut, tmp_path / "out")


def test_a_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="needs unrar or bsdtar"):
        unpack(tmp_path / "tid2013.rar", tmp_path / "out")


def test_kinds() -> None:
    names = ("a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.7z", "a.rar", "a.csv", "a.xlsx")
    assert [is_archive(Path(name)) for name in names] == [True] * 6 + [False] * 2
