"""A local head is the ordinary head of a concept on one image, whatever is trained beside it."""

import numpy as np
import pytest
from helpers import make_random_problem, upsample_by_loop

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.concepts import ConceptCatalog
from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.segmentation.local import train_local
from net2vec_jax.probes.segmentation.training import SegmentationConfig, train_segmentation_heads

SAME = 1e-6  # the same float32 sums, padded to other sizes
CONFIG = SegmentationConfig(epochs=5, learning_rate=0.02, chunk_size=8)


@pytest.fixture(scope="module")
def problem():
    activations, masks = make_random_problem(0)
    return activations, masks, np.arange(len(masks.pair_image))


def test_a_local_head_is_the_head_of_a_concept_with_this_image_alone(problem) -> None:
    activations, masks, pairs = problem
    weights = train_local(activations, masks, pairs, CONFIG)[0]
    for pair in np.flatnonzero(~masks.pair_is_val)[::4]:
        image, concept = masks.pair_image[pair], masks.catalog.concepts[masks.pair_concept[pair]]
        one = masks.select(ConceptCatalog((concept,))).select_images(np.array([image]))
        head = Heads.of(np.zeros(1, int), np.zeros((1, activations.filters)))
        alone = train_segmentation_heads(
            head, activations.select(np.array([image])), one, CONFIG
        ).weights
        np.testing.assert_allclose(weights[pair], alone[0], atol=SAME)
    moved = np.abs(weights).max(axis=1)
    active = activations.unpack().any((1, 2, 3))[masks.pair_image]
    np.testing.assert_array_equal(moved > 100 * SAME, active)  # image 0 has no active filter


def test_heads_do_not_depend_on_what_is_trained_beside_them(problem) -> None:
    activations, masks, pairs = problem
    weights, own_iou = train_local(activations, masks, pairs, CONFIG)
    few = pairs[[7, 3, 12, 20, 5]]
    for size in (2, 5):  # blocks that overlap, and a single one
        apart = train_local(activations, masks, few, CONFIG, heads_at_once=size)
        np.testing.assert_allclose(apart[0], weights[few], atol=SAME)
        np.testing.assert_array_equal(apart[1], own_iou[few])


def test_filters_that_are_nowhere_active_have_no_weight(problem) -> None:
    activations, masks, pairs = problem
    weights = train_local(activations, masks, pairs, CONFIG)[0]
    active = activations.unpack().any((1, 2))[masks.pair_image]  # [P, K]
    assert not weights[~active].any() and active.mean() < 0.95


def test_iou_is_with_the_own_mask(problem) -> None:
    activations, masks, pairs = problem
    weights, own_iou = train_local(activations, masks, pairs, CONFIG)
    for pair in pairs[1::7]:
        bits = activations.unpack([masks.pair_image[pair]])[0].astype(float)
        score = upsample_by_loop(
            np.tensordot(weights[pair], bits.transpose(2, 0, 1), 1), masks.segmentation_size
        )
        marked, truth = score > 1e-7, masks.unpack([pair])[0]
        expected = (marked & truth).sum() / (marked | truth).sum()
        np.testing.assert_allclose(own_iou[pair], expected, atol=0.02)  # of places at 0
    assert own_iou[masks.pair_image == 0].max() == 0 < np.median(own_iou)


def test_no_pair_is_refused(problem) -> None:
    activations, masks, pairs = problem
    with pytest.raises(Net2VecError, match="no pair"):
        train_local(activations, masks, pairs[:0], CONFIG)
