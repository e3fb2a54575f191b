"""Every mode of file becomes RGB by the documented rule, or is refused by name."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

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


def test_a_look_decodes_a_jpeg_at_a_fraction_of_its_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    coarse.resize((640, 480), Image.Resampling.BICUBIC).save(path, quality=95, exif=exif)
    whole, quick = read_rgb(path), read_rgb(path, least=64)
    assert (whole.shape, quick.shape) == ((640, 480, 3), (640 // 4, 480 // 4, 3))
    small = [
        np.asarray(Image.fromarray(x).convert("L").resize((32, 32), Image.Resampling.BOX), float)
        for x in (whole, quick)
    ]
    assert np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1] > 0.999  # rounding of pixels
    assert read_rgb(path, least=1000).shape == whole.shape


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


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tiff"])
def test_of_an_animation_the_first_picture_is_taken(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    path = tmp_path / f"a{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    with Image.open(path) as image:
        assert image.n_frames == 3  # type: ignore[attr-defined]
    assert np.array_equal(read_rgb(path), np.full((6, 8, 3), (255, 0, 0), np.uint8))


def test_of_sixteen_bit_colours_the_upper_byte_is_taken(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    pixels = struct.pack(">3H", 0x12FF, 0x8000, 0xFE01)
    header = struct.pack(">2I5B", 1, 1, 16, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + pixels))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data + chunk(b"IEND", b""))
    assert read_rgb(tmp_path / "a.png").tolist() == [[[0x12, 0x80, 0xFE]]]


def test_a_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"
    Image.new("RGB", (4, 4)).save(path)
    content = bytearray(path.read_bytes())
    content[18:26] = struct.pack("<2i", 2**16, 2**15)  # 2^31 pixels
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.bmp: not a readable image .*2147483648 pixels"):
        read_rgb(path)


def test_text_that_unpacks_to_fill_the_memory(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("note", "x" * 10**7, zip=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    with pytest.raises(ValueError, match=r"a\.png: not a readable image .*Decompressed (?i:data)"):
        read_rgb(tmp_path / "a.png")


def test_floating_point_with_nan_is_refused_by_name(tmp_path: Path) -> None:
    pixels = np.array([[np.nan, np.inf], [0, 1]], np.float32)
    Image.fromarray(pixels).save(tmp_path / "a.tiff")
    with pytest.raises(ValueError, match=r"a\.tiff: .*floating-point image of unknown range"):
        read_rgb(tmp_path / "a.tiff")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: not a readable image \(a folder, pipe"):
        read_rgb(tmp_path / "a.png")
    with pytest.raises(ValueError, match="a folder, pipe"):
        read_rgb(tmp_path)
