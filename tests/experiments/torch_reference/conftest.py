"""A small dataset with masks and activations, for ours and torch alike."""

import numpy as np
import pytest

from net2vec_jax.activations.binary import BinaryActivations, collect_binary_activations
from net2vec_jax.data.broden.dataset import BrodenDataset
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.dataset import ImageLabels, LabelledImage
from net2vec_jax.data.masks import ConceptMasks, collect_concept_masks

IMAGES, GRID, SIZE, FILTERS = 26, (4, 5), (10, 13), 9
NAMES = {1: "wheel", 2: "car", 3: "street-s"}


@pytest.fixture
def dataset(tmp_path) -> BrodenDataset:
    """Images with a plane of parts, one of objects and, on some, a whole-image scene."""
    rng = np.random.default_rng(0)

    def draw(index: int) -> LabelledImage:
        parts, objects = rng.random((2, 1, *SIZE)) < 0.3
        planes = {"part": parts * np.int32(1), "object": objects * np.int32(2)}
        scenes = {"scene": (3,)} if index % 3 == 0 else {}
        image = rng.integers(0, 256, (20, 26, 3), dtype=np.uint8)
        split = "train" if index < 17 else "val"
        return LabelledImage(f"a/{index:03}.png", split, image, ImageLabels(planes, scenes))

    write_broden(tmp_path / "broden", (draw(index) for index in range(IMAGES)), NAMES)
    return BrodenDataset(tmp_path / "broden")


@pytest.fixture
def masks(dataset) -> ConceptMasks:
    return collect_concept_masks(dataset)


@pytest.fixture
def activations() -> BinaryActivations:
    values = np.random.default_rng(1).random((IMAGES, *GRID, FILTERS), np.float32)
    return collect_binary_activations([values], np.full(FILTERS, 0.8, np.float32))
