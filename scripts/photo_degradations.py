"""Degrade photographs by known kinds and strengths, and measure what they look like.

A recipe is a list of degradations in the order of a camera's chain: light, optics, sensor,
processing, file. The same recipe does the same to every photograph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from demo_pictures import AXES, DEGRADATIONS, Picture
from numpy.random import Generator
from numpy.typing import NDArray


def _rounded(image: NDArray[Any]) -> Picture:
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def _low_light(image: Picture, strength: float, rng: Generator) -> Picture:
    """Few photons, the signal amplified again in part: dark, noisy, pale."""
    linear = (image.astype(np.float32) / 255) ** 2.2
    exposure = 2.0 ** (-1 - 4 * strength)
    photons = 900 * exposure
    seen = linear * exposure + rng.standard_normal(image.shape, np.float32) * np.sqrt(
        linear * exposure / photons + (0.002 + 0.004 * strength) ** 2
    )
    gain = exposure ** -rng.uniform(0.3, 0.95)
    return _rounded(np.clip(seen * gain, 0, 1) ** (1 / 2.2) * 255)


def _overexpose(image: Picture, strength: float, rng: Generator) -> Picture:
    """Linear light beyond the sensor's range."""
    linear = (image.astype(np.float32) / 255) ** 2.2 * 2.0 ** (0.3 + 2.2 * strength)
    return _rounded(np.clip(linear, 0, 1) ** (1 / 2.2) * 255)


def _haze(image: Picture, strength: float, rng: Generator) -> Picture:
    """A veil of light: fog, flare, a dirty lens."""
    veil = rng.uniform(140, 250) * np.array([1, 1, 1]) + rng.normal(0, 8, 3)
    share = 0.1 + 0.7 * strength
    return _rounded(image * (1 - share) + veil * share)


def _smear(image: Picture, strength: float, rng: Generator) -> Picture:
    """Noise removed too hard: detail becomes patches."""
    if rng.random() < 0.5:
        return np.asarray(cv2.medianBlur(image, 3 + 2 * round(3 * strength)))
    grain = rng.standard_normal(image.shape, np.float32) * (5 + 20 * strength)
    return np.asarray(cv2.bilateralFilter(_rounded(image + grain), 9, 40 + 120 * strength, 5))


def _oversharpen(image: Picture, strength: float, rng: Generator) -> Picture:
    soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 2.5)).astype(np.float32)
    return _rounded(image + (0.6 + 4 * strength) * (image - soft))


def _posterise(image: Picture, strength: float, rng: Generator) -> Picture:
    step = 255 / (4 + 28 * (1 - strength) ** 2)
    return _rounded(np.round(image / step) * step)


def _speckle(image: Picture, strength: float, rng: Generator) -> Picture:
    """Coarse, coloured noise as of a small sensor."""
    side = rng.uniform(0.4, 0.8)
    size = np.maximum(8, np.round(np.array(image.shape[:2]) * side)).astype(int)
    grain: NDArray[Any] = rng.standard_normal((*size, 3), np.float32)
    grain = cv2.resize(grain, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return _rounded(image + grain * (6 + 44 * strength))


Degradation = Callable[[Picture, float, Generator], Picture]

# Kind -> what it does, the axis it lowers, how much of the quality its full strength takes, and
# words for it.
KINDS: dict[str, tuple[Degradation, str, float, list[str]]] = {
    "darken": (DEGRADATIONS["darken"][0], "brightness", 0.75, ["underexposed", "too dark"]),
    "brighten": (DEGRADATIONS["brighten"][0], "brightness", 0.75, ["washed out", "too bright"]),
    "overexpose": (_overexpose, "brightness", 0.8, ["overexposed", "blown out"]),
    "low_light": (_low_light, "noisiness", 0.9, ["low light", "night"]),
    "flatten": (DEGRADATIONS["flatten"][0], "contrast", 0.7, ["flat", "low contrast"]),
    "haze": (_haze, "contrast", 0.7, ["foggy", "hazy", "misty"]),
    "fade": (DEGRADATIONS["fade"][0], "colorfulness", 0.45, ["faded", "pale"]),
    "cast": (DEGRADATIONS["cast"][0], "quality", 0.55, ["tinted", "wrong colored"]),
    "blur": (DEGRADATIONS["blur"][0], "sharpness", 0.95, ["blurred", "soft"]),
    "defocus": (DEGRADATIONS["defocus"][0], "sharpness", 0.95, ["out of focus", "defocused"]),
    "motion": (DEGRADATIONS["motion"][0], "sharpness", 0.95, ["motion blurred", "shaky"]),
    "downscale": (
        DEGRADATIONS["downscale"][0],
        "sharpness",
        0.9,
        ["low resolution", "pixelated", "upscaled"],
    ),
    "noise": (DEGRADATIONS["noise"][0], "noisiness", 0.9, ["noisy", "grainy"]),
    "shot": (DEGRADATIONS["shot"][0], "noisiness", 0.9, ["grainy", "high iso"]),
    "speckle": (_speckle, "noisiness", 0.9, ["speckled", "coarse grained"]),
    "impulse": (DEGRADATIONS["impulse"][0], "noisiness", 0.85, ["spotted", "salt and pepper"]),
    "smear": (_smear, "sharpness", 0.8, ["smeared", "over smoothed", "painted"]),
    "oversharpen": (_oversharpen, "quality", 0.6, ["oversharpened", "halo"]),
    "posterise": (_posterise, "quality", 0.6, ["banded", "posterised"]),
    "jpeg": (DEGRADATIONS["jpeg"][0], "compression", 0.9, ["jpeg", "blocky", "compressed"]),
}
NAMES = list(KINDS)
# Block artefacts are the hardest to see; blur, noise and low light are what amateurs' cameras do.
_SHARE = np.array(
    [
        {"jpeg": 4.0, "low_light": 2.0, "defocus": 1.5, "motion": 1.5, "downscale": 1.5}.get(
            name, 1.0
        )
        for name in NAMES
    ]
)


@dataclass(frozen=True)
class Step:
    """One degradation of a recipe; `seed` fixes what it draws."""

    kind: str
    strength: float
    seed: int


def draw_recipe(rng: Generator) -> list[Step]:
    """None to three degradations of random strengths, in the camera's order."""
    count = rng.choice(4, p=[0.1, 0.4, 0.3, 0.2])
    chosen = rng.choice(len(NAMES), count, replace=False, p=_SHARE / _SHARE.sum())
    return [
        Step(NAMES[kind], float(rng.uniform(0.05, 1)), int(rng.integers(2**32)))
        for kind in sorted(chosen)
    ]


def weakened(recipe: list[Step], share: float) -> list[Step]:
    """The same recipe at this share of its strengths; nothing at share 0."""
    return [replace(step, strength=step.strength * share) for step in recipe if share > 0]


def apply(image: Picture, recipe: list[Step]) -> Picture:
    """Degrade a square picture uint8 [S, S, 3]."""
    for step in recipe:
        rng = np.random.default_rng(step.seed)
        image = KINDS[step.kind][0](image, step.strength, rng)
    return np.ascontiguousarray(image)


def strengths(recipe: list[Step]) -> NDArray[np.float32]:
    """Strength of every kind, float32 [len(KINDS)]; 0 where it is not in the recipe."""
    vector = np.zeros(len(NAMES), np.float32)
    for step in recipe:
        vector[NAMES.index(step.kind)] = step.strength
    return vector


def _ramp(value: float, low: float, high: float) -> float:
    return float(np.clip((value - low) / (high - low), 0, 1))


def rate(clean: Picture, image: Picture, recipe: list[Step]) -> NDArray[np.float32]:
    """How an observer would rate a degraded picture: float32 [len(AXES)] in 0..1.

    Photographs differ before any degradation: how crisp the sharpest edges of the clean picture
    are is where its quality begins, and the recipe takes its part of that. Brightness, contrast,
    colourfulness and complexity are measured, degraded or not.
    """
    grey = cv2.cvtColor(clean, cv2.COLOR_RGB2GRAY).astype(np.float32)
    crispness = _ramp(_ranks(np.abs(cv2.Laplacian(grey, cv2.CV_32F)), 99)[0], 2.5, 5.8)
    rating = dict.fromkeys(AXES, 1.0)
    rating["sharpness"] = 0.2 + 0.8 * crispness
    rating["quality"] = 0.25 + 0.75 * crispness
    for step in recipe:
        _, axis, weight, _ = KINDS[step.kind]
        rating["quality"] *= 1 - weight * step.strength
        if axis in ("sharpness", "noisiness", "compression"):
            rating[axis] *= 1 - step.strength
    light = image.astype(np.float32)
    red_green = light[..., 0] - light[..., 1]
    yellow_blue = light[..., :2].mean(-1) - light[..., 2]
    # Hasler & Suesstrunk (2003), eq. 3; about 0 for grey and 80 for vivid pictures.
    colour = np.hypot(red_green.std(), yellow_blue.std())
    colour += 0.3 * np.hypot(red_green.mean(), yellow_blue.mean())
    rating["brightness"] = _ramp(light.mean(), 40, 210)
    rating["contrast"] = _ramp(light.mean(-1).std(), 10, 75)
    rating["colorfulness"] = _ramp(colour, 5, 80)
    rating["complexity"] = _ramp(cv2.Canny(clean, 60, 140).mean() / 255, 0.0, 0.2)
    return np.array([rating[axis] for axis in AXES], np.float32)


def _texture(grey: NDArray[Any]) -> list[float]:
    """Statistics of locally normalised luminance (Ruderman, 1994; Mittal et al., 2012)."""
    mean = cv2.GaussianBlur(grey, (7, 7), 7 / 6)
    deviation = np.sqrt(np.maximum(cv2.GaussianBlur(grey * grey, (7, 7), 7 / 6) - mean**2, 0))
    normal = (grey - mean) / (deviation + 1)
    power = float(np.square(normal).mean())
    found = [cv2.norm(normal, cv2.NORM_L1) / normal.size, power, float(normal.mean())]
    found.append(float(np.square(np.square(normal)).mean()) / (power**2 + 1e-4))
    for shifted in (
        normal[:, 1:] * normal[:, :-1],
        normal[1:] * normal[:-1],
        normal[1:, 1:] * normal[:-1, :-1],
        normal[1:, :-1] * normal[:-1, 1:],
    ):
        found += [float(shifted.mean()) / (power + 1e-3), float(np.abs(shifted).mean())]
    gradient = np.abs(grey[::2, 1:] - grey[::2, :-1])
    return found + _ranks(deviation, 5, 25, 50, 75, 95) + _ranks(gradient, 50, 90, 99)


def _ranks(values: NDArray[np.float32], *percents: int) -> list[float]:
    """Logarithms of percentiles, by a quarter of the values."""
    ordered = np.sort(values[::2, ::2], axis=None)
    return [float(np.log1p(ordered[(len(ordered) - 1) * p // 100])) for p in percents]


def measure(image: Picture) -> NDArray[np.float32]:
    """What a picture looks like, without a reference: float32 [78].

    Locally normalised luminance at two scales, steps at the borders of 8x8 blocks, noise, and the
    distributions of light and colour.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    half = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    found = _texture(grey) + _texture(half)
    for axis in (0, 1):
        jump = np.abs(np.diff(grey, axis=axis)).mean(1 - axis)
        found.append(float(np.log1p(jump[7::8].mean()) - np.log1p(jump.mean())))
    # Immerkaer (1996): a mask that edges and ramps hardly excite.
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    found.append(float(np.log1p(np.abs(cv2.filter2D(grey, -1, mask)).mean())))
    found += _ranks(grey, 1, 10, 50, 90, 99)
    found += [float(grey.std() / 32), float((grey < 8).mean()), float((grey > 247).mean())]
    small = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    chroma = np.hypot(lab[..., 1] - 128, lab[..., 2] - 128)
    found += [float(lab[..., 1].mean() - 128) / 16, float(lab[..., 2].mean() - 128) / 16]
    found += [float(lab[..., 1].std() / 8), float(lab[..., 2].std() / 8)]
    found += _ranks(chroma, 10, 50, 90)
    for k in (1, 2):
        detail = np.abs(cv2.Laplacian(np.ascontiguousarray(lab[..., k]), cv2.CV_32F))
        found += [float(np.log1p(detail.mean())), *_ranks(detail, 50, 99)]
    found += _ranks(np.abs(cv2.Laplacian(grey, cv2.CV_32F)), 50, 90, 97, 99)
    # Sharpness by place: a picture may be sharp in its subject alone.
    edges = np.abs(grey[1:, 1:] - grey[1:, :-1]) + np.abs(grey[1:, 1:] - grey[:-1, 1:])
    count = edges.shape[0] // 16
    cells = edges[: 16 * count, : 16 * count].reshape(count, 16, count, 16)
    for of_cell in (cells.max((1, 3)), cells.mean((1, 3))):
        found += [float(x) for x in np.log1p(np.percentile(of_cell, [5, 25, 50, 75, 95]))]
    return np.array(found, np.float32)
