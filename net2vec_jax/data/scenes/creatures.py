"""People and animals, as painted pieces.

A maker takes (rng, dark) and returns the pieces in painting order, in units of the thing's height
(origin at the middle of its base, y up); `dark` is night.
"""

from __future__ import annotations

import numpy as np

from net2vec_jax.data.scenes.canvas import Paint, Piece, bar, box, ellipse, piece, polygon
from net2vec_jax.data.scenes.colours import BRIGHT, Colour, choose, paint_colour, scale, vary
from net2vec_jax.data.scenes.shapes import shaped

BLACK: Colour = (22, 22, 24)
WHITE: Colour = (246, 246, 244)


def _eye(x: float, y: float, radius: float, iris: Colour = WHITE) -> list[Piece]:
    return [
        piece("eye", Paint(iris), ellipse(x, y, radius)),
        piece("eye", Paint(BLACK, rimmed=False), ellipse(x + 0.2 * radius, y, 0.55 * radius)),
    ]


def person(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A standing person."""
    skins = ((240, 200, 170), (205, 150, 110), (140, 92, 62), (94, 60, 42))
    skin = Paint(vary(rng, choose(rng, *skins), 6))
    shirt = Paint(paint_colour(rng, *BRIGHT), "fabric")
    trousers = Paint(paint_colour(rng, "navy", "black", "grey", "brown", "blue"), "fabric")
    hair = Paint(paint_colour(rng, "black", "brown", "yellow", "grey", "orange"), rimmed=False)
    shoe = Paint(paint_colour(rng, "black", "brown", "red", "white"))
    stride = rng.uniform(0.02, 0.09)
    legs, shoes, arms, hands = [], [], [], []
    for side in (-1, 1):
        ankle = (side * (0.06 + stride), 0.04)
        legs.append(bar((side * 0.065, 0.46), ankle, 0.105))
        shoes.append(ellipse(ankle[0] + 0.03, 0.03, 0.075, 0.035))
        angle = rng.choice([rng.uniform(-1.4, -0.9), rng.uniform(-0.1, 0.9)], p=[0.75, 0.25])
        hand = (side * (0.15 + 0.28 * np.cos(angle)), 0.72 + 0.28 * np.sin(angle))
        arms.append(bar((side * 0.13, 0.73), hand, 0.075))
        hands.append(ellipse(*hand, 0.042))
    torso = polygon(
        (-0.13, 0.42), (0.13, 0.42), (0.175, 0.74), (0.1, 0.79), (-0.1, 0.79), (-0.175, 0.74)
    )
    face = [ellipse(x, 0.895, 0.012) for x in (-0.035, 0.045)]
    return [
        piece("leg", trousers, *legs),
        piece("leg", shoe, *shoes),
        piece("arm", skin, *hands),
        piece("torso", shirt, torso),
        piece("arm", shirt, *arms),
        piece("head", skin, ellipse(0, 0.89, 0.095, 0.11), box(-0.035, 0.76, 0.035, 0.82)),
        piece("head", hair, ellipse(0, 0.92, 0.1, 0.088, start=0.1, stop=np.pi - 0.1)),
        piece("head", Paint(BLACK, rimmed=False), *face, bar((-0.03, 0.84), (0.04, 0.84), 0.012)),
    ]


def cat(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A cat that stands with its face to the viewer."""
    coats = ((214, 136, 62), (128, 122, 116), (58, 54, 52), (226, 214, 196), (150, 108, 72))
    colour = vary(rng, choose(rng, *coats), 8)
    return shaped(
        "cat",
        coat=Paint(colour, "fur"),
        face=Paint(vary(rng, colour, 6), "fur", shading="round"),
        skin=Paint((225, 150, 150), rimmed=False),
        nose=Paint((225, 130, 135), rimmed=False),
        iris=Paint(paint_colour(rng, "yellow", "green")),
        pupil=Paint(BLACK, rimmed=False),
        whisker=Paint(WHITE, rimmed=False),
    )


def bird(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A small bird with a folded or a lifted wing."""
    colour = paint_colour(rng, "blue", "red", "yellow", "brown", "grey", "black", "white", "orange")
    pieces = shaped(
        "flying bird" if rng.random() < 0.4 else "bird",
        plumage=Paint(colour, shading="round"),
        feathers=Paint(scale(colour, 0.68)),
        beak=Paint((240, 160, 40)),
        leg=Paint((216, 132, 40), rimmed=False),
    )
    return pieces + _eye(0.42, 0.8, 0.055)


def fish(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A fish swimming to the right."""
    colour = paint_colour(rng, "orange", "yellow", "red", "purple", "pink", "blue", "green")
    pieces = shaped(
        "fish",
        skin=Paint(colour, shading="round"),
        stripe=Paint(paint_colour(rng, "white", "black", "yellow", "navy"), rimmed=False),
        fin=Paint(scale(paint_colour(rng, "orange", "yellow", "red", "purple"), 0.8)),
        mouth=Paint((150, 40, 50), rimmed=False),
    )
    return pieces + _eye(0.42, 0.6, 0.1)
