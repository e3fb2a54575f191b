"""Procedural pictures and their degradations: what the demo backbone is trained on.

No photograph is used. The pictures imitate statistics that natural images share: dead leaves
(occlusion, sharp edges at every scale), 1/f textures, smooth shading, and simple scenes of sky,
hills, buildings, trees and lettering. They are rendered at twice their size and averaged down, as
a camera's sensor does, so that edges are sharp but not aliased.

`degrade` draws up to three degradations at random strengths and returns how an observer would
rate the result along the axes of `AXES`, each from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

# uint8 [H, W, 3], RGB. OpenCV's type stubs do not carry dtypes through, hence Any.
Picture = NDArray[Any]

PICTURE_SIZE = 320
AXES = (
    "quality",
    "brightness",
    "noisiness",
    "colorfulness",
    "sharpness",
    "contrast",
    "compression",
    "complexity",
)


# --- pictures ---------------------------------------------------------------------------------


def fractal(rng: Generator, size: int, slope: float) -> NDArray[np.float32]:
    """A texture [size, size] of zero mean and unit deviation, amplitude spectrum 1/f^slope."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = np.inf
    phase = rng.uniform(0, 2 * np.pi, frequency.shape)
    texture = np.fft.irfft2(frequency**-slope * np.exp(1j * phase), s=(size, size))
    return (texture / texture.std()).astype(np.float32)


def palette(rng: Generator, count: int) -> NDArray[np.float32]:
    """`count` RGB colours [count, 3] in 0..1 around a few hues, mostly of moderate saturation."""
    hues = rng.uniform(0, 180, rng.integers(2, 5))
    hue = (rng.choice(hues, count) + rng.normal(0, 8, count)) % 180
    saturation = np.clip(rng.beta(1.3, 2.6) + rng.normal(0, 0.15, count), 0, 1) * 255
    value = np.clip(rng.beta(1.3, 1.2, count), 0.02, 1) * 255
    hsv = np.stack([hue, saturation, value], -1).astype(np.uint8)[None]
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0].astype(np.float32) / 255


def paint(rng: Generator, regions: NDArray[np.int32], colours: NDArray) -> NDArray[np.float32]:
    """Fill every region with its colour, a texture of its own strength, and a shading ramp."""
    size, count = regions.shape[0], len(colours)
    ys, xs = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    texture = np.stack([fractal(rng, size, rng.uniform(0.4, 1.6)) for _ in range(2)])
    kind = rng.integers(0, 2, count)[regions]
    grain = np.where(kind == 0, texture[0], texture[1])
    amount = (rng.beta(1, 3, count) * 0.3).astype(np.float32)[regions]
    slope_x, slope_y = (rng.normal(0, 0.25, (2, count))).astype(np.float32)
    light = 1 + slope_x[regions] * xs + slope_y[regions] * ys + amount * grain
    return colours[regions] * light[..., None]


def leaves(rng: Generator, size: int) -> tuple[NDArray[np.int32], int]:
    """Region map of occluding ellipses, polygons and rectangles with power-law radii."""
    count = int(2 ** rng.uniform(3, 9.5))
    regions = np.zeros((size, size), np.int32)
    smallest = size * rng.choice([0.008, 0.02, 0.05])
    # Sizes with density r^-3 make the picture scale-invariant (Lee, Mumford & Huang, 2001).
    radii = np.minimum(smallest / np.sqrt(rng.uniform(0.0, 1, count) + 1e-4), size * 0.4)
    form = rng.integers(0, 4)
    for index, radius in enumerate(np.sort(radii)[::-1] if rng.random() < 0.5 else radii):
        centre = rng.uniform(0, size, 2)
        angle = rng.uniform(0, 180)
        axes = (int(radius) + 1, int(radius * rng.uniform(0.3, 1)) + 1)
        if form == 0 or (form == 3 and rng.random() < 0.5):
            cv2.ellipse(regions, centre.astype(int).tolist(), axes, angle, 0, 360, index + 1, -1)
        elif form == 1:
            box = cv2.boxPoints((centre.tolist(), (2.0 * axes[0], 2.0 * axes[1]), angle))
            cv2.fillPoly(regions, [box.astype(np.int32)], index + 1)
        else:
            turns = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
            corners = centre + radius * np.stack([np.cos(turns), np.sin(turns)], -1)
            cv2.fillPoly(regions, [corners.astype(np.int32)], index + 1)
    return regions, count + 1


def draw_leaves(rng: Generator, size: int) -> NDArray[np.float32]:
    """Dead leaves."""
    regions, count = leaves(rng, size)
    return paint(rng, regions, palette(rng, count))


def draw_texture(rng: Generator, size: int) -> NDArray[np.float32]:
    """Two colours mixed by a 1/f texture: stone, cloth, clouds, foliage seen from afar."""
    first, second, third = palette(rng, 3)
    mix = 0.5 + 0.3 * fractal(rng, size, rng.uniform(0.6, 1.7))[..., None]
    fine = 0.5 + 0.25 * fractal(rng, size, rng.uniform(0.3, 1.2))[..., None]
    return first + (second - first) * mix + 0.4 * (third - first) * fine


def draw_scene(rng: Generator, size: int) -> NDArray[np.float32]:
    """Sky with clouds, ridges of hills, buildings, trees and lettering."""
    colours = palette(rng, 40)
    ramp = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    sky = np.array([0.45, 0.65, 0.9], np.float32) * rng.uniform(0.5, 1.1)
    sky = sky * (1 - ramp) + np.array([0.9, 0.88, 0.85], np.float32) * ramp
    cloud = np.clip(fractal(rng, size, rng.uniform(1.1, 1.8)) - rng.uniform(-0.5, 1.5), 0, 1)
    sky = sky + (0.95 - sky) * cloud[..., None] * rng.uniform(0, 0.9)
    regions = np.zeros((size, size), np.int32)
    xs = np.arange(size)
    horizon = rng.uniform(0.25, 0.7)
    for layer in range(1, rng.integers(2, 6)):
        line = fractal(rng, size, 1.5)[0]
        height = (horizon + 0.12 * (layer - 1)) * size + line * rng.uniform(0.01, 0.06) * size
        outline = np.stack([xs, height], -1).astype(np.int32)
        corners = np.array([[size, size], [0, size]], np.int32)
        cv2.fillPoly(regions, [np.concatenate([outline, corners])], layer)
    for _ in range(rng.integers(0, 7)):
        x, width = rng.integers(0, size).item(), rng.integers(size // 20, size // 4).item()
        top = int(rng.uniform(horizon - 0.2, horizon + 0.3) * size)
        bottom = int(min(size, top + rng.uniform(0.1, 0.5) * size))
        cv2.rectangle(regions, (x, top), (x + width, bottom), int(rng.integers(6, 20)), -1)
        pane = int(rng.integers(size // 60, size // 20))
        for wy in range(top + pane, bottom - pane, 2 * pane):
            for wx in range(x + pane, x + width - pane, 2 * pane):
                cv2.rectangle(regions, (wx, wy), (wx + pane, wy + pane), 20, -1)
    for _ in range(rng.integers(0, 6)):
        x, y = rng.integers(0, size).item(), int(rng.uniform(horizon, 1) * size)
        reach = int(rng.uniform(0.05, 0.25) * size)
        cv2.line(regions, (x, y), (x, y - reach), 21, max(2, reach // 10))
        for _ in range(rng.integers(5, 60)):
            spot = (x + int(rng.normal(0, reach / 3)), y - reach + int(rng.normal(0, reach / 3)))
            cv2.circle(regions, spot, max(2, reach // 8), int(rng.integers(22, 30)), -1)
    for _ in range(rng.integers(0, 4)):
        text = "".join(chr(c) for c in rng.integers(48, 123, rng.integers(2, 9)))
        where = rng.integers(0, size, 2).tolist()
        ink = np.zeros((size, size), np.uint8)
        cv2.putText(ink, text, where, 0, rng.uniform(0.6, 3), 255, int(rng.integers(1, 6)))
        regions[ink > 127] = 31
    painted = paint(rng, regions, colours)
    return np.where((regions == 0)[..., None], sky, painted)


def draw_smooth(rng: Generator, size: int) -> NDArray[np.float32]:
    """Shading with a few large, evenly lit shapes: walls, skin, studio backgrounds."""
    regions = np.zeros((size, size), np.int32)
    for index in range(rng.integers(0, 7)):
        centre = rng.integers(0, size, 2).tolist()
        axes = rng.integers(size // 12, size // 3, 2).tolist()
        cv2.ellipse(regions, centre, axes, rng.uniform(0, 180), 0, 360, index + 1, -1)
    ys, xs = np.mgrid[0:size, 0:size].astype(np.float32) / size
    turn = rng.uniform(0, 2 * np.pi)
    ramp = 1 + rng.uniform(0, 0.9) * (np.cos(turn) * (xs - 0.5) + np.sin(turn) * (ys - 0.5))
    shade = fractal(rng, size, 1.6) * rng.uniform(0, 0.08)
    fine = fractal(rng, size, 0.5) * rng.choice([0, 0.02, 0.05])
    return palette(rng, 8)[regions] * (ramp + shade + fine)[..., None]


def draw_focus(rng: Generator, size: int) -> NDArray[Any]:
    """A subject in focus before a background that is not: not a fault of a photograph."""
    back: NDArray[Any] = draw_leaves(rng, size) if rng.random() < 0.5 else draw_scene(rng, size)
    front = draw_leaves(rng, size) if rng.random() < 0.7 else draw_texture(rng, size)
    back = cv2.GaussianBlur(back, (0, 0), float(rng.uniform(4, 16)))
    mask = np.zeros((size, size), np.float32)
    for _ in range(rng.integers(1, 5)):
        centre = rng.integers(size // 5, size * 4 // 5, 2).tolist()
        axes = rng.integers(size // 8, size // 3, 2).tolist()
        cv2.ellipse(mask, centre, axes, rng.uniform(0, 180), 0, 360, 1.0, -1)
    return back + (front - back) * mask[..., None]


def picture(seed: tuple[int, ...]) -> Picture:
    """One clean RGB picture [PICTURE_SIZE, PICTURE_SIZE, 3]; the same for the same seed."""
    rng = np.random.default_rng(seed)
    drawings = (draw_leaves, draw_texture, draw_scene, draw_smooth, draw_focus)
    draw = drawings[rng.choice(5, p=[0.35, 0.1, 0.25, 0.1, 0.2])]
    image: NDArray[Any] = np.clip(draw(rng, 2 * PICTURE_SIZE), 0, 1.2)
    image = cv2.resize(image, (PICTURE_SIZE, PICTURE_SIZE), interpolation=cv2.INTER_AREA)
    low, high = np.percentile(image, [1, 99])
    image = np.clip((image - low) / max(high - low, 0.25), 0, 1) ** rng.uniform(0.7, 1.4)
    if rng.random() < 0.1:
        image = np.repeat(image.mean(-1, keepdims=True), 3, -1)
    return np.round(image * 255).astype(np.uint8)


# --- degradations: strength 0 (hardly visible) to 1 (severe) -----------------------------------


def _clip(image: NDArray) -> Picture:
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def _blur(image: Picture, strength: float, rng: Generator) -> Picture:
    return cv2.GaussianBlur(image, (0, 0), 0.5 + 4.0 * strength**1.3)


def _kernel_blur(image: Picture, kernel: NDArray) -> Picture:
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)


def _defocus(image: Picture, strength: float, rng: Generator) -> Picture:
    radius = 1 + round(5 * strength)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return _kernel_blur(image, kernel.astype(np.float32))


def _motion(image: Picture, strength: float, rng: Generator) -> Picture:
    length = 3 + round(18 * strength)
    kernel = np.zeros((length, length), np.float32)
    turn, half = rng.uniform(0, np.pi), (length - 1) / 2
    step = half * np.array([np.cos(turn), np.sin(turn)])
    ends = [np.round(half + sign * step).astype(int).tolist() for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    return _kernel_blur(image, kernel)


def _noise(image: Picture, strength: float, rng: Generator) -> Picture:
    channels = 3 if rng.random() < 0.6 else 1
    grain = rng.standard_normal((*image.shape[:2], channels), np.float32)
    return _clip(image + grain * (4 + 46 * strength))


def _shot(image: Picture, strength: float, rng: Generator) -> Picture:
    photons = 120 * (0.03 ** (strength**0.7))
    grain = rng.standard_normal(image.shape, np.float32)
    return _clip(image + grain * np.sqrt(image / 255 / photons) * 255)


def _impulse(image: Picture, strength: float, rng: Generator) -> Picture:
    chance = rng.random(image.shape[:2], np.float32)[..., None]
    share = 0.002 + 0.06 * strength
    return np.where(chance < share / 2, 0, np.where(chance > 1 - share / 2, 255, image)).astype(
        "u1"
    )


def _jpeg(image: Picture, strength: float, rng: Generator) -> Picture:
    quality = round(4 + 56 * (1 - strength) ** 1.5)
    coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))


def _downscale(image: Picture, strength: float, rng: Generator) -> Picture:
    side = round(image.shape[0] / (1.3 + 4.7 * strength))
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    back = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC)[rng.integers(0, 3)]
    return cv2.resize(small, image.shape[:2], interpolation=back)


def _darken(image: Picture, strength: float, rng: Generator) -> Picture:
    if rng.random() < 0.5:
        return _clip(image * (0.9 - 0.75 * strength))
    return _clip(255 * (image / 255) ** (1.2 + 2.8 * strength))


def _brighten(image: Picture, strength: float, rng: Generator) -> Picture:
    if rng.random() < 0.5:
        return _clip(image * (1.15 + 1.6 * strength))
    return _clip(image + 20 + 120.0 * strength)


def _flatten(image: Picture, strength: float, rng: Generator) -> Picture:
    target = image.mean() if rng.random() < 0.6 else rng.uniform(60, 235)
    return _clip(target + (image - target) * (0.9 - 0.72 * strength))


def _fade(image: Picture, strength: float, rng: Generator) -> Picture:
    grey = image.mean(-1, keepdims=True)
    return _clip(grey + (image - grey) * (0.8 - 0.8 * strength))


def _cast(image: Picture, strength: float, rng: Generator) -> Picture:
    return _clip(image * (1 + rng.uniform(-0.6, 0.6, 3) * strength))


DEGRADATIONS: dict[str, tuple[Callable[[Picture, float, Generator], Picture], str]] = {
    "blur": (_blur, "sharpness"),
    "defocus": (_defocus, "sharpness"),
    "motion": (_motion, "sharpness"),
    "downscale": (_downscale, "sharpness"),
    "noise": (_noise, "noisiness"),
    "shot": (_shot, "noisiness"),
    "impulse": (_impulse, "noisiness"),
    "jpeg": (_jpeg, "compression"),
    "darken": (_darken, "brightness"),
    "brighten": (_brighten, "brightness"),
    "flatten": (_flatten, "contrast"),
    "fade": (_fade, "colorfulness"),
    "cast": (_cast, "quality"),
}
# The order in which a camera's chain would apply them: light, optics, sensor, file.
_ORDER = "darken brighten flatten fade cast blur defocus motion downscale noise shot impulse jpeg"


def _ramp(value: float, low: float, high: float) -> float:
    return float(np.clip((value - low) / (high - low), 0, 1))


def degrade(image: Picture, rng: Generator) -> tuple[Picture, NDArray[np.float32]]:
    """Apply none to three random degradations to a square picture.

    Returns:
        The degraded picture and its ratings [len(AXES)] in 0..1; 1 is the first word of an
        antonym pair (good, bright, clean, colorful, sharp, high contrast, uncompressed, complex).
        Every degradation lowers "quality" alike, whatever its kind.
    """
    # Detail before any degradation, as edges per pixel: what "complex" means here.
    edges = cv2.Canny(image, 60, 140)
    count = rng.choice(4, p=[0.15, 0.45, 0.28, 0.12])
    names = list(DEGRADATIONS)
    # Block artefacts are the hardest to see: shown three times as often as the others.
    share = np.array([3.0 if name == "jpeg" else 1.0 for name in names])
    chosen = set(rng.choice(names, count, replace=False, p=share / share.sum()).tolist())
    rating = dict.fromkeys(AXES, 1.0)
    for name in _ORDER.split():
        if name in chosen:
            apply, axis = DEGRADATIONS[name]
            strength = float(rng.uniform(0.05, 1))
            image = apply(image, strength, rng)
            rating["quality"] *= 1 - 0.85 * strength
            if axis in ("sharpness", "noisiness", "compression"):
                rating[axis] = min(rating[axis], 1 - strength)
    # Brightness, contrast and colour are properties of the picture, degraded or not: measured.
    light = image.astype(np.float32)
    red_green = light[..., 0] - light[..., 1]
    yellow_blue = light[..., :2].mean(-1) - light[..., 2]
    colour = np.hypot(red_green.std(), yellow_blue.std())
    # Hasler & Suesstrunk (2003), eq. 3; about 0 for grey and 80 for vivid pictures.
    colour += 0.3 * np.hypot(red_green.mean(), yellow_blue.mean())
    rating["brightness"] = _ramp(light.mean(), 40, 210)
    rating["contrast"] = _ramp(light.mean(-1).std(), 10, 75)
    rating["colorfulness"] = _ramp(colour, 5, 80)
    rating["complexity"] = _ramp(edges.mean() / 255, 0.0, 0.2)
    return image, np.array([rating[axis] for axis in AXES], np.float32)
