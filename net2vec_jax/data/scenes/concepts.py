"""The concepts of the built-in scenes: their numbers, names and categories.

Numbers are consecutive from 1, colours first as in Broden; each concept has one category. Number 0
is the unlabelled background.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

COLOURS = (
    *("black-c", "blue-c", "brown-c", "green-c", "grey-c", "orange-c"),
    *("pink-c", "purple-c", "red-c", "white-c", "yellow-c"),
)
OBJECTS = (
    *("sky", "sea", "ground", "road", "wall", "floor", "mountain", "house", "tree", "cactus"),
    *("flower", "mushroom", "person", "cat", "bird", "fish", "car", "bicycle", "boat", "sun"),
    *("moon", "cloud", "streetlight", "umbrella", "ball", "table", "chair", "lamp"),
)
PARTS = (
    *("roof", "facade", "door", "window", "chimney", "crown", "trunk", "body", "wheel"),
    *("headlight", "hull", "sail", "mast", "head", "torso", "arm", "leg", "petal", "stem"),
    *("flower centre", "leaf", "cap", "fin", "tail", "eye", "wing", "beak", "ear", "frame"),
    *("handlebar", "saddle", "lampshade", "lamp base", "backrest", "seat", "tabletop", "pole"),
    *("lantern", "canopy", "peak"),
)
MATERIALS = (
    *("brick", "wood", "stone", "rock", "metal", "glass", "fabric", "foliage", "grass"),
    *("sand", "water", "asphalt", "tile", "fur", "snow"),
)
SCENES = (
    *("beach-s", "sea-s", "underwater-s", "street-s", "village-s", "forest-s", "park-s"),
    *("desert-s", "mountain-s", "room-s"),
)
TEXTURES = (
    *("striped", "polka-dotted", "chequered", "zigzagged", "grid", "spiralled", "cracked"),
    *("scaly", "honeycombed", "woven", "crosshatched", "marbled", "bubbly", "cobwebbed"),
)

SCENE_CONCEPTS: Mapping[int, tuple[str, str]] = MappingProxyType(
    dict(
        enumerate(
            (
                (name, category)
                for category, names in (
                    ("color", COLOURS),
                    ("object", OBJECTS),
                    ("part", PARTS),
                    ("material", MATERIALS),
                    ("scene", SCENES),
                    ("texture", TEXTURES),
                )
                for name in names
            ),
            start=1,
        )
    )
)
"""Concept number → (name, category)."""

NUMBERS: Mapping[str, int] = MappingProxyType(
    {name: number for number, (name, _) in SCENE_CONCEPTS.items()}
)
"""Concept name → number."""
