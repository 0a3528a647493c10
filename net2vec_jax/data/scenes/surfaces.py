"""Procedural materials: what brick, wood, grass and the others look like.

Each material has a relief, made once per process from a fixed seed: `shade` (about −1..1, darker
or lighter) and `mix` (0..1, how much of the second colour shows), float32 [512, 512]. A patch is
cut from it at random and coloured: (base·(1 − mix) + second·mix) · (1 + strength·shade).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from net2vec_jax.data.scenes.colours import Colour
from net2vec_jax.data.scenes.noise import cell_noise, smooth_noise

TILE = 512
VARIANTS = 2

Relief = tuple[np.ndarray, np.ndarray]


def _smooth(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return smooth_noise(rng, rows, columns, TILE, TILE)


def _grid() -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.mgrid[0:TILE, 0:TILE].astype(np.float32))  # type: ignore[return-value]


def _grain(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((TILE, TILE), np.float32)


def _strokes(
    rng: np.random.Generator, count: int, length: float, width: int, lean: tuple[float, float]
) -> np.ndarray:
    """Relief −1..1 of many short lines; `lean` is the range of their angles from upright."""
    image = Image.new("L", (TILE, TILE), 70)
    draw = ImageDraw.Draw(image)
    xs, ys = rng.uniform(0, TILE, (2, count))
    angles = rng.uniform(*lean, count)
    lengths = length * rng.uniform(0.6, 1.4, count)
    tones = rng.integers(30, 256, count)
    for x, y, angle, extent, tone in zip(xs, ys, angles, lengths, tones, strict=True):
        end = (x + extent * np.sin(angle), y - extent * np.cos(angle))
        draw.line([(x, y), end], fill=int(tone), width=width)
    return np.asarray(image, np.float32) / 127.5 - 1


def _brick(rng: np.random.Generator, scale: float) -> Relief:
    y, x = _grid()
    height, width = 20 * scale, 46 * scale
    row = np.floor(y / height)
    x = x + (row % 2) * width / 2
    column = np.floor(x / width)
    joint = (y % height < 4 * scale) | (x % width < 4 * scale)
    tone = rng.uniform(-1, 1, (64, 64)).astype(np.float32)
    shade = tone[row.astype(int) % 64, column.astype(int) % 64] + 0.3 * _grain(rng)
    return 0.8 * shade, joint.astype(np.float32)


def _wood(rng: np.random.Generator, scale: float) -> Relief:
    y, _ = _grid()
    plank = 46 * scale
    index = np.floor(y / plank).astype(int)
    bend = _smooth(rng, 8, 4)
    grain = np.sin(y * 0.55 / scale + 9 * bend + index * 2.1) * 0.5
    fibres = _smooth(rng, TILE // 3, 14) * 0.5
    tone = rng.uniform(-0.6, 0.6, 64).astype(np.float32)[index]
    return grain + fibres + tone, (y % plank < 3.5 * scale).astype(np.float32)


def _stone(rng: np.random.Generator, scale: float) -> Relief:
    y, x = _grid()
    wobble = 9 * _smooth(rng, 24, 24)
    border, value = cell_noise(rng, 44 * scale, np.abs(x + wobble), np.abs(1.35 * y + wobble), 0.75)
    joint = np.clip((0.13 - border) / 0.06, 0, 1)
    shade = 1.6 * value - 0.8 + np.clip(border - 0.3, -0.3, 0.3) + 0.25 * _smooth(rng, 128, 128)
    return shade + 0.15 * _grain(rng), joint


def _rock(rng: np.random.Generator, scale: float) -> Relief:
    y, x = _grid()
    ragged = 14 * _smooth(rng, 30, 30)
    crease, value = cell_noise(rng, 60 * scale, np.abs(x + ragged), np.abs(0.8 * y - ragged), 1.0)
    # Facets, each with its own slope to the light, and crags within them.
    crags = 1 - 2 * np.abs(_smooth(rng, int(40 / scale), int(40 / scale)))
    fine = _smooth(rng, 120, 120)
    return 1.5 * value - 0.75 + 0.45 * crags + 0.3 * fine, np.clip((0.07 - crease) / 0.07, 0, 0.7)


def _metal(rng: np.random.Generator, scale: float) -> Relief:
    y, x = _grid()
    brushed = np.repeat(rng.standard_normal((TILE, 1), np.float32), TILE, 1) * 0.16
    bands = np.sin(y / (26 * scale) + 0.012 * x + rng.uniform(0, 6))
    return 0.35 * bands + brushed, np.clip(bands - 0.72, 0, 1) * 2.2


def _glass(rng: np.random.Generator, scale: float) -> Relief:
    y, x = _grid()
    diagonal = (x + y) / (30 * scale) + rng.uniform(0, 6)
    streak = (np.sin(diagonal) > 0.55) * 0.55 + (np.sin(diagonal * 1.0 + 1.3) > 0.93) * 0.35
    return 0.25 * _smooth(rng, 12, 12), streak.astype(np.float32)


def _fabric(rng: np.random.Generator, scale: float) -> Relief:
    y, x = _grid()
    period = 7 * scale
    weave = np.sin(2 * np.pi * x / period) * np.sin(2 * np.pi * y / period)
    folds = np.sin(x / (24 * scale) + 2.5 * _smooth(rng, 5, 5))
    return 0.75 * weave + 0.4 * folds + 0.15 * _grain(rng), np.zeros_like(x)


def _foliage(rng: np.random.Generator, scale: float) -> Relief:
    image = Image.new("L", (TILE, TILE), 20)
    draw = ImageDraw.Draw(image)
    count = int(5200 / scale**2)
    xs, ys = rng.uniform(-8, TILE + 8, (2, count))
    radii = rng.uniform(4, 9, (count, 2)) * scale
    # Later leaves lie on top and catch more light.
    tones = np.linspace(40, 170, count) + rng.uniform(-60, 60, count)
    for x, y, (rx, ry), tone in zip(xs, ys, radii, tones, strict=True):
        draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=int(np.clip(tone, 0, 255)))
    relief = np.asarray(image, np.float32) / 110 - 1
    return relief, np.clip(relief - 0.5, 0, 1) * 0.5


def _grass(rng: np.random.Generator, scale: float) -> Relief:
    blades = _strokes(rng, int(9000 / scale), 22 * scale, 2, (-0.45, 0.45))
    return blades + 0.25 * _smooth(rng, 10, 10), np.clip(blades - 0.75, 0, 1) * 1.5


def _sand(rng: np.random.Generator, scale: float) -> Relief:
    y, _ = _grid()
    ripples = np.sin(y / (7 * scale) + 5 * _smooth(rng, 6, 5))
    return 0.25 * ripples + 0.4 * _grain(rng) + 0.3 * _smooth(rng, 9, 9), np.zeros_like(y)


def _water(rng: np.random.Generator, scale: float) -> Relief:
    y, x = _grid()
    swell = np.sin(y / (5.5 * scale) + 5 * _smooth(rng, 14, 9) + 0.02 * x)
    small = _smooth(rng, int(110 / scale), int(36 / scale))
    crest = np.clip(swell + small - 0.75, 0, 1) * 0.8
    return 0.55 * swell + 0.35 * small, crest


def _asphalt(rng: np.random.Generator, scale: float) -> Relief:
    pebbles = _smooth(rng, int(200 / scale), int(200 / scale))
    speck = np.clip(pebbles - 0.55, 0, 1) * 1.4
    return 0.55 * _grain(rng) + 0.5 * pebbles + 0.25 * _smooth(rng, 5, 5), speck


def _tile(rng: np.random.Generator, scale: float) -> Relief:
    y, x = _grid()
    size = 36 * scale
    v, u = y % size / size, x % size / size
    joint = (v < 0.1) | (u < 0.1)
    tone = rng.uniform(-0.5, 0.5, (64, 64)).astype(np.float32)
    bevel = 0.7 * ((v < 0.24).astype(np.float32) - (v > 0.88) + (u < 0.2) - (u > 0.9))
    return bevel + tone[(y / size).astype(int), (x / size).astype(int)], joint.astype(np.float32)


def _fur(rng: np.random.Generator, scale: float) -> Relief:
    hairs = _strokes(rng, int(12000 / scale), 15 * scale, 2, (1.2, 2.3))
    return hairs + 0.3 * _smooth(rng, 12, 12), np.clip(_smooth(rng, 9, 26), 0, 1) * 0.7


def _snow(rng: np.random.Generator, scale: float) -> Relief:
    drifts = _smooth(rng, int(12 / scale), int(7 / scale))
    return 0.7 * drifts + 0.35 * _grain(rng), np.clip(-drifts, 0, 1) * 0.7


# Material → (relief, strength of the shade, second colour; None: the first, darkened).
_MATERIALS: dict[str, tuple[Callable[..., Relief], float, Colour | None]] = {
    "brick": (_brick, 0.17, (205, 198, 188)),
    "wood": (_wood, 0.24, None),
    "stone": (_stone, 0.24, None),
    "rock": (_rock, 0.34, None),
    "metal": (_metal, 0.3, (250, 252, 255)),
    "glass": (_glass, 0.12, (245, 250, 255)),
    "fabric": (_fabric, 0.2, None),
    "foliage": (_foliage, 0.42, (190, 215, 90)),
    "grass": (_grass, 0.34, (205, 220, 110)),
    "sand": (_sand, 0.11, None),
    "water": (_water, 0.2, (225, 242, 250)),
    "asphalt": (_asphalt, 0.2, (175, 175, 172)),
    "tile": (_tile, 0.17, None),
    "fur": (_fur, 0.28, None),
    "snow": (_snow, 0.07, (176, 200, 230)),
}


@cache
def relief_tile(material: str, variant: int) -> np.ndarray:
    """Weights of a material's two colours, float32 [2, 512, 512], in one of `VARIANTS` sizes."""
    function, strength, _ = _MATERIALS[material]
    rng = np.random.default_rng([len(material), *material.encode(), variant])
    shade, mix = function(rng, (0.8, 1.15)[variant])
    brightness = 1 + strength * shade
    return np.stack([brightness * (1 - mix), brightness * mix]).astype(np.float32)


def _bounce(position: np.ndarray) -> np.ndarray:
    """Indices into a tile that walk to and fro, so that no seam shows where it ends."""
    folded = np.floor(position).astype(np.int32) % (2 * TILE)
    return np.minimum(folded, 2 * TILE - 1 - folded)


def _in_perspective(
    rng: np.random.Generator, relief: np.ndarray, height: int, width: int
) -> np.ndarray:
    """The relief [2, height, width] seen on a plane that recedes to the top row."""
    near = np.arange(height, dtype=np.float32) + 14
    scale = (height + 14) / (2.2 * near)
    rows = _bounce(0.55 * (height + 14) * scale + rng.integers(TILE))
    columns = scale[:, None] * (np.arange(width, dtype=np.float32) - width / 2)
    columns = _bounce(columns + rng.integers(TILE))
    patch = relief[:, rows[:, None], columns]
    # Far away a pixel covers much of the pattern: fade to its mean instead of aliasing.
    fade = np.clip(1.6 / scale, 0, 1)[:, None]
    mean = relief[:, ::8, ::8].mean(axis=(1, 2))[:, None, None]
    patch *= fade
    patch += mean * (1 - fade)
    return patch


def surface(
    rng: np.random.Generator,
    material: str,
    colour: Colour,
    height: int,
    width: int,
    *,
    light: np.ndarray,
    upright: bool = False,
    receding: bool = False,
) -> np.ndarray:
    """A patch of a material.

    Args:
      rng: picks the place in the material's tile.
      material: one of the materials in the concept table.
      colour: its main colour.
      height: of the patch, in pixels, at most 512.
      width: of the patch, in pixels, at most 512.
      light: float32 [3], colour of the light, 1 = as painted.
      upright: turn the pattern by 90°, so that wood grain runs upwards.
      receding: lay the pattern on the ground, in perspective, instead of facing the viewer.

    Returns:
      float32 [3, height, width], RGB in about 0..255.
    """
    relief = relief_tile(material, int(rng.integers(VARIANTS)))
    if upright:
        relief = relief.transpose(0, 2, 1)
    if receding:
        patch = _in_perspective(rng, relief, height, width)
    else:
        top, left = rng.integers(0, (TILE - height + 1, TILE - width + 1))
        patch = relief[:, top : top + height, left : left + width]
    base = np.asarray(colour, np.float32)
    second = _MATERIALS[material][2]
    other = 0.45 * base if second is None else np.asarray(second, np.float32)
    colours = np.stack([base, other]) * light
    return (colours.T @ patch.reshape(2, -1)).reshape(3, height, width)
