"""Names of the classes in the label images of TFDS's datasets that its files do not carry.

Class numbers are those of the pixels; 0 is no class.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

ADE20K_NAMES = (
    *("wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane"),
    *("grass", "cabinet", "sidewalk", "person", "earth", "door", "table", "mountain", "plant"),
    *("curtain", "chair", "car", "water", "painting", "sofa", "shelf", "house", "sea", "mirror"),
    *("rug", "field", "armchair", "seat", "fence", "desk", "rock", "wardrobe", "lamp"),
    *("bathtub", "railing", "cushion", "base", "box", "column", "signboard"),
    *("chest of drawers", "counter", "sand", "sink", "skyscraper", "fireplace", "refrigerator"),
    *("grandstand", "path", "stairs", "runway", "case", "pool table", "pillow", "screen door"),
    *("stairway", "river", "bridge", "bookcase", "blind", "coffee table", "toilet", "flower"),
    *("book", "hill", "bench", "countertop", "stove", "palm", "kitchen island", "computer"),
    *("swivel chair", "boat", "bar", "arcade machine", "hovel", "bus", "towel", "light"),
    *("truck", "tower", "chandelier", "awning", "streetlight", "booth", "television receiver"),
    *("airplane", "dirt track", "apparel", "pole", "land", "bannister", "escalator", "ottoman"),
    *("bottle", "buffet", "poster", "stage", "van", "ship", "fountain", "conveyer belt"),
    *("canopy", "washer", "plaything", "swimming pool", "stool", "barrel", "basket"),
    *("waterfall", "tent", "bag", "minibike", "cradle", "oven", "ball", "food", "step", "tank"),
    *("trade name", "microwave", "pot", "animal", "bicycle", "lake", "dishwasher", "screen"),
    *("blanket", "sculpture", "hood", "sconce", "vase", "traffic light", "tray", "ashcan"),
    *("fan", "pier", "crt screen", "plate", "monitor", "bulletin board", "shower", "radiator"),
    *("glass", "clock", "flag"),
)
"""The 150 classes of ADE20K's scene parsing benchmark; class n is at n − 1."""

_STUFF = frozenset(
    (
        *("wall", "building", "sky", "floor", "tree", "ceiling", "road", "grass", "sidewalk"),
        *("earth", "mountain", "plant", "water", "house", "sea", "rug", "field", "rock", "base"),
        *("sand", "skyscraper", "grandstand", "path", "runway", "stairway", "river", "bridge"),
        *("blind", "hill", "bar", "hovel", "tower", "dirt track", "land", "escalator", "buffet"),
        *("poster", "stage", "conveyer belt", "canopy", "swimming pool", "waterfall", "tent"),
        *("cradle", "tank", "lake", "blanket", "pier", "crt screen", "shower"),
    )
)

ADE20K_INSTANCE_CLASSES = tuple(
    number for number, name in enumerate(ADE20K_NAMES, start=1) if name not in _STUFF
)
"""Which of the 150 are the 100 classes of ADE20K's instance annotations, in their order."""

CITYSCAPES_NAMES: Mapping[int, str] = MappingProxyType(
    dict(
        enumerate(
            (
                *("road", "sidewalk", "parking", "rail track", "building", "wall", "fence"),
                *("guard rail", "bridge", "tunnel", "pole", "polegroup", "traffic light"),
                *("traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car"),
                *("truck", "bus", "caravan", "trailer", "train", "motorcycle", "bicycle"),
            ),
            start=7,
        )
    )
)
"""labelIds 7 … 33 of Cityscapes; the smaller ones, and 255, belong to its group void."""
CITYSCAPES_VOID = (0, 1, 2, 3, 4, 5, 6, 255)
