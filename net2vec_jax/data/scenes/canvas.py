"""A canvas on which polygons are painted together with their labels.

The canvas is 448 × 448, twice the image and four times the label grid. Every stroke of paint
overwrites colour, object, part and material alike, so that whatever is painted later hides what is
below it in the picture and in the labels. Things are outlined in units of their own height, with
the origin at the middle of their base and y pointing up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw

from net2vec_jax.data.scenes.colours import Colour
from net2vec_jax.data.scenes.concepts import NUMBERS
from net2vec_jax.data.scenes.surfaces import surface

IMAGE_SIZE = 224
LABEL_SIZE = 112
CANVAS_SIZE = 2 * IMAGE_SIZE


@dataclasses.dataclass(frozen=True)
class Paint:
    """How a piece is coloured.

    Attributes:
      colour: its main colour.
      material: a material of the concept table, or None for a plain coat.
      shading: "flat"; "round", brightest at the upper left and dark at the rim; or "down", darker
        towards the bottom.
      upright: the material's pattern is turned by 90°.
      receding: the material lies on the ground, in perspective.
      glowing: shines by itself, whatever the light.
      rimmed: has a thin dark contour.
    """

    colour: Colour
    material: str | None = None
    shading: str = "flat"
    upright: bool = False
    receding: bool = False
    glowing: bool = False
    rimmed: bool = True


@dataclasses.dataclass(frozen=True)
class Piece:
    """A part of a thing: the union of polygons under one paint.

    Attributes:
      part: its part in the concept table, or None.
      paint: its paint.
      outlines: polygons, float [n, 2], as (x, y) in the thing's own units.
    """

    part: str | None
    paint: Paint
    outlines: tuple[np.ndarray, ...]


def piece(part: str | None, paint: Paint, *outlines: np.ndarray) -> Piece:
    """A `Piece` of these outlines."""
    return Piece(part, paint, outlines)


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a thing stands on the canvas.

    Attributes:
      x: canvas column of the middle of its base.
      y: canvas row of its base.
      height: its height in canvas pixels.
      mirrored: left and right are exchanged.
      tilt: rotation about the base, in radians, counterclockwise.
    """

    x: float
    y: float
    height: float
    mirrored: bool = False
    tilt: float = 0.0

    def to_canvas(self, outline: np.ndarray) -> np.ndarray:
        """Canvas coordinates (column, row) [n, 2] of points [n, 2] in the thing's units."""
        x, y = self.height * outline[:, 0], self.height * outline[:, 1]
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        x, y = cos * x - sin * y, sin * x + cos * y
        return np.stack([self.x + (-x if self.mirrored else x), self.y - y], 1)


class Canvas:
    """The picture and its label maps.

    Attributes:
      light: colour of the light, 1 = as painted.
      dark: whether it is night.
      colour: float32 [3, 448, 448], RGB in about 0..255; planes apart, which paint much faster.
      labels: category → uint8 [448, 448] concept numbers, for object, part and material.
    """

    def __init__(self, light: Colour = (1.0, 1.0, 1.0), *, dark: bool = False) -> None:
        self.light = np.asarray(light, np.float32)
        self.dark = dark
        self.colour = np.zeros((3, CANVAS_SIZE, CANVAS_SIZE), np.float32)
        self.labels = {
            category: np.zeros((CANVAS_SIZE, CANVAS_SIZE), np.uint8)
            for category in ("object", "part", "material")
        }

    def draw(
        self, rng: np.random.Generator, thing: str, pieces: Iterable[Piece], placement: Placement
    ) -> None:
        """Paints a thing's pieces in their order."""
        for each in pieces:
            outlines = [placement.to_canvas(outline) for outline in each.outlines]
            self.paint(rng, outlines, each.paint, thing, each.part)

    def paint(
        self,
        rng: np.random.Generator,
        outlines: Iterable[np.ndarray],
        paint: Paint,
        thing: str | None = None,
        part: str | None = None,
    ) -> None:
        """Fills the union of polygons and labels it.

        Args:
          rng: source of the surface's pattern.
          outlines: polygons, float [n, 2], (column, row) on the canvas; they may reach beyond it.
          paint: what to fill them with.
          thing: the object they belong to; None paints colour only and leaves the labels.
          part: the part of the object, or None.
        """
        outlines = list(outlines)
        points = np.concatenate(outlines)
        left, top = np.clip(np.floor(points.min(0)).astype(int) - 2, 0, CANVAS_SIZE)
        right, bottom = np.clip(np.ceil(points.max(0)).astype(int) + 3, 0, CANVAS_SIZE)
        if left >= right or top >= bottom:
            return
        stencil = Image.new("L", (int(right - left), int(bottom - top)))
        draw = ImageDraw.Draw(stencil)
        shapes = [[(x, y) for x, y in (o - (left, top)).tolist()] for o in outlines]
        if paint.rimmed:
            for shape in shapes:
                draw.line([*shape, shape[0]], fill=1, width=4)
        for shape in shapes:
            draw.polygon(shape, fill=255)
        mask = np.asarray(stencil)
        covered = mask > 0
        region = np.s_[top:bottom, left:right]
        coat = self._coat(rng, paint, *mask.shape)
        below = self.colour[:, top:bottom, left:right]
        np.copyto(below, coat, where=covered)
        if paint.rimmed:
            np.multiply(below, 0.5, out=below, where=mask == 1)
        if thing is None:
            return
        for category, name in (("object", thing), ("part", part), ("material", paint.material)):
            number = NUMBERS[name] if name else 0
            np.copyto(self.labels[category][region], np.uint8(number), where=covered)

    def _coat(self, rng: np.random.Generator, paint: Paint, height: int, width: int) -> np.ndarray:
        light = np.ones(3, np.float32) if paint.glowing else self.light
        if paint.material:
            coat = surface(
                rng,
                paint.material,
                paint.colour,
                height,
                width,
                light=light,
                upright=paint.upright,
                receding=paint.receding,
            )
        else:
            coat = (np.asarray(paint.colour, np.float32) * light)[:, None, None]
        if paint.shading != "flat":
            y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
            x = np.linspace(-1, 1, width, dtype=np.float32)
            if paint.shading == "round":
                coat = coat * (1.16 - 0.26 * ((x + 0.35) ** 2 + (y + 0.45) ** 2))
            else:
                coat = coat * (1.0 - 0.14 * y)
        return coat

    def shadow(self, x: float, y: float, half_width: float) -> None:
        """Darkens an ellipse on the ground below a thing; labels stay."""
        half_height = max(3.0, 0.16 * half_width)
        left, right = (int(np.clip(x + s * half_width, 0, CANVAS_SIZE)) for s in (-1, 1))
        top, bottom = (int(np.clip(y + s * half_height, 0, CANVAS_SIZE)) for s in (-1, 1))
        row, column = np.ogrid[top:bottom, left:right]
        distance = ((column - x) / half_width) ** 2 + ((row - y) / half_height) ** 2
        darkness = 0.45 * np.clip(1 - distance, 0, 1).astype(np.float32)
        self.colour[:, top:bottom, left:right] *= 1 - darkness

    def image(self) -> np.ndarray:
        """The picture, smoothed to float32 [224, 224, 3], RGB in 0..255."""
        return np.ascontiguousarray(halve(self.colour).clip(0, 255).transpose(1, 2, 0))

    def planes(self) -> dict[str, np.ndarray]:
        """The non-empty label maps, int32 [1, 112, 112], sampled at the cell centres."""
        step = CANVAS_SIZE // LABEL_SIZE
        sampled = {
            category: labels[None, step // 2 :: step, step // 2 :: step].astype(np.int32)
            for category, labels in self.labels.items()
        }
        return {category: plane for category, plane in sampled.items() if plane.any()}


def halve(image: np.ndarray) -> np.ndarray:
    """Mean of each 2 × 2 block: [..., H, W] → [..., H/2, W/2]."""
    rows = image[..., 0::2, :] + image[..., 1::2, :]
    return (rows[..., 0::2] + rows[..., 1::2]) / 4


def box(left: float, bottom: float, right: float, top: float) -> np.ndarray:
    """Rectangle, [4, 2]."""
    return np.array([(left, bottom), (right, bottom), (right, top), (left, top)], float)


def polygon(*points: tuple[float, float]) -> np.ndarray:
    """Polygon through the points, [n, 2]."""
    return np.array(points, float)


def ellipse(
    x: float,
    y: float,
    rx: float,
    ry: float | None = None,
    *,
    start: float = 0.0,
    stop: float = 2 * np.pi,
    turn: float = 0.0,
) -> np.ndarray:
    """Ellipse, or the segment of it from angle `start` to `stop`, turned by `turn`, [32, 2]."""
    angles = np.linspace(start, stop, 32)
    px, py = rx * np.cos(angles), (rx if ry is None else ry) * np.sin(angles)
    cos, sin = np.cos(turn), np.sin(turn)
    return np.stack([x + cos * px - sin * py, y + sin * px + cos * py], 1)


def dome(x: float, y: float, rx: float, ry: float) -> np.ndarray:
    """Upper half of an ellipse, [32, 2]."""
    return ellipse(x, y, rx, ry, stop=np.pi)


def ring(x: float, y: float, outer: float, inner: float) -> np.ndarray:
    """Circle with a hole, as one polygon that walks out, across and back, [64, 2]."""
    return np.concatenate([ellipse(x, y, outer), ellipse(x, y, inner)[::-1]])


def bar(start: tuple[float, float], end: tuple[float, float], width: float) -> np.ndarray:
    """Straight line of a width, [4, 2]."""
    a, b = np.array(start, float), np.array(end, float)
    along = (b - a) / max(float(np.hypot(*(b - a))), 1e-9)
    across = np.array([-along[1], along[0]]) * width / 2
    return np.array([a - across, b - across, b + across, a + across])


def curve(points: list[tuple[float, float]], start_width: float, end_width: float) -> np.ndarray:
    """Tapering stroke along the quadratic curve with three control points, [40, 2]."""
    a, b, c = (np.array(p, float) for p in points)
    t = np.linspace(0, 1, 20)[:, None]
    line = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
    along = np.gradient(line, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    width = (start_width * (1 - t) + end_width * t) / 2
    return np.concatenate([line + across * width, (line - across * width)[::-1]])
