"""Which things appear where in each kind of scene.

What is behind everything (sky, ground, sea, room) offers zones; likely things are listed with the
zone they stand in. The kind of scene thus decides which concepts occur together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from net2vec_jax.data.scenes import backdrops, creatures, nature, objects
from net2vec_jax.data.scenes.canvas import CANVAS_SIZE as SIZE
from net2vec_jax.data.scenes.canvas import Canvas, Piece, Placement

_MAKERS: tuple[Callable[[np.random.Generator, bool], list[Piece]], ...] = (
    *(objects.house, objects.car, objects.bicycle, objects.boat, objects.streetlight),
    *(objects.umbrella, objects.ball, objects.table, objects.chair, objects.lamp),
    *(nature.tree, nature.cactus, nature.flower, nature.mushroom, creatures.person, creatures.cat),
    *(creatures.bird, creatures.fish, nature.sun, nature.moon, nature.cloud, nature.mountain),
)
MAKERS: Mapping[str, Callable[[np.random.Generator, bool], list[Piece]]] = {
    maker.__name__: maker for maker in _MAKERS
}
"""Object → the function that makes its pieces."""

# The widest extent of a thing left or right of its middle, in units of its height.
_HALF_WIDTHS = dict(table=0.85, house=0.7, car=1.25, bicycle=0.9, mountain=1.05, fish=0.9)

# Standard deviation of a thing's tilt, in radians.
_TILTS = dict(boat=0.05, fish=0.2, bird=0.08, flower=0.08, ball=0.3) | dict(
    umbrella=0.12, tree=0.02, cactus=0.03, mushroom=0.06
)

_BACK_TO_FRONT = ("sky", "far", "back", "sea", "pavement", "road", "water", "ground")
_STANDING = ("far", "back", "pavement", "road", "ground")


@dataclasses.dataclass(frozen=True)
class Likely:
    """A thing that a kind of scene tends to contain.

    Attributes:
      name: the object.
      probability: of each of `most` candidates to appear.
      height: range of its height in canvas pixels at the front of its zone.
      zone: where it stands.
      most: how many there may be.
    """

    name: str
    probability: float
    height: tuple[int, int]
    zone: str = "ground"
    most: int = 1


_SKY = (
    Likely("cloud", 0.35, (50, 100), "sky", 2),
    Likely("sun", 0.3, (70, 130), "sky"),
    Likely("moon", 0.75, (60, 120), "sky"),
)


LIKELY: Mapping[str, tuple[Likely, ...]] = {
    "beach-s": (
        *_SKY,
        Likely("umbrella", 0.6, (190, 270), most=2),
        Likely("ball", 0.6, (60, 120)),
        Likely("person", 0.5, (180, 270), most=2),
        Likely("boat", 0.5, (110, 190), "sea"),
        Likely("bird", 0.35, (100, 160)),
        Likely("chair", 0.2, (120, 170)),
    ),
    "sea-s": (
        *_SKY,
        Likely("boat", 0.75, (160, 300), "sea", 2),
        Likely("mountain", 0.3, (80, 150), "far"),
    ),
    "underwater-s": (Likely("fish", 0.75, (70, 170), "water", 4),),
    "street-s": (
        *_SKY,
        Likely("house", 0.85, (200, 270), "far", 2),
        Likely("tree", 0.35, (170, 240), "far"),
        Likely("streetlight", 0.6, (230, 310), "pavement"),
        Likely("person", 0.4, (130, 180), "pavement", 2),
        Likely("car", 0.8, (90, 140), "road", 2),
        Likely("bicycle", 0.6, (110, 160), "road"),
    ),
    "village-s": (
        *_SKY,
        Likely("house", 0.85, (190, 290), "far", 2),
        Likely("mountain", 0.2, (110, 170), "far"),
        Likely("tree", 0.5, (200, 300), "far", 2),
        Likely("person", 0.35, (150, 220)),
        Likely("cat", 0.35, (100, 160)),
        Likely("flower", 0.3, (90, 160), most=2),
        Likely("bicycle", 0.25, (110, 160)),
        Likely("car", 0.25, (90, 120)),
    ),
    "forest-s": (
        *_SKY,
        Likely("tree", 0.85, (230, 360), "far", 4),
        Likely("mushroom", 0.65, (90, 190), most=2),
        Likely("bird", 0.4, (100, 180)),
        Likely("flower", 0.25, (100, 170)),
        Likely("tree", 0.4, (330, 400)),
    ),
    "park-s": (
        *_SKY,
        Likely("tree", 0.7, (210, 320), "far", 2),
        Likely("flower", 0.6, (130, 240), most=3),
        Likely("person", 0.45, (170, 250)),
        Likely("ball", 0.3, (60, 110)),
        Likely("bicycle", 0.45, (130, 180)),
        Likely("bird", 0.35, (100, 170)),
        Likely("streetlight", 0.3, (230, 310)),
        Likely("cat", 0.2, (100, 150)),
    ),
    "desert-s": (
        *_SKY,
        Likely("cactus", 0.75, (180, 320), most=3),
        Likely("mountain", 0.3, (90, 150), "far"),
        Likely("car", 0.3, (100, 140)),
        Likely("bird", 0.15, (60, 100)),
        Likely("person", 0.15, (150, 220)),
    ),
    "mountain-s": (
        *_SKY,
        Likely("mountain", 0.9, (200, 330), "far", 2),
        Likely("tree", 0.5, (170, 260), most=3),
        Likely("house", 0.35, (160, 230)),
        Likely("person", 0.25, (140, 200)),
    ),
    "room-s": (
        Likely("lamp", 0.75, (240, 330), "back"),
        Likely("table", 0.65, (140, 190), "ground"),
        Likely("chair", 0.75, (200, 270), "ground", 2),
        Likely("cat", 0.55, (120, 190)),
        Likely("ball", 0.25, (60, 100)),
        Likely("person", 0.25, (260, 330)),
        Likely("flower", 0.15, (120, 170)),
    ),
}
"""Scene → what may appear in it, besides what is behind everything."""


def paint_scene(rng: np.random.Generator, scene: str) -> Canvas:
    """A canvas with one scene of the given kind.

    Args:
      rng: the only source of randomness.
      scene: one of the scenes of the concept table.
    """
    things = LIKELY[scene]
    is_outdoors = _SKY[0] in things
    hour = rng.choice(["day", "dusk", "night"], p=[0.66, 0.17, 0.17]) if is_outdoors else "day"
    light = {"day": (1.0, 1.0, 1.0), "dusk": (0.98, 0.8, 0.68), "night": (0.48, 0.52, 0.7)}[hour]
    brightness = rng.uniform(0.82, 1.08)
    red, green, blue = (brightness * c * rng.uniform(0.95, 1.05) for c in light)
    canvas = Canvas((red, green, blue), dark=hour == "night")
    zones = backdrops.BACKDROPS[scene](canvas, rng, hour == "dusk")
    zoom = rng.uniform(0.8, 1.25)
    chosen = _choose(rng, things, dark=canvas.dark)
    for zone in sorted(zones, key=_BACK_TO_FRONT.index):
        here = [likely for likely in chosen if likely.zone == zone]
        for likely, placement in _place(rng, here, zones[zone], zoom):
            if zone in _STANDING and likely.name != "mountain":
                half = _HALF_WIDTHS.get(likely.name, 0.3) * placement.height
                canvas.shadow(placement.x, placement.y, half)
            pieces = MAKERS[likely.name](rng, canvas.dark)
            canvas.draw(rng, likely.name, pieces, placement)
    return canvas


def _choose(rng: np.random.Generator, things: tuple[Likely, ...], *, dark: bool) -> list[Likely]:
    """The things that appear, one entry for each; at least one besides those in the sky."""
    out_of_hours = "sun" if dark else "moon"
    candidates = [each for each in things if each.name != out_of_hours for _ in range(each.most)]
    chosen = [each for each in candidates if rng.random() < each.probability]
    if all(each.zone == "sky" for each in chosen):
        chosen.append(next(each for each in candidates if each.zone != "sky"))
    return chosen


def _place(
    rng: np.random.Generator, chosen: list[Likely], rows: tuple[float, float], zoom: float
) -> list[tuple[Likely, Placement]]:
    """Spreads things over a zone; the farthest come first, since later things hide earlier ones."""
    slots = rng.permutation(len(chosen))
    placed = []
    for likely, slot in zip(chosen, slots, strict=True):
        x = SIZE * (slot + rng.uniform(0.2, 0.8)) / len(chosen)
        depth = rng.random()
        height = rng.uniform(*likely.height) * zoom
        if likely.zone in _STANDING:
            height *= 0.7 + 0.3 * depth
        y = rows[0] + depth * (rows[1] - rows[0])
        if likely.zone in ("sky", "water"):
            y += height / 2
        tilt = rng.normal(0, _TILTS.get(likely.name, 0.0))
        mirrored = rng.random() < 0.5
        placed.append((likely, Placement(x, y, height, mirrored, tilt)))
    lights = ("sun", "moon")
    return sorted(placed, key=lambda each: -1.0 if each[0].name in lights else each[1].y)
