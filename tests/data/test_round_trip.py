"""Scenes → Broden directory → TFDS → packed cache: the same masks and images at each step."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from net2vec_jax.data import cache as packed
from net2vec_jax.data.broden.dataset import BrodenDataset
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.cache import PackedImages, load_concept_masks, load_packed_images
from net2vec_jax.data.masks import ConceptMasks, collect_concept_masks
from net2vec_jax.data.scenes.concepts import SCENE_CONCEPTS
from net2vec_jax.data.scenes.draw import draw_scenes
from net2vec_jax.data.tfds.builders import prepare_broden

IMAGES = 12


def assert_same_masks(one: ConceptMasks, other: ConceptMasks) -> None:
    for field in dataclasses.fields(ConceptMasks):
        mine, its = (getattr(masks, field.name) for masks in (one, other))
        if isinstance(mine, np.ndarray):
            assert mine.dtype == its.dtype, field.name
            np.testing.assert_array_equal(mine, its, err_msg=field.name)
        else:
            assert mine == its, field.name


def test_masks_and_images_are_the_same_at_each_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NET2VEC_JAX_CACHE", str(tmp_path / "cache"))
    drawn = list(draw_scenes(IMAGES, workers=1))
    names = {number: name for number, (name, _) in SCENE_CONCEPTS.items()}
    write_broden(tmp_path / "scenes", drawn, names)
    directory = BrodenDataset(tmp_path / "scenes")
    for index, scene in enumerate(drawn):
        labels = directory.labels(directory.image_names.index(scene.name))
        assert labels.whole_image == scene.labels.whole_image, index
        for category, planes in scene.labels.planes.items():
            np.testing.assert_array_equal(labels.planes[category], planes)
    masks = collect_concept_masks(directory)
    assert len(masks.pair_image) > 100

    prepared = prepare_broden(directory.directory, tmp_path / "tfds")
    assert_same_masks(collect_concept_masks(prepared), masks)

    assert_same_masks(load_concept_masks(prepared), masks)  # decoded and kept
    kept = load_packed_images(prepared)
    assert isinstance(kept, PackedImages)

    def forbid(*_: object, **__: object) -> None:
        raise AssertionError("decoded although it is kept")

    monkeypatch.setattr(packed, "collect_concept_masks", forbid)
    monkeypatch.setattr(packed, "map_in_order", forbid)
    assert_same_masks(load_concept_masks(prepared), masks)
    kept = load_packed_images(prepared)
    for index in range(IMAGES):
        np.testing.assert_array_equal(kept.image(index), directory.image(index))
