"""Counts of every filter with every concept equal brute force (reference spec, section 4)."""

import numpy as np
import pytest
from helpers import (
    list_activations,
    make_masks,
    make_random_problem,
    pack_activations,
    upsample_by_loop,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from net2vec_jax.activations.binary import BinaryActivations
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.single_filters import evaluation
from net2vec_jax.probes.single_filters.evaluation import probe_single_filters
from net2vec_jax.probes.single_filters.prediction import count_chosen_filters
from net2vec_jax.stats.metrics import NO_FILTER, choose_best_filters, iou


def count_by_loop(
    activations: BinaryActivations, masks: ConceptMasks, level: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Threshold, upsample, threshold again; pair by pair, filter by filter."""
    bits = activations.unpack().transpose(0, 3, 1, 2).astype(float)
    predicted = upsample_by_loop(bits, masks.segmentation_size) > level + 1e-9
    intersection = np.zeros((2, len(masks.catalog), activations.filters), np.int64)
    union = np.zeros_like(intersection)
    targets = masks.unpack(slice(None))
    for concept, image, target in zip(masks.pair_concept, masks.pair_image, targets, strict=True):
        split = int(masks.is_val[image])
        for k, filter_ in enumerate(predicted[image]):
            intersection[split, concept, k] += (filter_ & target).sum()
            union[split, concept, k] += (filter_ | target).sum()
    return intersection, union


# On these grids no upsampled 0/1 map is exactly 0.5 anywhere (odd denominators), so counts are
# exact integers whatever the rounding.
EXACT = {"grid": (4, 4), "segmentation_size": (16, 10)}


@given(seed=st.integers(0, 10**6))
@settings(max_examples=6)
def test_counts_equal_brute_force(seed: int) -> None:
    problem = make_random_problem(seed, density=0.3, **EXACT)
    counts = probe_single_filters(*problem)
    intersection, union = count_by_loop(*problem)
    assert counts.intersection.dtype == counts.union.dtype == np.int64
    np.testing.assert_array_equal(counts.intersection, intersection)
    np.testing.assert_array_equal(counts.union, union)


@pytest.mark.parametrize("bytes_", [1, 100, 2**20])
def test_lists_in_parts_give_the_same_counts(bytes_: int, monkeypatch) -> None:
    activations, masks = make_random_problem(7, images=23, density=0.3, **EXACT)
    expected = probe_single_filters(activations, masks)
    monkeypatch.setattr(evaluation, "BYTES_PER_DEVICE", bytes_)
    for counts, same in zip(
        probe_single_filters(list_activations(activations), masks), expected, strict=True
    ):
        np.testing.assert_array_equal(counts, same)
    chosen = np.array([3, 0, NO_FILTER])
    for counts, same in zip(
        count_chosen_filters(list_activations(activations), masks, chosen),
        count_chosen_filters(activations, masks, chosen),
        strict=True,
    ):
        np.testing.assert_array_equal(counts, same)


@pytest.mark.parametrize("level", [0.0, 0.3])
def test_a_filter_marks_what_is_above_the_level(level: float) -> None:
    problem = make_random_problem(2, density=0.3, **EXACT)
    counts = probe_single_filters(*problem, level=level)
    intersection, union = count_by_loop(*problem, level)
    np.testing.assert_array_equal(counts.intersection, intersection)
    np.testing.assert_array_equal(counts.union, union)


@pytest.mark.parametrize(("concepts", "filters", "images"), [(1, 1, 2), (19, 5, 9), (2, 70, 30)])
def test_counts_equal_brute_force_over_several_blocks(
    concepts: int, filters: int, images: int
) -> None:
    problem = make_random_problem(
        1, concepts=concepts, filters=filters, images=images, density=0.4, **EXACT
    )
    counts = probe_single_filters(*problem)
    intersection, union = count_by_loop(*problem)
    np.testing.assert_array_equal(counts.intersection, intersection)
    np.testing.assert_array_equal(counts.union, union)


def test_set_iou_is_a_ratio_of_sums() -> None:
    counts = probe_single_filters(*make_random_problem(2, **EXACT))
    ious = iou(*counts)
    assert ious.dtype == np.float64
    assert ious.shape == counts.union.shape
    assert (ious >= 0).all()
    assert (ious <= 1).all()
    np.testing.assert_allclose(ious, counts.intersection / np.maximum(counts.union, 1), rtol=1e-15)


def test_a_perfect_filter_has_iou_one_and_is_the_best() -> None:
    # 3 → 5 doubles the grid; a filter that is on everywhere predicts every pixel.
    bits = np.zeros((3, 3, 3, 4), bool)
    bits[..., 2] = True
    masks = make_masks(
        [False, False, True], {(0, n): np.ones((5, 5), bool) for n in range(3)}, concepts=1
    )
    counts = probe_single_filters(pack_activations(bits), masks)
    assert counts.intersection[:, 0, 2].tolist() == [50, 25]
    best, train, val = choose_best_filters(iou(*counts))
    assert (best.tolist(), train.tolist(), val.tolist()) == ([2], [1.0], [1.0])


def test_exactly_one_half_is_not_predicted() -> None:
    # 2 → 3: the middle of an edge between an active and an inactive position is exactly 0.5.
    bits = np.zeros((1, 2, 2, 1), bool)
    bits[0, :, 0] = True
    masks = make_masks([False], {(0, 0): np.ones((3, 3), bool)}, concepts=1)
    counts = probe_single_filters(pack_activations(bits), masks)
    assert counts.intersection[0, 0, 0] == 3
    assert counts.union[0, 0, 0] == 9


def test_nothing_active_gives_iou_zero_and_the_first_filter() -> None:
    _, masks = make_random_problem(0, **EXACT)
    silent = BinaryActivations(np.zeros((14, 16, 2), np.uint8), (4, 4), 11)
    counts = probe_single_filters(silent, masks)
    assert not counts.intersection.any()
    area = np.zeros((2, 3), np.int64)
    np.add.at(area, (masks.pair_is_val.astype(int), masks.pair_concept), masks.area)
    np.testing.assert_array_equal(counts.union, np.repeat(area[..., None], 11, axis=2))
    best, train, val = choose_best_filters(iou(*counts))
    assert best.tolist() == [NO_FILTER] * 3
    assert not train.any() and not val.any()


def test_best_filter_is_chosen_on_train_and_reported_on_val() -> None:
    counts = probe_single_filters(*make_random_problem(4, density=0.4, **EXACT))
    ious = iou(*counts)
    best, train, val = choose_best_filters(ious)
    np.testing.assert_array_equal(best, ious[0].argmax(axis=1))
    np.testing.assert_array_equal(train, ious[0].max(axis=1))
    np.testing.assert_array_equal(val, ious[1][np.arange(3), best])


def test_activations_of_other_images() -> None:
    activations, _ = make_random_problem(0, images=5)
    _, masks = make_random_problem(0, images=6)
    with pytest.raises(Net2VecError, match="5 images, but masks of 6"):
        probe_single_filters(activations, masks)


def test_chosen_filters_are_counted_image_by_image() -> None:
    activations, masks = make_random_problem(5, concepts=4, filters=7, images=11, **EXACT)
    chosen = np.array([6, 0, 3, 3])
    found = count_chosen_filters(activations, masks, chosen, chunk_size=4)
    every = probe_single_filters(activations, masks)
    for counts, sums in zip(found, every, strict=True):
        for concept, filter_ in enumerate(chosen):
            for split in (0, 1):
                inside = (masks.pair_concept == concept) & (masks.pair_is_val == split)
                assert counts[inside].sum() == sums[split, concept, filter_]
    bits = activations.unpack().transpose(0, 3, 1, 2).astype(float)
    predicted = upsample_by_loop(bits, masks.segmentation_size) > 0.5 + 1e-9
    targets = masks.unpack(slice(None))
    expected = [
        (predicted[image, chosen[concept]] & target).sum()
        for concept, image, target in zip(
            masks.pair_concept, masks.pair_image, targets, strict=True
        )
    ]
    np.testing.assert_array_equal(found.intersection, expected)
