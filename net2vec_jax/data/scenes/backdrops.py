"""What is behind everything in a scene: sky, ground, sea, room.

A backdrop takes (canvas, rng, dusk), paints the whole canvas and returns the zones in which things
may stand, float and fly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from net2vec_jax.data.scenes.canvas import CANVAS_SIZE as SIZE
from net2vec_jax.data.scenes.canvas import Canvas, Paint, box, polygon
from net2vec_jax.data.scenes.colours import Colour, choose, paint_colour, scale, vary

Zones = dict[str, tuple[float, float]]
"""Zone → canvas rows of the nearest-to-the-horizon and the nearest-to-the-viewer base."""
GRASS: Colour = (92, 146, 56)
SAND: Colour = (222, 196, 146)
SEA: Colour = (44, 116, 164)
ASPHALT: Colour = (92, 92, 96)


def _zones(
    horizon: float, sky: float, far: tuple[float, float], ground: float, bottom: float = 8
) -> Zones:
    """Zones of open land: the sky ends `sky` above the horizon, the others begin below it."""
    return {
        "sky": (30, horizon - sky),
        "far": (horizon + far[0], horizon + far[1]),
        "ground": (horizon + ground, SIZE - bottom),
    }


def _sky(canvas: Canvas, rng: np.random.Generator, horizon: float, *, dusk: bool) -> None:
    """Sky down to `horizon`, a gradient that shines by itself."""
    if canvas.dark:
        top, bottom = (14, 18, 46), (48, 56, 100)
    elif dusk:
        top, bottom = vary(rng, (96, 110, 170)), vary(rng, (250, 170, 110))
    else:
        top = vary(rng, choose(rng, (84, 150, 226), (128, 178, 226), (160, 176, 190)))
        bottom = vary(rng, (206, 228, 242))
    canvas.paint(rng, [box(0, 0, SIZE, horizon)], Paint(top, glowing=True, rimmed=False), "sky")
    rows = int(horizon)
    share = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    first, last = (np.array(colour, np.float32)[:, None, None] for colour in (top, bottom))
    canvas.colour[:, :rows] = first * (1 - share) + last * share


def _ground(
    canvas: Canvas,
    rng: np.random.Generator,
    rows: tuple[float, float],
    material: str,
    colour: Colour,
    name: str = "ground",
) -> None:
    coat = Paint(vary(rng, colour, 8), material, receding=True, rimmed=False)
    canvas.paint(rng, [box(0, rows[0], SIZE, rows[1])], coat, name)


def _hills(canvas: Canvas, rng: np.random.Generator, horizon: float, colour: Colour) -> None:
    """A wavy hem of the ground against the sky."""
    x = np.linspace(-5, SIZE + 5, 40)
    phase, size = rng.uniform(0, 6, 2), rng.uniform(4, 14)
    y = horizon - size * (1 + np.sin(x / 60 + phase[0]) * np.sin(x / 97 + phase[1]))
    hem = np.stack([x, y], 1)
    below = np.array([(SIZE + 5, horizon + 2), (-5, horizon + 2)])
    coat = Paint(colour, "grass", rimmed=False)
    canvas.paint(rng, [np.concatenate([hem, below])], coat, "ground")


def beach(canvas: Canvas, rng: np.random.Generator, dusk: bool) -> Zones:
    """Sky, sea and sand."""
    horizon, shore = SIZE * rng.uniform(0.34, 0.44), SIZE * rng.uniform(0.54, 0.64)
    _sky(canvas, rng, horizon, dusk=dusk)
    _ground(canvas, rng, (horizon, shore), "water", SEA, "sea")
    _ground(canvas, rng, (shore, SIZE), "sand", SAND)
    return {
        "sky": (40, horizon - 40),
        "sea": (horizon + 12, shore),
        "ground": (shore + 30, SIZE - 8),
    }


def sea(canvas: Canvas, rng: np.random.Generator, dusk: bool) -> Zones:
    """Sky and open sea."""
    horizon = SIZE * rng.uniform(0.4, 0.55)
    _sky(canvas, rng, horizon, dusk=dusk)
    _ground(canvas, rng, (horizon, SIZE), "water", SEA, "sea")
    return {
        "sky": (40, horizon - 40),
        "far": (horizon + 1, horizon + 2),
        "sea": (horizon + 30, SIZE - 20),
    }


def underwater(canvas: Canvas, rng: np.random.Generator, dusk: bool) -> Zones:
    """Water, and mostly a sandy bed."""
    bed = SIZE * rng.uniform(0.72, 0.86)
    colour = vary(rng, choose(rng, (36, 110, 160), (30, 130, 150), (24, 80, 150)))
    deep = Paint(colour, "water", shading="down", rimmed=False)
    canvas.paint(rng, [box(0, 0, SIZE, SIZE)], deep, "sea")
    if rng.random() < 0.75:
        _ground(canvas, rng, (bed, SIZE), "sand", (168, 172, 140))
    return {"water": (120, SIZE - 30), "ground": (bed + 20, SIZE - 5)}


def street(canvas: Canvas, rng: np.random.Generator, dusk: bool) -> Zones:
    """Sky, pavement and road."""
    horizon = SIZE * rng.uniform(0.5, 0.58)
    kerb = horizon + 44
    _sky(canvas, rng, horizon, dusk=dusk)
    _ground(canvas, rng, (horizon, kerb), "stone", (168, 164, 156))
    _ground(canvas, rng, (kerb, SIZE), "asphalt", ASPHALT, "road")
    middle, line = (kerb + SIZE) / 2, Paint((236, 234, 224), "asphalt", rimmed=False)
    start = rng.uniform(-100, 0)
    dashes = [box(x, middle - 4, x + 54, middle + 4) for x in np.arange(start, SIZE, 100)]
    canvas.paint(rng, dashes, line, "road")
    return {
        "sky": (30, horizon - 90),
        "far": (horizon + 8, horizon + 14),
        "pavement": (horizon + 24, kerb + 2),
        "road": (kerb + 40, SIZE - 10),
    }


def village(canvas: Canvas, rng: np.random.Generator, dusk: bool) -> Zones:
    """Sky, grassland and sometimes a lane."""
    horizon = SIZE * rng.uniform(0.45, 0.56)
    _sky(canvas, rng, horizon, dusk=dusk)
    grass = vary(rng, GRASS)
    _hills(canvas, rng, horizon, grass)
    _ground(canvas, rng, (horizon, SIZE), "grass", grass)
    if rng.random() < 0.4:
        bend = rng.uniform(0.2, 0.8) * SIZE
        lane = polygon(
            (bend - 8, horizon), (bend + 8, horizon), (SIZE * 0.75, SIZE), (SIZE * 0.25, SIZE)
        )
        gravel = Paint((172, 150, 118), "asphalt", receding=True, rimmed=False)
        canvas.paint(rng, [lane], gravel, "road")
    return _zones(horizon, 60, (10, 70), 50)


def park(canvas: Canvas, rng: np.random.Generator, dusk: bool) -> Zones:
    """A village's green, sometimes with a pond."""
    zones = village(canvas, rng, dusk)
    horizon = zones["far"][0] - 10
    if rng.random() < 0.35:
        pond = (horizon + 14, horizon + rng.uniform(50, 90))
        _ground(canvas, rng, pond, "water", SEA, "sea")
        zones["ground"] = (pond[1] + 25, SIZE - 8)
    return zones


def forest(canvas: Canvas, rng: np.random.Generator, dusk: bool) -> Zones:
    """Sky and forest floor."""
    horizon = SIZE * rng.uniform(0.42, 0.55)
    _sky(canvas, rng, horizon, dusk=dusk)
    grass = vary(rng, (76, 112, 46))
    _ground(canvas, rng, (horizon, SIZE), "grass", grass)
    return _zones(horizon, 60, (6, 40), 70, 6)


def desert(canvas: Canvas, rng: np.random.Generator, dusk: bool) -> Zones:
    """Sky and sand."""
    horizon = SIZE * rng.uniform(0.42, 0.58)
    _sky(canvas, rng, horizon, dusk=dusk)
    _ground(canvas, rng, (horizon, SIZE), "sand", (224, 178, 112))
    return _zones(horizon, 60, (1, 3), 40) | {"sky": (36, horizon - 60)}


def mountain(canvas: Canvas, rng: np.random.Generator, dusk: bool) -> Zones:
    """Sky over snow or grass."""
    horizon = SIZE * rng.uniform(0.58, 0.7)
    _sky(canvas, rng, horizon, dusk=dusk)
    material, colour = ("snow", (240, 244, 250)) if rng.random() < 0.55 else ("grass", GRASS)
    _ground(canvas, rng, (horizon, SIZE), material, colour)
    return _zones(horizon, 140, (2, 10), 50)


def room(canvas: Canvas, rng: np.random.Generator, dusk: bool) -> Zones:
    """Wall and floor."""
    edge = SIZE * rng.uniform(0.56, 0.68)
    material = (None, None, "brick", "tile", "stone", "wood")[int(rng.integers(6))]
    colour = {
        "brick": (178, 92, 70),
        "stone": (160, 156, 148),
        "wood": (176, 130, 84),
        "tile": (150, 186, 196),
    }.get(material or "") or paint_colour(rng, "pink", "blue", "yellow", "green", "white", "purple")
    if material is None:  # plaster is paler than bright paint
        colour = scale(colour, 0.45, 120)
    wall = Paint(vary(rng, colour, 8), material, shading="down", rimmed=False)
    canvas.paint(rng, [box(0, 0, SIZE, edge)], wall, "wall")
    floors = [each for each in ("wood", "tile", "fabric") if each != material]
    floor = floors[int(rng.integers(len(floors)))]
    floor_colour = {"wood": (158, 108, 66), "tile": (176, 150, 130)}.get(floor)
    floor_colour = floor_colour or paint_colour(rng, "red", "blue", "green", "grey", "purple")
    _ground(canvas, rng, (edge, SIZE), floor, floor_colour, "floor")
    skirting = Paint((236, 232, 224), rimmed=True)
    canvas.paint(rng, [box(-9, edge - 9, SIZE + 9, edge)], skirting, "wall")
    return {"ground": (edge + 26, SIZE - 8), "back": (edge + 8, edge + 40)}


BACKDROPS: Mapping[str, Callable[[Canvas, np.random.Generator, bool], Zones]] = {
    f"{backdrop.__name__}-s": backdrop
    for backdrop in (beach, sea, underwater, street, village, park, forest, desert, mountain, room)
}
"""Scene → what is behind everything in it."""
