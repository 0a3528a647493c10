"""Adapters for TFDS's own segmentation and texture datasets: splits, concepts, labels.

The val split is what the dataset's authors evaluate on. Concepts of pixels are objects; breeds and
textures hold for the whole image. `adapted` does the rest, the same for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.concepts import Concept, ConceptCatalog
from net2vec_jax.data.dataset import TRAIN, VAL, ImageLabels
from net2vec_jax.data.images.resized import open_image, resize_mask
from net2vec_jax.data.tfds.adapted import Labelling, TfdsAdapter
from net2vec_jax.data.tfds.concepts import (
    ADE20K_INSTANCE_CLASSES,
    ADE20K_NAMES,
    CITYSCAPES_NAMES,
    CITYSCAPES_VOID,
)
from net2vec_jax.data.tfds.records import TfdsRecords

UNKNOWN = -1
"""In a table of pixel values: no such class."""
PET, BORDER, CAT, DOG, FIRST_BREED = 1, 2, 3, 4, 5
"""Concept numbers of oxford_iiit_pet."""


def _make_catalog(concepts: Mapping[int, tuple[str, str]]) -> ConceptCatalog:
    """From number → (name, category)."""
    return ConceptCatalog.of(
        Concept(number, name, {category: 0}, category)
        for number, (name, category) in concepts.items()
    )


def _class_table(numbers: Mapping[int, int]) -> np.ndarray:
    """int32 [256]: concept number of each pixel value, `UNKNOWN` where there is none."""
    table = np.full(256, UNKNOWN, np.int32)
    for value, number in numbers.items():
        table[value] = number
    return table


def _read_plane(
    encoded: bytes,
    where: str,
    size: tuple[int, int],
    table: np.ndarray,
    *,
    of_instances: bool = False,
) -> np.ndarray:
    """Concept numbers [Y, X], int32, of an image of class values, the red ones `of_instances`.

    Raises:
      Net2VecError: an image of another kind, or a value that is no class.
    """
    image = open_image(encoded, where)
    if image.mode not in (("RGB",) if of_instances else ("L", "P")):
        expected = "be RGB as the first one" if of_instances else "have one channel of 8 bits"
        raise Net2VecError(f"{where}: a class mask must {expected}; it is a {image.mode} image")
    values = np.asarray(image)[..., 0] if of_instances else np.asarray(image)
    values = resize_mask(values, size)
    plane = table[values]
    if (plane == UNKNOWN).any():
        raise Net2VecError(
            f"{where}: pixel value {int(values[plane == UNKNOWN][0])} is no class of this dataset"
        )
    return plane


def _class_names(records: TfdsRecords, feature: str) -> Sequence[str]:
    """The names of a ClassLabel, which TFDS keeps beside the data."""
    names = getattr(records.features[feature], "names", None)
    if not names or not (records.directory / f"{feature}.labels.txt").is_file():
        raise Net2VecError(
            f"{records.directory / f'{feature}.labels.txt'} is missing: it names the classes"
        )
    return names


def _class_number(record: Mapping[str, Any], feature: str, classes: int, where: str) -> int | None:
    """The class of an image; None where TFDS says that nobody labelled it.

    Raises:
      Net2VecError: there is no such class.
    """
    number = int(record[feature])
    if not -1 <= number < classes:
        raise Net2VecError(f"{where}, feature {feature}: there is no class {number}")
    return None if number == -1 else number


def _label_pets(records: TfdsRecords, split: str) -> Labelling:
    """Trimap 1 is the pet, 3 its border, 2 the rest; the pet's pixels are also cat or dog."""
    breeds = _class_names(records, "label")
    species = [CAT if name.lower() == "cat" else DOG for name in _class_names(records, "species")]
    concepts = {
        **{PET: ("pet", "object"), BORDER: ("border", "object")},
        **{CAT: ("cat", "object"), DOG: ("dog", "object")},
        **{number: (name, "breed") for number, name in enumerate(breeds, start=FIRST_BREED)},
    }
    table = _class_table({1: PET, 2: 0, 3: BORDER})

    def read_labels(record: Mapping[str, Any], where: str, size: tuple[int, int]) -> ImageLabels:
        mask = f"{where}, feature segmentation_mask"
        plane = _read_plane(record["segmentation_mask"], mask, size, table)
        kind = _class_number(record, "species", len(species), where)
        breed = _class_number(record, "label", len(breeds), where)
        planes = [plane]
        if kind is not None:
            planes.append(np.where(plane == PET, species[kind], 0).astype(np.int32))
        whole = {} if breed is None else {"breed": (FIRST_BREED + breed,)}
        return ImageLabels({"object": np.stack(planes)}, whole)

    return Labelling(_make_catalog(concepts), read_labels)


def _label_ade20k(records: TfdsRecords, split: str) -> Labelling:
    """Class n is concept n of the 150.

    TFDS's own code stores the benchmark's instance annotations: in an RGB image, R is one of 100
    classes, all countable things, and G tells instances apart. Data with the benchmark's grey
    annotations in their place have all 150. The first record says which of the two it is.
    """
    where = f"{records.directory}: {split}/000000, feature annotation"
    of_instances = open_image(records.read(split, 0)["annotation"], where).mode == "RGB"
    numbers = ADE20K_INSTANCE_CLASSES if of_instances else range(1, len(ADE20K_NAMES) + 1)
    table = _class_table({0: 0, **dict(enumerate(numbers, start=1))})

    def read_labels(record: Mapping[str, Any], where: str, size: tuple[int, int]) -> ImageLabels:
        where = f"{where}, feature annotation"
        plane = _read_plane(record["annotation"], where, size, table, of_instances=of_instances)
        return ImageLabels({"object": plane[None]}, {})

    catalog = _make_catalog({n: (ADE20K_NAMES[n - 1], "object") for n in numbers})
    return Labelling(catalog, read_labels)


def _label_textures(records: TfdsRecords, split: str) -> Labelling:
    """The key attribute holds for the whole image."""
    names = _class_names(records, "label")

    def read_labels(record: Mapping[str, Any], where: str, size: tuple[int, int]) -> ImageLabels:
        texture = _class_number(record, "label", len(names), where)
        return ImageLabels({}, {} if texture is None else {"texture": (1 + texture,)})

    catalog = _make_catalog({n: (name, "texture") for n, name in enumerate(names, start=1)})
    return Labelling(catalog, read_labels)


def _label_streets(records: TfdsRecords, split: str) -> Labelling:
    """Cityscapes' labelIds of 7 and more; the group void is unlabelled."""
    table = _class_table(
        {**dict.fromkeys(CITYSCAPES_VOID, 0), **{number: number for number in CITYSCAPES_NAMES}}
    )

    def read_labels(record: Mapping[str, Any], where: str, size: tuple[int, int]) -> ImageLabels:
        where = f"{where}, feature segmentation_label"
        plane = _read_plane(record["segmentation_label"], where, size, table)
        return ImageLabels({"object": plane[None]}, {})

    catalog = _make_catalog({n: (name, "object") for n, name in CITYSCAPES_NAMES.items()})
    return Labelling(catalog, read_labels)


ADAPTERS: Mapping[str, TfdsAdapter] = MappingProxyType(
    {
        "oxford_iiit_pet": TfdsAdapter(
            splits={"train": TRAIN, "test": VAL},
            features=("image", "segmentation_mask", "label", "species"),
            categories=("object", "breed"),
            make_labelling=_label_pets,
        ),
        "scene_parse150": TfdsAdapter(
            splits={"train": TRAIN, "test": VAL},  # TFDS calls the benchmark's val split "test"
            features=("image", "annotation"),
            categories=("object",),
            make_labelling=_label_ade20k,
        ),
        "dtd": TfdsAdapter(
            splits={"train": TRAIN, "validation": TRAIN, "test": VAL},
            features=("image", "label"),
            categories=("texture",),
            make_labelling=_label_textures,
        ),
        "cityscapes": TfdsAdapter(
            # The test split's labels are not public.
            splits={"train": TRAIN, "train_extra": TRAIN, "validation": VAL},
            features=("image_left", "segmentation_label"),
            categories=("object",),
            make_labelling=_label_streets,
            default_config="semantic_segmentation",
        ),
    }
)
"""Those of TFDS's own datasets that are understood."""
