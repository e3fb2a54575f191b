"""Files of published methods: prompts and weights at public addresses, checked by their SHA-256."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from clipiqa_plus.data.fetch.download import download, sha256_of

_HUGGING_FACE = "https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main/"
_RELEASE = "https://github.com/chaofengc/IQA-PyTorch/releases/download/v0.1-weights/"


@dataclass(frozen=True)
class PublishedFile:
    """A file of a published method. It is never part of this package.

    Attributes:
        name: File name.
        sha256: SHA-256 of the file in hex; nothing else passes for it.
        size: Bytes.
        addresses: Public addresses, tried in this order.
        licence: Licence under which its authors publish it.
        authors: Who published it.
    """

    name: str
    sha256: str
    size: int
    addresses: tuple[str, ...]
    licence: str
    authors: str

    @property
    def path(self) -> Path:
        """Where it is kept: ``presets/NAME`` in ``$CLIPIQA_CACHE``, else ~/.cache/clipiqa_plus."""
        cache = os.environ.get("CLIPIQA_CACHE") or "~/.cache/clipiqa_plus"
        return Path(cache).expanduser() / "presets" / self.name

    def find(self) -> Path | None:
        """Return the file if it is at hand, in the cache or in pyiqa's own; None otherwise."""
        for path in (self.path, _pyiqa_cache() / self.name):
            if path.is_file() and sha256_of(path) == self.sha256:
                return path
        return None

    def fetch(self) -> Path:
        """Return the file, downloaded if it is not at hand; show its licence the first time.

        Raises:
            FileNotFoundError: If no address has it. The message names the file, its addresses, its
                SHA-256 and the place to put it.
            PermissionError: If the cache cannot be written.
        """
        remedy = f"Its licence: {self.licence} ({self.authors})."
        path = self.find() or download(
            self.addresses, self.sha256, self.path, size=self.size, remedy=remedy
        )
        self._show_licence()
        return path

    def _show_licence(self) -> None:
        """Say once under which terms the file may be used; a note beside it remembers that."""
        note = self.path.with_name(f"{self.name}.licence.txt")
        if note.exists():
            return
        text = f"{self.name}: {self.licence}; by {self.authors}; from {self.addresses[0]}"
        print(f"clipiqa_plus: {text}", file=sys.stderr)
        with suppress(OSError):  # a read-only cache: it is said again
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(f"{text}\n", encoding="utf-8")

    def describe(self) -> dict[str, str]:
        """Return what outputs record of the file."""
        return {"file": self.name, "sha256": self.sha256, "licence": self.licence}


def _pyiqa_cache() -> Path:
    torch_home = os.environ.get("TORCH_HOME") or "~/.cache/torch"
    return Path(torch_home).expanduser() / "hub" / "pyiqa"


def _of_pyiqa(
    name: str, sha256: str, size: int, licence: str, authors: str, *more: str
) -> PublishedFile:
    """A file of pyiqa's; eight hex digits in its name are the beginning of its SHA-256."""
    addresses = (f"{_HUGGING_FACE}{quote(name)}", *more)
    return PublishedFile(name, sha256, size, addresses, licence, authors)


_S_LAB = "S-Lab License 1.0, non-commercial use"
_PYIQA = "CC BY-NC-SA 4.0, non-commercial use"
_QUALICLIP = "CC BY-NC 4.0, non-commercial use"
_AGNOLUCCI = "L. Agnolucci et al., miccunifi/QualiCLIP"

CLIPIQA_PLUS = _of_pyiqa(
    "CLIP-IQA+_learned_prompts-603f3273.pth",
    "603f3273b6e8a75b309297c85781170c067c6b474f66818c2f253a46a6534447",
    17_144,
    _S_LAB,
    "J. Wang et al., IceClear/CLIP-IQA, as pyiqa distributes them",
    f"{_RELEASE}CLIP-IQA+_learned_prompts-603f3273.pth",
)
"""The context tokens of the official checkpoint."""

CLIPIQA_PLUS_RN50_512 = _of_pyiqa(
    "CLIPIQA+_RN50_512-89f5d940.pth",
    "89f5d940c543b5d7010dec4f66deebf0768c2fd4ef5205ce5c9d0222ea63f5bc",
    316_707,
    _PYIQA,
    "C. Chen, chaofengc/IQA-PyTorch",
    f"{_RELEASE}CLIPIQA+_RN50_512-89f5d940.pth",
)

CLIPIQA_PLUS_VITL14_512 = _of_pyiqa(
    "CLIPIQA+_ViTL14_512-e66488f2.pth",
    "e66488f27a5d7a86abe8fd9c168d70eef0a7ae3ebe1919e5c19efa8e8dfe495d",
    474_403,
    _PYIQA,
    "C. Chen, chaofengc/IQA-PyTorch",
    f"{_RELEASE}CLIPIQA+_ViTL14_512-e66488f2.pth",
)

QUALICLIP = _of_pyiqa(
    "QualiCLIP.pth",
    "5818e085ac4b3d297cdd183fd2b1d8a4ddb2242e5bb7fd24b2cd66d7d132bc7e",
    408_494_502,
    _QUALICLIP,
    _AGNOLUCCI,
    "https://github.com/miccunifi/QualiCLIP/releases/download/weights/qualiclip.pth",
)
"""CLIP's RN50 with an image tower trained for quality, and the text features of its prompts."""

QUALICLIP_PLUS = _of_pyiqa(
    "QualiCLIP+_koniq.pth",
    "450292893e96f38dca09d51ca2e0e1cd7cb1c2c55d444cfe2ac8ea2ab5d1d894",
    2_209_627,
    _QUALICLIP,
    _AGNOLUCCI,
)
