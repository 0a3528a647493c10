"""One batch of 64 photographs gives what the original Net2Vec code gave (tests/golden/README.md).

Images without the object are in the batch too, with an empty mask.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import make_catalog, pack_activations, pack_masks, place_data

from net2vec_jax.activations.binary import BinaryActivations
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.segmentation.evaluation import evaluate_segmentation
from net2vec_jax.probes.segmentation.model import (
    ClassWeights,
    geometry_of,
    loss_and_gradient,
    score_pixels,
)
from net2vec_jax.probes.segmentation.score_maps import Form
from net2vec_jax.stats.metrics import iou

OBJECTS, IMAGES, FILTERS = 11, 64, 112
step = jax.jit(loss_and_gradient, static_argnames=("geometry", "loss"))


class Batch(NamedTuple):
    """The golden arrays and the problem that they belong to."""

    golden: dict[str, np.ndarray]
    activations: BinaryActivations
    masks: ConceptMasks  # every image with every object


@pytest.fixture(scope="module")
def batch(golden_dir: Path) -> Batch:
    golden = dict(np.load(golden_dir / "block10_mini64.npz"))
    active = np.unpackbits(golden["active_units_bits"]).reshape(IMAGES, FILTERS, 14, 14)
    marked = np.unpackbits(golden["mask_bits"]).reshape(OBJECTS * IMAGES, 112, 112)
    masks = ConceptMasks(
        catalog=make_catalog(OBJECTS),
        is_val=np.zeros(IMAGES, bool),
        pair_concept=np.repeat(np.arange(OBJECTS, dtype=np.int32), IMAGES),
        pair_image=np.tile(np.arange(IMAGES, dtype=np.int32), OBJECTS),
        packed=pack_masks(marked.astype(bool)),
        pixels=marked.sum(axis=(1, 2), dtype=np.int32),
        whole_image=np.zeros(OBJECTS * IMAGES, bool),
        segmentation_size=(112, 112),
        category_choice="union",
    )
    return Batch(golden, pack_activations(active.transpose(0, 2, 3, 1).astype(bool)), masks)


def heads_with(weights: np.ndarray) -> Heads:
    return Heads.of(np.arange(OBJECTS), weights)


def test_areas_are_the_original_codes(batch: Batch) -> None:
    area = batch.masks.area.reshape(OBJECTS, IMAGES)
    np.testing.assert_array_equal(area, batch.golden["label_area"])


@pytest.mark.parametrize("form", ["sparse", "dense"])
def test_loss_and_gradient_of_the_batch(batch: Batch, form: Form) -> None:
    golden = batch.golden
    data = place_data(batch.activations, batch.masks, form)
    geometry = geometry_of(batch.activations, batch.masks)
    weights = jnp.asarray(golden["init_weights"])
    alphas = golden["alphas"]
    class_weights = ClassWeights(
        jnp.asarray(alphas, jnp.float32), jnp.asarray(1 - alphas, jnp.float32)
    )
    pairs = OBJECTS * IMAGES
    value, gradient = step(
        weights, jnp.zeros_like(weights), jnp.asarray(batch.masks.pair_concept), jnp.arange(pairs),
        jnp.full(pairs, 1 / IMAGES), data, class_weights, geometry=geometry, loss="linear",
    )  # fmt: skip
    loss = np.asarray(value, np.float64).reshape(OBJECTS, IMAGES).mean(axis=1)
    # Float32 sums of 12,544 pixels, on both sides.
    np.testing.assert_allclose(loss, golden["loss_at_init"], rtol=1e-6)
    largest = np.abs(golden["grad_at_init"]).max()
    np.testing.assert_allclose(gradient, golden["grad_at_init"], atol=1e-5 * largest)


def test_probabilities_on_the_first_photograph(batch: Batch) -> None:
    golden = batch.golden
    data = place_data(batch.activations, batch.masks)
    geometry = geometry_of(batch.activations, batch.masks)
    places = np.searchsorted(golden["labels"], golden["prob_labels"])
    z = score_pixels(
        jnp.asarray(golden["init_weights"]), jnp.asarray(places), jnp.zeros(len(places), int),
        data.activations, geometry,
    )  # fmt: skip
    # Probabilities near 0.5 from sums of a few weights of 0.1, in float32.
    probabilities = jax.nn.sigmoid(z).transpose(1, 0, 2)
    np.testing.assert_allclose(probabilities, golden["prob_image0_at_init"], atol=1e-6)


@pytest.mark.parametrize("form", ["sparse", "dense"])
def test_masks_of_the_trained_embeddings(batch: Batch, form: Form) -> None:
    golden = batch.golden
    weights = golden["weights_epoch30"]
    counts = evaluate_segmentation(
        weights, heads_with(weights), batch.activations, batch.masks, form=form
    )
    # A pixel whose score is within rounding of 0 may fall on either side.
    for ours, theirs in zip(
        counts.overlap, (golden["learned_intersect"], golden["learned_union"]), strict=True
    ):
        np.testing.assert_allclose(ours.reshape(OBJECTS, IMAGES), theirs, atol=3)
    per_image = iou(counts.overlap.intersection, counts.overlap.union)
    assert ((per_image >= 0) & (per_image <= 1)).all()
