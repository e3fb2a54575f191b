"""Every mode of file becomes RGB by the documented rule, or is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipiqa_plus.data.images import read_rgb

COLOURS = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [128, 128, 128], [255, 255, 255]]],
    dtype=np.uint8,
)


def test_rgb_png_is_read_exactly(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    got = read_rgb(tmp_path / "a.png")
    assert got.dtype == np.uint8
    assert np.array_equal(got, COLOURS)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_is_copied_to_three_channels(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(COLOURS).convert(mode)
    image.save(tmp_path / "a.png")
    expected = np.array(image).astype(np.uint8) * (255 if mode == "1" else 1)
    assert np.array_equal(read_rgb(tmp_path / "a.png"), np.stack([expected] * 3, axis=2))


def test_transparency_is_composited_over_white(tmp_path: Path) -> None:
    rgba = np.dstack([COLOURS, np.full((2, 3), 255, np.uint8)])
    rgba[0, 0, 3] = 0
    rgba[0, 1, 3] = 128
    Image.fromarray(rgba).save(tmp_path / "a.png")
    got = read_rgb(tmp_path / "a.png")
    assert got[0, 0].tolist() == [255, 255, 255]
    half = [round(255 * (1 - 128 / 255)), 255, round(255 * (1 - 128 / 255))]
    assert np.abs(got[0, 1].astype(int) - half).max() <= 1  # Pillow rounds its own way
    assert np.array_equal(got[1], COLOURS[1])


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=0)
    assert read_rgb(tmp_path / "a.png").tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32768, 65535, 128, 129]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    got = read_rgb(tmp_path / "a.png")[..., 0]
    assert got.tolist() == [[round(v * 255 / 65535) for v in values[0].tolist()]]


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    red = read_rgb(tmp_path / "a.jpg")[0, 0].astype(int)
    assert np.abs(red - [255, 0, 0]).max() <= 3  # JPEG rounding


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the picture must be turned by 90 degrees clockwise
    Image.fromarray(COLOURS).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_rgb(tmp_path / "a.png"), np.rot90(COLOURS, -1))


def test_floating_point_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="floating-point image of unknown range"):
        read_rgb(tmp_path / "a.tif")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"b\.png: no such image"):
        read_rgb(tmp_path / "b.png")


@pytest.mark.parametrize("damage", ["empty", "truncated", "text"])
def test_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "truncated": whole[:900], "text": b"<html>"}[damage])
    with pytest.raises(ValueError, match=r"a\.jpg: not a readable image .* replace the file"):
        read_rgb(path)
