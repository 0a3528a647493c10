"""Things made by people, as painted pieces: houses, vehicles, furniture, street furniture.

A maker takes (rng, dark) and returns the pieces in painting order, in units of the thing's height
(origin at the middle of its base, y up); `dark` is night, when lamps and windows are lit.
"""

from __future__ import annotations

import numpy as np

from net2vec_jax.data.scenes.canvas import Paint, Piece, bar, box, dome, ellipse, piece, polygon
from net2vec_jax.data.scenes.colours import BRIGHT, Colour, choose, paint_colour, scale, vary
from net2vec_jax.data.scenes.shapes import shaped

LIT: Colour = (252, 226, 120)
TYRE: Colour = (38, 38, 40)


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
    pieces = shaped(
        "car",
        shell=Paint(colour, "metal", shading="down"),
        trim=Paint((45, 45, 48), rimmed=False),
        pane=_pane(rng, lit=False),
        front=Paint((250, 238, 160), glowing=dark),
        rear=Paint((200, 30, 30), glowing=dark),
    )
    for x in (-0.72, 0.74):
        spokes = [
            bar((x - 0.12 * c, 0.23 - 0.12 * s), (x + 0.12 * c, 0.23 + 0.12 * s), 0.03)
            for c, s in ((1, 0), (0.5, 0.87), (-0.5, 0.87))
        ]
        pieces += [
            piece("wheel", Paint(TYRE), ellipse(x, 0.23, 0.235)),
            piece("wheel", Paint((185, 188, 194)), ellipse(x, 0.23, 0.13)),
            piece("wheel", Paint((95, 97, 102), rimmed=False), *spokes),
        ]
    return pieces


def bicycle(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A bicycle from its side, riding to the right."""
    colour = paint_colour(rng, "red", "blue", "green", "orange", "purple", "pink", "yellow")
    spokes = []
    for x in (-0.55, 0.55):
        for angle in np.arange(6) * np.pi / 6 + rng.uniform(0, 0.5):
            dx, dy = 0.3 * np.cos(angle), 0.3 * np.sin(angle)
            spokes.append(bar((x - dx, 0.34 - dy), (x + dx, 0.34 + dy), 0.012))
    cog, grip = Paint((120, 122, 128), "metal"), Paint(TYRE, rimmed=False)
    return [
        piece("wheel", Paint((175, 178, 184), rimmed=False), *spokes),
        *shaped("bicycle", tube=Paint(colour, "metal"), cog=cog, grip=grip),
    ]


def boat(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A sailing boat."""
    painted = rng.random() < 0.6
    hull = paint_colour(rng, *BRIGHT, "navy") if painted else _wood_colour(rng)
    sail = paint_colour(rng, "white", "white", "red", "orange", "yellow", "blue", "pink")
    jib = sail if rng.random() < 0.6 else paint_colour(rng, "white", "red", "orange")
    return shaped(
        "boat",
        hull=Paint(hull, "wood"),
        sail=Paint(sail, "fabric"),
        jib=Paint(jib, "fabric"),
        trim=Paint(vary(rng, (240, 238, 230)), rimmed=False),
        mast=Paint(vary(rng, (120, 80, 48)), "wood", upright=True),
    )


def streetlight(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A street lamp on a pole."""
    pole = Paint(vary(rng, (74, 80, 86)), "metal", upright=True)
    lantern = Paint(LIT if dark else (245, 240, 210), "glass", glowing=dark)
    return shaped("streetlight", pole=pole, lantern=lantern)


def umbrella(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A sunshade with gores of two colours."""
    first = paint_colour(rng, "red", "blue", "green", "orange", "pink", "purple", "yellow")
    second = paint_colour(rng, "white", "yellow", "white")
    pieces = [
        piece("pole", Paint((225, 222, 215), "wood", upright=True), bar((0, 0), (0, 0.98), 0.032)),
        piece("canopy", Paint(first, "fabric"), dome(0, 0.6, 0.62, 0.36)),
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
    edge = Paint(scale(colour, 0.75), "wood")
    return shaped("table", leg=leg, top=Paint(colour, "wood"), edge=edge)


def chair(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A chair with a cushioned seat and a slatted back."""
    wood = _wood_colour(rng)
    cushion = Paint(paint_colour(rng, *BRIGHT), "fabric")
    post = Paint(wood, "wood", upright=True)
    return shaped("chair", cushion=cushion, rail=Paint(wood, "wood"), post=post)


def lamp(rng: np.random.Generator, dark: bool) -> list[Piece]:
    """A standing lamp with a fabric shade."""
    shade = paint_colour(rng, "yellow", "orange", "red", "white", "pink", "green")
    base = Paint(vary(rng, (150, 156, 164), 20), "metal", upright=True)
    return shaped("lamp", base=base, shade=Paint(shade, "fabric", shading="down", glowing=dark))
