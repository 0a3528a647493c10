"""The eleven basic colours: which of them a pixel shows, and paints that show them.

A pixel is named after the nearest of several prototypes per colour in CIELAB (D65), where distances
resemble perceived differences; prototypes cover light, dark and dull shades of each colour.
"""

from __future__ import annotations

import numpy as np

from net2vec_jax.data.scenes.concepts import NUMBERS

Colour = tuple[float, float, float]
"""Red, green and blue in 0..255."""

_PROTOTYPES: dict[str, tuple[Colour, ...]] = {
    "black-c": ((0, 0, 0), (24, 24, 26), (40, 38, 38), (18, 18, 34)),
    "blue-c": (
        *((40, 80, 205), (20, 35, 110), (30, 40, 75), (110, 170, 230), (165, 205, 238)),
        *((60, 120, 160), (70, 95, 140), (120, 150, 190), (40, 130, 160), (90, 190, 215)),
    ),
    "brown-c": (
        *((120, 70, 35), (88, 54, 34), (160, 110, 70), (58, 38, 24), (140, 95, 60)),
        *((185, 145, 100), (110, 85, 60), (130, 60, 40)),
    ),
    "green-c": (
        *((40, 160, 50), (20, 92, 32), (125, 200, 85), (90, 130, 60), (155, 185, 105)),
        *((30, 55, 30), (70, 110, 80), (60, 170, 120), (100, 110, 45), (160, 220, 150)),
    ),
    "grey-c": ((128, 128, 128), (72, 72, 74), (100, 100, 102), (165, 165, 165), (195, 195, 195)),
    "orange-c": (
        *((245, 140, 30), (225, 110, 40), (250, 175, 85), (205, 105, 45), (235, 165, 115)),
    ),
    "pink-c": (
        *((250, 170, 190), (240, 110, 160), (232, 195, 205), (215, 130, 150), (250, 205, 215)),
        (200, 90, 130),
    ),
    "purple-c": (
        *((125, 50, 155), (82, 30, 112), (170, 120, 200), (60, 40, 75), (130, 100, 150)),
        (195, 165, 220),
    ),
    "red-c": ((220, 30, 30), (160, 22, 25), (190, 52, 48), (110, 20, 22), (225, 75, 70)),
    "white-c": ((255, 255, 255), (236, 236, 236), (250, 248, 235), (225, 230, 236)),
    "yellow-c": ((245, 225, 50), (242, 232, 135), (212, 192, 55), (228, 208, 155), (250, 205, 40)),
}


def _linear(value: np.ndarray) -> np.ndarray:
    """Light intensity 0..1 of sRGB values 0..1."""
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


_LINEAR = _linear(np.arange(256, dtype=np.float32) / 255).astype(np.float32)


def _lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB coordinates [..., 3] of sRGB values [..., 3] in 0..255, rounded to integers."""
    linear = _LINEAR[np.rint(rgb).astype(np.uint8)]
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], np.float32
    )
    xyz = linear @ to_xyz.T / np.array([0.9505, 1.0, 1.089], np.float32)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + np.float32(16 / 116))
    return np.stack(
        [116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1
    )


_PROTOTYPE_NUMBERS = np.array(
    [NUMBERS[name] for name, colours in _PROTOTYPES.items() for _ in colours], np.int32
)
_PROTOTYPE_LAB = _lab(np.array([c for colours in _PROTOTYPES.values() for c in colours]))


def colour_plane(image: np.ndarray) -> np.ndarray:
    """The basic colour of every pixel.

    Args:
      image: [Y, X, 3], RGB in 0..255; rounded to integers.

    Returns:
      int32 [Y, X], concept numbers of the eleven colours; no pixel is unlabelled.
    """
    lab = _lab(image)
    # |p|² − 2 lab·p orders the prototypes as the squared distance does.
    distance = (_PROTOTYPE_LAB**2).sum(-1) - 2 * lab @ _PROTOTYPE_LAB.T
    return _PROTOTYPE_NUMBERS[distance.argmin(-1)]


PAINTS: dict[str, Colour] = {
    "black": (30, 30, 32),
    "blue": (45, 90, 205),
    "navy": (28, 44, 115),
    "brown": (120, 72, 38),
    "green": (48, 155, 58),
    "grey": (130, 130, 132),
    "orange": (242, 138, 34),
    "pink": (246, 140, 178),
    "purple": (130, 60, 165),
    "red": (212, 38, 36),
    "white": (242, 242, 240),
    "yellow": (244, 220, 58),
}

BRIGHT = ("blue", "green", "orange", "pink", "purple", "red", "white", "yellow")
"""Names of the paints that things made by people come in."""


def paint_colour(rng: np.random.Generator, *names: str) -> Colour:
    """A colour near one of the named paints, drawn at random."""
    return vary(rng, choose(rng, *(PAINTS[name] for name in names)), 12)


def vary(rng: np.random.Generator, colour: Colour, amount: float = 10) -> Colour:
    """`colour` moved by up to `amount` in each channel and as much again in brightness."""
    moved = np.asarray(colour) + rng.uniform(-amount, amount, 3) + rng.uniform(-amount, amount)
    red, green, blue = np.clip(moved, 0, 255).tolist()
    return red, green, blue


def scale(colour: Colour, factor: float, lift: float = 0) -> Colour:
    """`colour` made `factor` as bright, and `lift` brighter in each channel."""
    red, green, blue = (factor * channel + lift for channel in colour)
    return red, green, blue


def choose(rng: np.random.Generator, *colours: Colour) -> Colour:
    """One of the colours, drawn at random."""
    return colours[int(rng.integers(len(colours)))]


def colour_contrast(first: Colour, second: Colour) -> float:
    """Distance of two colours in CIELAB; about 2 is just noticeable, 100 is black to white."""
    return float(np.linalg.norm(_lab(np.array(first)) - _lab(np.array(second))))
