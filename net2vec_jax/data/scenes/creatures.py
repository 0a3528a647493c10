"""People and animals, as painted pieces.

A maker takes (rng, dark) and returns the pieces in painting order, in units of the thing's height
(origin at the middle of its base, y up); `dark` is night.
"""

from __future__ import annotations

import numpy as np

from net2vec_jax.data.scenes.canvas import Paint, Piece, bar, box, curve, ellipse, piece, polygon
from net2vec_jax.data.scenes.colours import BRIGHT, Colour, choose, paint_colour, scale, vary

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
    coat = Paint(colour, "fur")
    head = Paint(vary(rng, colour, 6), "fur", shading="round")
    legs = [bar((x, 0.34), (x + 0.02, 0.0), 0.13) for x in (-0.42, -0.2, 0.14, 0.34)]
    pieces = [
        piece("tail", coat, curve([(-0.45, 0.45), (-0.9, 0.35), (-0.72, 0.95)], 0.13, 0.08)),
        piece("leg", coat, *legs),
        piece("torso", coat, ellipse(-0.04, 0.42, 0.5, 0.21)),
        piece(
            "ear",
            coat,
            polygon((0.18, 0.78), (0.2, 1.02), (0.38, 0.88)),
            polygon((0.72, 0.78), (0.7, 1.02), (0.52, 0.88)),
        ),
        piece(
            "ear",
            Paint((225, 150, 150), rimmed=False),
            polygon((0.22, 0.82), (0.23, 0.95), (0.32, 0.88)),
            polygon((0.68, 0.82), (0.67, 0.95), (0.58, 0.88)),
        ),
        piece("head", head, ellipse(0.45, 0.68, 0.29, 0.235)),
        piece(
            "head",
            Paint((225, 130, 135), rimmed=False),
            polygon((0.41, 0.64), (0.49, 0.64), (0.45, 0.59)),
        ),
    ]
    iris = paint_colour(rng, "yellow", "green")
    for x in (0.34, 0.56):
        pieces.append(piece("eye", Paint(iris), ellipse(x, 0.72, 0.075, 0.065)))
        pieces.append(piece("eye", Paint(BLACK, rimmed=False), ellipse(x, 0.72, 0.02, 0.055)))
    whiskers = [
        bar((0.45 + s * 0.1, 0.6), (0.45 + s * 0.36, y), 0.012)
        for s in (-1, 1)
        for y in (0.54, 0.62)
    ]
    return [*pieces, piece("head", Paint(WHITE, rimmed=False), *whiskers)]


def bird(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A small bird with a folded or a lifted wing."""
    colour = paint_colour(rng, "blue", "red", "yellow", "brown", "grey", "black", "white", "orange")
    plumage = Paint(colour, shading="round")
    feathers = Paint(scale(colour, 0.68))
    wing = [(0.12, 0.62), (-0.2, 0.66), (-0.62, 0.42), (-0.2, 0.3), (0.1, 0.4)]
    flies = rng.random() < 0.4
    if flies:
        wing = [(0.14, 0.6), (-0.02, 0.95), (-0.42, 1.18), (-0.36, 0.85), (-0.26, 0.5), (0.0, 0.44)]
    legs = [bar((x, 0.24), (x + 0.02, 0.0), 0.03) for x in (-0.06, 0.08)]
    legs += [bar((x - 0.04, 0.01), (x + 0.1, 0.01), 0.03) for x in (-0.06, 0.08)]
    return [
        piece("tail", feathers, polygon((-0.36, 0.5), (-0.92, 0.5), (-0.88, 0.3), (-0.36, 0.34))),
        *([] if flies else [piece("leg", Paint((216, 132, 40), rimmed=False), *legs)]),
        piece("torso", plumage, ellipse(-0.04, 0.46, 0.44, 0.255)),
        piece("beak", Paint((240, 160, 40)), polygon((0.5, 0.84), (0.82, 0.74), (0.5, 0.68))),
        piece("head", plumage, ellipse(0.36, 0.76, 0.22)),
        piece("wing", feathers, polygon(*wing)),
        *_eye(0.42, 0.8, 0.055),
    ]


def fish(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A fish swimming to the right."""
    colour = paint_colour(rng, "orange", "yellow", "red", "purple", "pink", "blue", "green")
    stripe = paint_colour(rng, "white", "black", "yellow", "navy")
    fin = Paint(scale(paint_colour(rng, "orange", "yellow", "red", "purple"), 0.8))
    stripes = [
        polygon(
            (x - 0.05, 0.5 - h),
            (x + 0.05, 0.5 - h),
            (x + 0.08, 0.5),
            (x + 0.05, 0.5 + h),
            (x - 0.05, 0.5 + h),
            (x - 0.02, 0.5),
        )
        for x, h in ((-0.3, 0.2), (0.05, 0.33))
    ]
    return [
        piece("tail", fin, polygon((-0.52, 0.5), (-1.0, 0.86), (-0.86, 0.5), (-1.0, 0.14))),
        piece("fin", fin, polygon((0.35, 0.78), (0.05, 1.02), (-0.42, 0.98), (-0.32, 0.7))),
        piece("fin", fin, polygon((0.1, 0.2), (-0.1, -0.02), (-0.32, 0.06), (-0.25, 0.28))),
        piece("body", Paint(colour, shading="round"), ellipse(0, 0.5, 0.68, 0.36)),
        piece("body", Paint(stripe, rimmed=False), *stripes),
        piece("fin", fin, polygon((0.2, 0.48), (-0.12, 0.58), (-0.16, 0.32))),
        piece("body", Paint((150, 40, 50), rimmed=False), bar((0.56, 0.4), (0.66, 0.43), 0.03)),
        *_eye(0.42, 0.6, 0.1),
    ]
