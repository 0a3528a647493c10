"""Whole-image textures: what striped, dotted, cracked and the others look like.

A pattern is a float32 [448, 448] field in 0..1 of coordinates (x, y) in pixels, turned, scaled and
slightly warped; it blends two contrasting colours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw

from net2vec_jax.data.scenes.canvas import CANVAS_SIZE as SIZE
from net2vec_jax.data.scenes.canvas import halve
from net2vec_jax.data.scenes.colours import PAINTS, colour_contrast, paint_colour
from net2vec_jax.data.scenes.noise import cell_noise, smooth_noise

Pattern = Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]


def _edge(distance: np.ndarray) -> np.ndarray:
    """1 where a signed distance in pixels is positive, 0 where negative, smooth over a pixel."""
    return np.clip(distance + 0.5, 0, 1)


def _wave(value: np.ndarray, period: float) -> np.ndarray:
    """Distance from the nearest multiple of `period`, 0..period/2."""
    return np.abs(value - period * np.round(value / period))


def _striped(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    period = rng.uniform(28, 80)
    return _edge(_wave(x, period) - period * rng.uniform(0.2, 0.3))


def _polka_dotted(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    period = rng.uniform(44, 90)
    row = np.round(y / (0.87 * period))
    dx = _wave(x + (row % 2) * period / 2, period)
    return _edge(period * rng.uniform(0.24, 0.33) - np.hypot(dx, y - row * 0.87 * period))


def _chequered(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    size = rng.uniform(28, 64)
    return _edge(size * np.sin(np.pi * x / size) * np.sin(np.pi * y / size))


def _zigzagged(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    period, wide = rng.uniform(36, 64), rng.uniform(50, 90)
    return _edge(_wave(y + rng.uniform(0.8, 1.2) * _wave(x, wide), period) - period / 4)


def _grid(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    period = rng.uniform(40, 80)
    return _edge(np.minimum(_wave(x, period), _wave(y, period)) - period * rng.uniform(0.06, 0.12))


def _spiralled(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    period = rng.uniform(30, 60)
    cx, cy = (v.mean() + rng.uniform(-60, 60) for v in (x, y))
    turns = rng.choice([-2, -1, 1, 2]) * np.arctan2(y - cy, x - cx) / (2 * np.pi)
    return _edge(_wave(np.hypot(x - cx, y - cy) + period * turns, period) - period / 4)


def _cracked(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = x[::2, ::2], y[::2, ::2]  # ragged anyway: half the resolution is enough
    ragged = 7 * smooth_noise(rng, 60, 60, *x.shape)
    border, value = cell_noise(rng, rng.uniform(70, 120), x + ragged, y - ragged, 1.0)
    small, _ = cell_noise(rng, 45, x - ragged, y + ragged, 1.0)
    cracks = np.minimum(border / 0.08, np.where(value > 0.4, small / 0.07, 1))
    return (np.clip(cracks, 0, 1) * (0.85 + 0.15 * value)).repeat(2, 0).repeat(2, 1)


def _scaly(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    size = rng.uniform(44, 80)
    half = size / 2
    row = np.floor(y / half)
    result = np.zeros_like(x)
    # A scale is a disc about a point of its row's upper edge. Those of the row above hang over
    # those of this row, and they over those of the row below.
    for later in (-1, 0, 1):
        centre_row = row - later
        dx = _wave(x + (centre_row % 2) * half, size)
        reach = np.hypot(dx, y - centre_row * half) / (0.5 * size)
        tone = np.where(reach > 0.9, 0.0, 0.35 + 0.65 * reach)
        result = np.where(reach < 1, tone, result)
    return result


def _honeycombed(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    size = rng.uniform(44, 84)
    tall = size * np.sqrt(3)

    def to_border(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        du, dv = _wave(u, size), _wave(v, tall)
        return size / 2 - np.maximum(du, du / 2 + dv * np.sqrt(3) / 2)

    inwards = np.maximum(to_border(x, y), to_border(x + size / 2, y + tall / 2))
    wall = size * rng.uniform(0.06, 0.1)
    return _edge(inwards - wall) * (0.65 + 0.7 * inwards / size)


def _woven(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    size = rng.uniform(30, 52)
    over = (np.floor(x / size) + np.floor(y / size)) % 2 == 0  # the strand along x is on top
    u, v = x % size / size - 0.5, y % size / size - 0.5
    # A strand shows for one cell and dips below its neighbours at both ends.
    along, across = np.where(over, u, v), np.where(over, v, u)
    bulge = (0.45 + 0.55 * np.cos(np.pi * along)) * (0.55 + 0.45 * np.cos(2 * np.pi * across * 0.9))
    fibre = 0.07 * np.sin(np.where(over, y, x) * 0.9)
    strand = bulge * np.where(over, 1.0, 0.72) + fibre
    return np.where(np.abs(across) < 0.43, np.clip(strand, 0.12, 1), 0.0)


def _crosshatched(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    period = rng.uniform(14, 22)
    ink = np.ones_like(x)
    for angle in (0.75, -0.75, 0.0):
        along = x * np.cos(angle) + y * np.sin(angle) + 2.5 * smooth_noise(rng, 6, 6, SIZE, SIZE)
        strength = np.clip(smooth_noise(rng, 4, 4, SIZE, SIZE) + 0.75, 0, 1)
        ink = ink - 0.75 * strength * _edge(2.2 - _wave(along, period))
    return np.clip(ink, 0, 1)


def _marbled(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    flow = sum(w * smooth_noise(rng, n, n, SIZE, SIZE) for n, w in ((4, 1.3), (9, 0.7), (22, 0.3)))
    broad = np.abs(np.sin(x / rng.uniform(60, 90) + 2.2 * flow))
    fine = np.abs(np.sin((x + y) / 50 + 2.7 * flow + 1))
    clouds = 0.12 * smooth_noise(rng, 9, 9, SIZE, SIZE)
    return np.clip(0.9 - 0.9 * (1 - broad) ** 3 - 0.6 * (1 - fine) ** 6 + clouds, 0, 1)


def _bubbly(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    image = Image.new("L", (SIZE, SIZE), 60)
    draw = ImageDraw.Draw(image)
    scale = rng.uniform(0.8, 1.4)
    for radius in np.sort(rng.gamma(3.0, 8.0, 230))[::-1] * scale + 6:
        cx, cy = rng.uniform(-20, SIZE + 20, 2).tolist()
        draw.circle((cx, cy), radius, 150, 255, width=max(2, int(radius / 9)))
        draw.circle((cx, cy), 0.72 * radius, 95)
        draw.circle((cx - 0.38 * radius, cy - 0.38 * radius), 0.2 * radius, 255)
    return np.asarray(image, np.float32) / 255


def _cobwebbed(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    cx, cy = (v.mean() + rng.uniform(-110, 110) for v in (x, y))
    radius, angle = np.hypot(x - cx, y - cy), np.arctan2(y - cy, x - cx)
    spokes = int(rng.integers(9, 15))
    sector = _wave(angle, 2 * np.pi / spokes)
    thread = rng.uniform(1.6, 2.6)
    radial = radius * sector - thread
    # Threads between two spokes are chords that sag a little towards the hub.
    half = np.pi / spokes
    gap = rng.uniform(26, 40)
    chord = radius * np.cos(half - sector) / np.cos(half)
    rings = _wave(chord * (1 + 0.1 * np.sin(np.pi * sector / half / 2)), gap) - thread
    return 1 - _edge(np.minimum(radial, rings))


_PATTERNS: Mapping[str, Pattern] = {
    pattern.__name__[1:].replace("_", "-"): pattern
    for pattern in (
        *(_striped, _polka_dotted, _chequered, _zigzagged, _grid, _spiralled, _cracked, _scaly),
        *(_honeycombed, _woven, _crosshatched, _marbled, _bubbly, _cobwebbed),
    )
}

# Textures that are one dark and one light tone: (paints of the 0 end, paints of the 1 end).
_DARK = ("black", "navy", "brown", "black")
_TONES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "cracked": (("black", "brown"), ("brown", "grey", "white", "orange", "yellow")),
    "scaly": (("black", "navy"), ("green", "blue", "orange", "red", "grey", "purple")),
    "honeycombed": (("brown", "black"), ("yellow", "orange", "yellow", "white")),
    "woven": (_DARK, ("brown", "yellow", "white", "orange", "red", "green", "pink")),
    "crosshatched": (("black", "navy", "brown", "purple"), ("white", "yellow", "grey", "pink")),
    "marbled": (("black", "grey", "brown", "navy", "green"), ("white", "pink", "grey", "yellow")),
    "bubbly": (("navy", "blue", "green", "purple", "black"), ("white", "white", "yellow")),
    "cobwebbed": (("black", "navy", "green", "brown", "purple"), ("white", "grey", "white")),
}


def _two_colours(rng: np.random.Generator, texture: str) -> tuple[np.ndarray, np.ndarray]:
    low, high = _TONES.get(texture, (tuple(PAINTS), tuple(PAINTS)))
    first = second = (0.0, 0.0, 0.0)
    for _ in range(20):
        first, second = paint_colour(rng, *low), paint_colour(rng, *high)
        if colour_contrast(first, second) > 45:
            break
    return np.array(first, np.float32), np.array(second, np.float32)


def paint_texture(rng: np.random.Generator, texture: str) -> np.ndarray:
    """A picture of one texture.

    Args:
      rng: the only source of randomness.
      texture: one of the textures of the concept table.

    Returns:
      float32 [224, 224, 3], RGB in 0..255.
    """
    row, column = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    turn = rng.uniform(0, 2 * np.pi) if texture != "scaly" else rng.normal(0, 0.3)
    bend = rng.uniform(0, 10)
    column = column + bend * smooth_noise(rng, 4, 4, SIZE, SIZE) - SIZE / 2
    row = row + bend * smooth_noise(rng, 4, 4, SIZE, SIZE) - SIZE / 2
    # 700 exceeds every turned coordinate, so that patterns see positive ones.
    x = 700 + np.cos(turn) * column - np.sin(turn) * row
    y = 700 + np.sin(turn) * column + np.cos(turn) * row
    share = halve(_PATTERNS[texture](rng, x, y).astype(np.float32))[..., None]
    first, second = _two_colours(rng, texture)
    side = SIZE // 2
    light = 1 + 0.16 * smooth_noise(rng, 3, 3, side, side)
    light = light + 0.03 * smooth_noise(rng, 90, 90, side, side)
    light = light * rng.uniform(0.85, 1.05)
    return np.clip((first * (1 - share) + second * share) * light[..., None], 0, 255)
