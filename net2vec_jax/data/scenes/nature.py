"""Plants, mountains and what is in the sky, as painted pieces.

A maker takes (rng, dark) and returns the pieces in painting order, in units of the thing's height
(origin at the middle of its base, y up); `dark` is night.
"""

from __future__ import annotations

import numpy as np

from net2vec_jax.data.scenes.canvas import Paint, Piece, bar, box, curve, ellipse, piece, polygon
from net2vec_jax.data.scenes.colours import choose, paint_colour, scale, vary
from net2vec_jax.data.scenes.shapes import shaped


def tree(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A broad-leaved tree or a fir."""
    green = vary(rng, choose(rng, (62, 118, 44), (44, 96, 50), (98, 136, 48)), 10)
    if rng.random() < 0.12:
        green = vary(rng, (214, 124, 40), 14)  # autumn
    bark = Paint(vary(rng, (104, 72, 46), 8), "wood", upright=True)
    leaves = Paint(green, "foliage", shading="round")
    if rng.random() < 0.4:
        tiers = [
            polygon(
                (-w, y), (0, y + 0.4), (w, y), (w / 2, y + 0.03), (0, y - 0.02), (-w / 2, y + 0.03)
            )
            for w, y in ((0.34, 0.16), (0.27, 0.38), (0.19, 0.6))
        ]
        fir = scale(green, 0.75)
        return [
            piece("trunk", bark, box(-0.05, 0, 0.05, 0.2)),
            *(piece("crown", Paint(fir, "foliage"), tier) for tier in tiers),
        ]
    trunk = polygon((-0.09, 0), (0.09, 0), (0.05, 0.25), (0.06, 0.6), (-0.06, 0.6), (-0.05, 0.25))
    angles = np.linspace(0, 2 * np.pi, 7)[:-1] + rng.uniform(0, 1)
    tufts = [
        ellipse(0.19 * np.cos(a), 0.69 + 0.14 * np.sin(a), rng.uniform(0.15, 0.19)) for a in angles
    ]
    branch = bar((0.02, 0.36), (0.2, 0.56), 0.045)
    return [
        piece("trunk", bark, trunk, branch),
        piece("crown", leaves, ellipse(0, 0.68, 0.24), *tufts),
    ]


def cactus(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A columnar cactus with two arms."""
    green = vary(rng, (70, 140, 78), 10)
    skin = Paint(green, shading="round")
    left, right = rng.uniform(0.3, 0.45, 2)
    column = (box(-0.1, 0, 0.1, 0.9), ellipse(0, 0.9, 0.1))
    arms = []
    for side, y in ((-1, left), (1, right)):
        x = side * 0.27
        arms += [bar((0, y), (x, y), 0.13), bar((x, y - 0.02), (x, y + 0.26), 0.13)]
        arms += [ellipse(x, y, 0.065), ellipse(x, y + 0.26, 0.065)]
    rib = Paint(scale(green, 0.62), rimmed=False)
    ribs = [bar((x, 0.02), (x, 0.93), 0.014) for x in (-0.05, 0.0, 0.05)]
    ribs += [bar((s * 0.27, y), (s * 0.27, y + 0.26), 0.012) for s, y in ((-1, left), (1, right))]
    bloom = Paint(paint_colour(rng, "pink", "red", "yellow"))
    return [
        piece(None, skin, *column, *arms),
        piece(None, rib, *ribs),
        piece(None, bloom, ellipse(0, 1.0, 0.05, 0.035)),
    ]


def flower(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A flower with stem, leaves, petals and centre."""
    stem = Paint(vary(rng, (58, 140, 52)))
    petal = Paint(paint_colour(rng, "red", "pink", "purple", "white", "orange", "yellow", "blue"))
    centre = Paint(paint_colour(rng, "yellow", "brown", "orange", "black"), shading="round")
    count = int(rng.integers(6, 9))
    x, y, far = rng.uniform(-0.06, 0.06), 0.72, 0.185
    angles = np.arange(count) * 2 * np.pi / count + rng.uniform(0, 1)
    petals = [
        piece(
            "petal",
            petal,
            ellipse(x + far * np.cos(a), y + far * np.sin(a), 0.125, 0.62 / count, turn=a),
        )
        for a in angles
    ]
    return [
        piece("stem", stem, curve([(0, 0), (0.06, 0.35), (x, y)], 0.06, 0.045)),
        piece("leaf", stem, ellipse(0.15, 0.27, 0.14, 0.055, turn=0.5)),
        piece("leaf", stem, ellipse(-0.11, 0.2, 0.14, 0.055, turn=2.6)),
        *petals,
        piece("flower centre", centre, ellipse(x, y, 0.105)),
    ]


def mushroom(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A toadstool with a spotted cap."""
    cap = Paint(paint_colour(rng, "red", "red", "orange", "brown", "purple"), shading="round")
    stem = Paint(vary(rng, (240, 232, 214), 6))
    return shaped("mushroom", cap=cap, stem=stem, spots=Paint((246, 246, 244), rimmed=False))


def sun(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A sun with rays."""
    colour = vary(rng, ((255, 222, 60), (255, 170, 50))[int(rng.random() < 0.3)], 6)
    shine = Paint(colour, glowing=True, rimmed=False)
    rays = []
    for angle in np.arange(12) * np.pi / 6:
        c, s = np.cos(angle), np.sin(angle)
        rays.append(
            polygon(
                (0.33 * c - 0.06 * s, 0.5 + 0.33 * s + 0.06 * c),
                (0.5 * c, 0.5 + 0.5 * s),
                (0.33 * c + 0.06 * s, 0.5 + 0.33 * s - 0.06 * c),
            )
        )
    return [piece(None, shine, ellipse(0, 0.5, 0.3), *rays)]


def moon(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A full moon with craters or a crescent."""
    shine = Paint(vary(rng, (240, 238, 215), 6), glowing=True, rimmed=False)
    if rng.random() < 0.5:
        crater = Paint((200, 198, 180), glowing=True, rimmed=False)
        spots = ((-0.15, 0.62, 0.11), (0.18, 0.4, 0.08), (-0.1, 0.3, 0.06), (0.16, 0.72, 0.06))
        return [
            piece(None, shine, ellipse(0, 0.5, 0.5)),
            piece(None, crater, *(ellipse(*spot) for spot in spots)),
        ]
    outer = ellipse(0, 0.5, 0.5, start=np.pi / 2, stop=3 * np.pi / 2)
    inner = ellipse(0, 0.5, 0.2, 0.5, start=3 * np.pi / 2, stop=np.pi / 2)
    return [piece(None, shine, np.concatenate([outer, inner]))]


def cloud(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A heap of cloud."""
    puffs = [
        ellipse(x, 0.3 + 0.25 * (1 - abs(x)) + rng.uniform(0, 0.1), rng.uniform(0.28, 0.4))
        for x in np.linspace(-0.75, 0.75, 5)
    ]
    base = ellipse(0, 0.22, 1.05, 0.24)
    white = Paint(vary(rng, (246, 247, 250), 4), shading="down", rimmed=False)
    return [piece(None, white, base, *puffs)]


def mountain(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A mountain with a snowy peak."""
    stone = Paint(vary(rng, choose(rng, (118, 112, 108), (124, 104, 90)), 8), "rock")
    snow = Paint((244, 247, 252), "snow", rimmed=False)
    left = [(-1.05, 0.0), (-0.78, 0.22), (-0.6, 0.44), (-0.38, 0.58), (-0.2, 0.84)]
    right = [(0.16, 0.86), (0.34, 0.6), (0.55, 0.46), (0.75, 0.2), (1.05, 0.0)]
    jitter = rng.uniform(-0.03, 0.03, (2, 5))
    slope = [(x, y + j * (y > 0)) for (x, y), j in zip(left + right, jitter.ravel(), strict=True)]
    a, b = slope[4], slope[5]
    jagged = [(0.26, 0.72), (0.14, 0.66), (0.06, 0.74), (-0.06, 0.62), (-0.14, 0.72), (-0.28, 0.7)]
    return [
        piece(None, stone, polygon(*slope[:5], (0, 1), *slope[5:])),
        piece("peak", snow, polygon(a, (0, 1), b, *jagged)),
    ]
