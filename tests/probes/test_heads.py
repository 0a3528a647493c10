"""Initial weights belong to their concept; subsets hold the largest weights."""

import jax
import numpy as np
import pytest
from helpers import make_masks, make_random_problem

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.concepts import ConceptCatalog
from net2vec_jax.probes.heads import (
    Heads,
    draw_initial_weights,
    fold_heads,
    make_subset_heads,
    top_filters,
)
from net2vec_jax.probes.segmentation.training import make_segmentation_heads


def _draw(key, numbers, filters, *, seed=0):
    keys = fold_heads(
        jax.random.key(key), np.array(numbers, np.uint32), np.full(len(numbers), seed, np.uint32)
    )
    return np.asarray(draw_initial_weights(keys, filters))


def test_initial_weights_are_uniform_within_one_over_root_k() -> None:
    weights = _draw(0, range(1, 201), 100)
    assert np.abs(weights).max() <= 0.1
    # 20,000 draws: standard errors 4e-4 of the mean and 2e-4 of the standard deviation.
    assert abs(weights.mean()) < 5 * 4e-4
    assert weights.std() == pytest.approx(0.2 / np.sqrt(12), abs=5 * 2e-4)


def test_initial_weights_do_not_depend_on_the_other_concepts() -> None:
    together = _draw(3, [5, 17, 900], 8)
    alone = _draw(3, [17], 8)
    np.testing.assert_array_equal(together[1:2], alone)
    assert (_draw(4, [17], 8) != alone).all()
    assert (_draw(3, [17], 8, seed=1) != alone).all()
    assert len(np.unique(together)) == together.size


def test_full_heads_of_a_selection_start_alike() -> None:
    _, masks = make_random_problem(0, concepts=4)
    full = make_segmentation_heads(masks, filters=11, key=jax.random.key(0))
    part = masks.select(ConceptCatalog(masks.catalog.concepts[2:3]))
    one = make_segmentation_heads(part, filters=11, key=jax.random.key(0))
    np.testing.assert_array_equal(one.initial_weights, full.initial_weights[2:3])
    assert full.concept.tolist() == [0, 1, 2, 3]
    assert full.filter_mask.all()


def test_concept_without_train_or_val_images_gets_no_head() -> None:
    mask = np.ones((2, 2), bool)
    marked = {(0, 0): mask, (0, 2): mask, (1, 0): mask, (2, 2): mask}
    masks = make_masks([False, False, True], marked, concepts=4)
    heads = make_segmentation_heads(masks, filters=5, key=jax.random.key(0))
    assert heads.concept.tolist() == [0]
    assert heads.initial_weights.shape == (1, 5)


def test_no_concept_can_be_trained() -> None:
    masks = make_masks([False], {(0, 0): np.ones((2, 2), bool)}, concepts=1)
    assert len(make_segmentation_heads(masks, filters=5, key=jax.random.key(0))) == 0


@pytest.mark.parametrize("size", [1, 3, 6])
def test_top_filters_are_the_largest_by_magnitude(size: int) -> None:
    weights = np.array([[0.1, -5, 3, 0, -0.2, 1], [1, 2, 3, 4, 5, -6]])
    mask = top_filters(weights, size)
    assert mask.sum(axis=1).tolist() == [size, size]
    for row, chosen in zip(np.abs(weights), mask, strict=True):
        assert size == 6 or row[chosen].min() > row[~chosen].max()


def test_ties_go_to_the_higher_filter() -> None:
    # Spec 5.9: ascending order reversed.
    assert top_filters(np.array([[1.0, -1, 1, 0]]), 2).tolist() == [[False, True, True, False]]


@pytest.mark.parametrize("size", [0, 7, -1])
def test_subset_size_out_of_range(size: int) -> None:
    with pytest.raises(Net2VecError, match=f"{size} filters were asked for.*1 to 6"):
        top_filters(np.ones((2, 6)), size)


def test_subset_heads_restart_from_the_initial_weights() -> None:
    rng = np.random.default_rng(0)
    initial, trained = rng.normal(size=(2, 3, 6)).astype(np.float32)
    full = Heads.of(np.arange(3), initial)
    both = make_subset_heads(full, trained, [1, 6])
    one, all_ = both.select(both.filters == 1), both.select(both.filters == 6)
    np.testing.assert_array_equal(one.filter_mask, top_filters(trained, 1))
    np.testing.assert_array_equal(one.initial_weights, initial)
    assert all_.filter_mask.all()
    assert one.select(slice(1, 2)).concept.tolist() == [1]


@pytest.mark.wrong_shapes
@pytest.mark.parametrize("shape", [(2, 6), (3, 5)])
def test_shapes_that_disagree(shape: tuple[int, int]) -> None:
    with pytest.raises(Net2VecError, match="3 heads"):
        Heads.of(np.arange(3), np.zeros((3, 6)), filter_mask=np.ones(shape, bool))
