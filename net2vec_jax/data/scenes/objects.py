"""Things made by people, as painted pieces: houses, vehicles, furniture, street furniture.

A maker takes (rng, dark) and returns the pieces in painting order, in units of the thing's height
(origin at the middle of its base, y up); `dark` is night, when lamps and windows are lit.
"""

from __future__ import annotations

import numpy as np

from net2vec_jax.data.scenes.canvas import (
    Paint,
    Piece,
    bar,
    box,
    curve,
    ellipse,
    piece,
    polygon,
    ring,
)
from net2vec_jax.data.scenes.colours import BRIGHT, Colour, choose, paint_colour, scale, vary

LIT: Colour = (252, 226, 120)
TYRE: Colour = (38, 38, 40)
STEEL: Colour = (150, 156, 164)


def _wood_colour(rng: np.random.Generator) -> Colour:
    return vary(rng, choose(rng, (150, 98, 56), (112, 70, 40), (186, 136, 84)), 8)


def _pane(rng: np.random.Generator, *, lit: bool) -> Paint:
    """Window glass, shining from within when lit."""
    if lit:
        return Paint(LIT, "glass", glowing=True, rimmed=False)
    return Paint(vary(rng, (120, 165, 200)), "glass", rimmed=False)


def house(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A house with facade, roof, chimney, door and windows."""
    material = ("brick", "wood", "stone")[int(rng.integers(3))]
    wall_colour = {
        "brick": vary(rng, (172, 74, 56)),
        "wood": (_wood_colour(rng) if rng.random() < 0.4 else paint_colour(rng, *BRIGHT, "navy")),
        "stone": vary(rng, (158, 152, 140)),
    }[material]
    wide = rng.uniform(0.5, 0.62)
    roof_colour = paint_colour(rng, "red", "brown", "grey", "orange", "navy")
    ridge = rng.choice([0.02, 0.3])
    roof_shape = polygon((-wide - 0.1, 0.56), (-ridge, 1), (ridge, 1), (wide + 0.1, 0.56))
    frame = Paint(vary(rng, (238, 236, 228)))
    pieces = [
        piece("chimney", Paint(vary(rng, (160, 72, 56)), "brick"), box(0.26, 0.6, 0.4, 1.0)),
        piece("facade", Paint(wall_colour, material), box(-wide, 0, wide, 0.58)),
        piece("roof", Paint(roof_colour, "tile"), roof_shape),
        piece("door", Paint(_wood_colour(rng), "wood", upright=True), box(-0.11, 0, 0.11, 0.36)),
    ]
    knob = Paint((240, 205, 90), rimmed=False)
    pieces.append(piece("door", knob, ellipse(0.07, 0.17, 0.018)))
    for x in (-wide / 2 - 0.08, wide / 2 + 0.08):
        pieces.append(piece("window", frame, box(x - 0.13, 0.16, x + 0.13, 0.45)))
        pane = _pane(rng, lit=dark and rng.random() < 0.75)
        pieces.append(piece("window", pane, box(x - 0.1, 0.19, x + 0.1, 0.42)))
        bars = (bar((x, 0.18), (x, 0.43), 0.022), bar((x - 0.1, 0.31), (x + 0.1, 0.31), 0.022))
        pieces.append(piece("window", Paint(frame.colour, rimmed=False), *bars))
    return pieces


def car(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A car from its side, driving to the right."""
    colour = paint_colour(rng, *BRIGHT, "black", "grey", "navy")
    shell = polygon(
        *((-1.22, 0.2), (-1.25, 0.42), (-1.15, 0.56), (-0.85, 0.6), (-0.55, 0.95), (-0.4, 1.0)),
        *((0.28, 1.0), (0.42, 0.94), (0.7, 0.6), (1.12, 0.54), (1.24, 0.42), (1.24, 0.2)),
    )
    dark_trim = Paint((45, 45, 48), rimmed=False)
    pane = _pane(rng, lit=False)
    pieces = [
        piece("body", Paint(colour, "metal", shading="down"), shell),
        piece("body", dark_trim, box(-1.22, 0.17, 1.22, 0.25)),
        piece(
            "window",
            pane,
            polygon((-0.72, 0.6), (-0.48, 0.9), (-0.12, 0.9), (-0.12, 0.6)),
            polygon((-0.04, 0.6), (-0.04, 0.9), (0.27, 0.9), (0.36, 0.86), (0.58, 0.6)),
        ),
        piece("body", dark_trim, bar((-0.22, 0.5), (-0.08, 0.5), 0.03)),
        piece("headlight", Paint((250, 238, 160), glowing=dark), ellipse(1.14, 0.42, 0.1, 0.09)),
        piece("body", Paint((200, 30, 30), glowing=dark), box(-1.24, 0.38, -1.12, 0.5)),
    ]
    for x in (-0.72, 0.74):
        pieces.append(piece("wheel", Paint(TYRE), ellipse(x, 0.23, 0.235)))
        pieces.append(piece("wheel", Paint((185, 188, 194)), ellipse(x, 0.23, 0.13)))
        spokes = [
            bar((x - 0.12 * c, 0.23 - 0.12 * s), (x + 0.12 * c, 0.23 + 0.12 * s), 0.03)
            for c, s in ((1, 0), (0.5, 0.87), (-0.5, 0.87))
        ]
        pieces.append(piece("wheel", Paint((95, 97, 102), rimmed=False), *spokes))
    return pieces


def bicycle(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A bicycle from its side, riding to the right."""
    colour = paint_colour(rng, "red", "blue", "green", "orange", "purple", "pink", "yellow")
    tubes = (
        ((-0.55, 0.34), (-0.1, 0.34)),
        ((-0.55, 0.34), (-0.24, 0.78)),
        ((-0.1, 0.34), (-0.26, 0.86)),
        ((-0.1, 0.34), (0.36, 0.74)),
        ((-0.24, 0.74), (0.36, 0.78)),
        ((0.33, 0.94), (0.55, 0.34)),
    )
    spokes = []
    for x in (-0.55, 0.55):
        for angle in np.arange(6) * np.pi / 6 + rng.uniform(0, 0.5):
            dx, dy = 0.3 * np.cos(angle), 0.3 * np.sin(angle)
            spokes.append(bar((x - dx, 0.34 - dy), (x + dx, 0.34 + dy), 0.012))
    grip = Paint(TYRE, rimmed=False)
    return [
        piece("wheel", Paint((175, 178, 184), rimmed=False), *spokes),
        piece("wheel", grip, ring(-0.55, 0.34, 0.34, 0.275), ring(0.55, 0.34, 0.34, 0.275)),
        piece("frame", Paint(colour, "metal"), *(bar(a, b, 0.06) for a, b in tubes)),
        piece("frame", Paint((120, 122, 128), "metal"), ring(-0.1, 0.34, 0.1, 0.04)),
        piece("saddle", grip, polygon((-0.44, 0.9), (-0.4, 0.96), (-0.1, 0.92), (-0.12, 0.87))),
        piece(
            "handlebar",
            grip,
            bar((0.32, 0.92), (0.36, 1.0), 0.05),
            curve([(0.22, 0.98), (0.42, 1.03), (0.5, 0.9)], 0.07, 0.06),
        ),
    ]


def boat(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A sailing boat."""
    painted = rng.random() < 0.6
    hull_colour = paint_colour(rng, *BRIGHT, "navy") if painted else _wood_colour(rng)
    sail = paint_colour(rng, "white", "white", "red", "orange", "yellow", "blue", "pink")
    jib = sail if rng.random() < 0.6 else paint_colour(rng, "white", "red", "orange")
    hull = polygon((-0.52, 0.24), (0.58, 0.24), (0.4, 0.03), (0.3, 0), (-0.34, 0), (-0.42, 0.04))
    trim = Paint(vary(rng, (240, 238, 230)), rimmed=False)
    return [
        piece(
            "mast",
            Paint(vary(rng, (120, 80, 48)), "wood", upright=True),
            bar((0, 0.2), (0, 1), 0.035),
        ),
        piece(
            "sail",
            Paint(sail, "fabric"),
            polygon((0.04, 0.97), (0.2, 0.66), (0.5, 0.33), (0.04, 0.31)),
        ),
        piece(
            "sail",
            Paint(jib, "fabric"),
            polygon((-0.04, 0.9), (-0.2, 0.6), (-0.44, 0.33), (-0.04, 0.33)),
        ),
        piece("hull", Paint(hull_colour, "wood"), hull),
        piece("hull", trim, polygon((-0.52, 0.24), (0.58, 0.24), (0.55, 0.2), (-0.5, 0.2))),
    ]


def streetlight(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A street lamp on a pole."""
    pole = Paint(vary(rng, (74, 80, 86)), "metal", upright=True)
    lantern = Paint(LIT if dark else (245, 240, 210), "glass", glowing=dark)
    return [
        piece("pole", pole, bar((0, 0), (0, 0.8), 0.035), box(-0.05, 0, 0.05, 0.08)),
        piece("pole", pole, bar((-0.08, 0.78), (0.08, 0.78), 0.03)),
        piece(
            "lantern", lantern, polygon((-0.06, 0.79), (0.06, 0.79), (0.09, 0.93), (-0.09, 0.93))
        ),
        piece("lantern", pole, polygon((-0.11, 0.93), (0.11, 0.93), (0.02, 1), (-0.02, 1))),
    ]


def umbrella(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A sunshade with gores of two colours."""
    first = paint_colour(rng, "red", "blue", "green", "orange", "pink", "purple", "yellow")
    second = paint_colour(rng, "white", "yellow", "white")
    pieces = [
        piece("pole", Paint((225, 222, 215), "wood", upright=True), bar((0, 0), (0, 0.98), 0.032)),
        piece("canopy", Paint(first, "fabric"), ellipse(0, 0.6, 0.62, 0.36, stop=np.pi)),
    ]
    edges = np.cos(np.linspace(np.pi, 0, 7)) * 0.62
    for left, right in ((edges[1], edges[2]), (edges[3], edges[4]), (edges[5], edges[6])):
        y = np.linspace(0, np.pi / 2, 12)
        sides = [np.stack([e * np.cos(y), 0.6 + 0.36 * np.sin(y)], 1) for e in (left, right)]
        gore = np.concatenate([sides[0], sides[1][::-1]])
        pieces.append(piece("canopy", Paint(second, "fabric", rimmed=False), gore))
    pieces.append(piece("canopy", Paint(first, rimmed=False), ellipse(0, 0.965, 0.03, 0.035)))
    return pieces


def ball(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A beach ball with panels of several colours."""
    turn = rng.uniform(0, np.pi)
    names = rng.permutation(["red", "blue", "yellow", "green", "orange", "pink", "purple"])
    pieces = [piece(None, Paint(paint_colour(rng, "white"), shading="round"), ellipse(0, 0.5, 0.5))]
    hub = (0.12 * np.cos(turn), 0.5 + 0.12 * np.sin(turn))
    for sector in range(3):
        start = turn + sector * 2 * np.pi / 3
        panel = np.concatenate([[hub], ellipse(0, 0.5, 0.5, start=start, stop=start + np.pi / 3)])
        colour = paint_colour(rng, str(names[sector]))
        pieces.append(piece(None, Paint(colour, shading="round", rimmed=False), panel))
    pieces.append(piece(None, Paint((244, 244, 240), rimmed=False), ellipse(*hub, 0.08)))
    return pieces


def table(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A wooden table."""
    colour = _wood_colour(rng)
    leg = Paint(vary(rng, colour, 6), "wood", upright=True)
    return [
        piece("leg", leg, box(-0.56, 0.12, -0.47, 0.9), box(0.47, 0.12, 0.56, 0.9)),
        piece("leg", leg, box(-0.78, 0, -0.67, 0.86), box(0.67, 0, 0.78, 0.86)),
        piece(
            "tabletop",
            Paint(colour, "wood"),
            polygon((-0.9, 0.8), (0.9, 0.8), (0.68, 1), (-0.68, 1)),
        ),
        piece("tabletop", Paint(scale(colour, 0.75), "wood"), box(-0.9, 0.73, 0.9, 0.8)),
    ]


def chair(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A chair with a cushioned seat and a slatted back."""
    wood = _wood_colour(rng)
    cushion = Paint(paint_colour(rng, *BRIGHT), "fabric")
    rail = Paint(wood, "wood")
    post = Paint(wood, "wood", upright=True)
    slats = [bar((x, 0.46), (x, 0.95), 0.05) for x in (-0.13, 0.0, 0.13)]
    return [
        piece("leg", post, box(-0.22, 0.1, -0.16, 0.42), box(0.16, 0.1, 0.22, 0.42)),
        piece("backrest", post, *slats, box(-0.27, 0.42, -0.2, 1), box(0.2, 0.42, 0.27, 1)),
        piece("backrest", rail, box(-0.27, 0.88, 0.27, 1), box(-0.25, 0.64, 0.25, 0.7)),
        piece("leg", post, box(-0.32, 0, -0.25, 0.38), box(0.25, 0, 0.32, 0.38)),
        piece("seat", cushion, polygon((-0.34, 0.38), (0.34, 0.38), (0.26, 0.52), (-0.26, 0.52))),
        piece("seat", rail, box(-0.34, 0.32, 0.34, 0.39)),
    ]


def lamp(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A standing lamp with a fabric shade."""
    shade = paint_colour(rng, "yellow", "orange", "red", "white", "pink", "green")
    base = Paint(vary(rng, STEEL, 20), "metal", upright=True)
    foot = ellipse(0, 0.0, 0.17, 0.09, stop=np.pi)
    shape = polygon((-0.24, 0.64), (0.24, 0.64), (0.13, 1), (-0.13, 1))
    return [
        piece("lamp base", base, bar((0, 0.05), (0, 0.68), 0.045), foot),
        piece("lampshade", Paint(shade, "fabric", shading="down", glowing=dark), shape),
    ]
