"""Location priors are those of brute force; masks are exchanged within a concept's train images."""

import itertools

import jax
import numpy as np
from helpers import make_masks, make_random_problem
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.data.concepts import ConceptCatalog
from net2vec_jax.probes.segmentation.controls import (
    count_regions,
    exchange_masks,
    exchange_targets,
    fit_location_prior,
    measure_everything,
)

SIZE = (2, 3)
"""So few pixels that all 64 regions can be tried."""
ROWS = st.integers(0, 63).map(lambda bits: np.array([bits >> n & 1 for n in range(6)], bool))
REGIONS = np.array(list(itertools.product([False, True], repeat=6))).reshape(-1, *SIZE)


def measure_region(region: np.ndarray, masks: np.ndarray) -> float:
    shared, union = (region & masks).sum(), (region | masks).sum()
    return shared / union if union else 0.0


@given(st.lists(ROWS, min_size=1, max_size=5))
def test_no_region_overlaps_the_train_masks_better(rows: list[np.ndarray]) -> None:
    marked = {(0, image): row.reshape(SIZE) for image, row in enumerate(rows)}
    marked[0, len(rows)] = marked[1, len(rows)] = np.ones(SIZE, bool)  # val, does not count
    masks = make_masks([False] * len(rows) + [True], marked, 2)
    found = fit_location_prior(masks)
    train = np.stack([marked[0, image] for image in range(len(rows))])
    best = max(measure_region(region, train) for region in REGIONS)
    assert measure_region(found[0], train) == best
    assert not found[1].any()  # a concept without train images


def test_regions_are_counted_to_the_pixel() -> None:
    _, masks = make_random_problem(1)
    regions = np.random.default_rng(0).random((3, *masks.segmentation_size)) < 0.4
    pairs = np.array([4, 0, 9, 12])
    found, pixels = count_regions(regions, masks, pairs), masks.unpack(pairs)
    of_pairs = regions[masks.pair_concept[pairs]]
    np.testing.assert_array_equal(found.intersection, (of_pairs & pixels).sum(axis=(1, 2)))
    np.testing.assert_array_equal(found.union, (of_pairs | pixels).sum(axis=(1, 2)))
    assert len(count_regions(regions, masks, pairs[:0]).union) == 0


def test_everything_is_the_concepts_share_of_its_val_images() -> None:
    _, masks = make_random_problem(2)
    found = measure_everything(masks)
    for concept in range(3):
        val = np.flatnonzero((masks.pair_concept == concept) & masks.pair_is_val)
        np.testing.assert_allclose(found[concept], masks.unpack(val).mean())


@given(st.integers(0, 1000))
def test_masks_are_exchanged_among_the_train_images_of_a_concept(seed: int) -> None:
    _, masks = make_random_problem(seed % 7)
    key = jax.random.key(seed)
    targets = exchange_targets(masks, key)
    pairs, val = np.arange(len(targets)), masks.pair_is_val
    np.testing.assert_array_equal(np.sort(targets), pairs)
    np.testing.assert_array_equal(masks.pair_concept[targets], masks.pair_concept)
    np.testing.assert_array_equal(targets[val], pairs[val])
    assert (targets[~val] != pairs[~val]).all()  # every concept has several train images
    exchanged = exchange_masks(masks, targets)
    np.testing.assert_array_equal(exchanged.unpack(pairs), masks.unpack(targets))
    np.testing.assert_array_equal(exchanged.area, masks.area[targets])
    np.testing.assert_array_equal(exchanged.pair_image, masks.pair_image)


def test_a_concepts_exchange_does_not_depend_on_the_others() -> None:
    _, masks = make_random_problem(5)
    alone = masks.select(ConceptCatalog(masks.catalog.concepts[1:2]))
    key = jax.random.key(3)
    own = masks.pair_concept == 1
    of_all = masks.pair_image[exchange_targets(masks, key)[own]]
    np.testing.assert_array_equal(alone.pair_image[exchange_targets(alone, key)], of_all)


def test_the_only_train_image_keeps_its_mask() -> None:
    masks = make_masks([False, True], {(0, 0): np.eye(2, 3) > 0, (0, 1): np.eye(2, 3) > 0}, 1)
    np.testing.assert_array_equal(exchange_targets(masks, jax.random.key(0)), [0, 1])
