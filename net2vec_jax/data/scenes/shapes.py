"""Things of fixed form: their outlines are data, in shapes.toml."""

from __future__ import annotations

import importlib.resources
import tomllib
from functools import cache

import numpy as np

from net2vec_jax.data.scenes.canvas import (
    Paint,
    Piece,
    bar,
    box,
    curve,
    dome,
    ellipse,
    polygon,
    ring,
)

_SHAPES = {shape.__name__: shape for shape in (bar, box, curve, dome, ellipse, polygon, ring)}


@cache
def _read_forms() -> dict[str, list[tuple[str | None, str, tuple[np.ndarray, ...]]]]:
    """Thing → (part, name of its paint, outlines) of its pieces."""
    folder = importlib.resources.files("net2vec_jax.data.scenes")
    text = folder.joinpath("shapes.toml").read_text("utf-8")
    return {
        thing: [
            (part or None, paint, tuple(_SHAPES[shape](*values) for shape, *values in outlines))
            for part, paint, *outlines in pieces
        ]
        for thing, pieces in tomllib.loads(text).items()
    }


def shaped(thing: str, **paints: Paint) -> list[Piece]:
    """The pieces of a thing of shapes.toml under the paints that it names."""
    return [Piece(part, paints[paint], outlines) for part, paint, outlines in _read_forms()[thing]]
