"""Scores over all val images are those of brute force; false alarms elsewhere count."""

import dataclasses

import jax
import numpy as np
import pytest
from helpers import make_random_problem, upsample_by_loop
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from net2vec_jax.activations.standardized import SpatialActivations, StandardizedActivations
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.interpolation import interpolation_matrix
from net2vec_jax.probes.segmentation import all_images, image_scan
from net2vec_jax.probes.segmentation.all_images import AllImageScores, score_all_images
from net2vec_jax.probes.segmentation.average_precision import (
    BLOCKS,
    average_precision,
    deal_blocks,
    jackknife_average_precision,
)
from net2vec_jax.probes.segmentation.evaluation import evaluate_segmentation
from net2vec_jax.probes.segmentation.image_scan import scan_images
from net2vec_jax.probes.segmentation.prediction import predict_filters
from net2vec_jax.probes.segmentation.scores import ImageOverlaps

KEY = jax.random.key(0)
IMAGES = 40


@pytest.fixture(autouse=True)
def _several_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_scan, "IMAGES_PER_CALL", 4)


def make_problem(seed: int, *, standardized: bool) -> tuple[SpatialActivations, ConceptMasks]:
    """40 images, 13 of them val, on some of which a concept is; 11 filters."""
    binary, masks = make_random_problem(seed, images=IMAGES, density=0.3)
    if not standardized:
        return binary, masks
    values = np.random.default_rng(seed).normal(size=(IMAGES, 12, 11)).astype(np.float32)
    return StandardizedActivations(values, binary.grid), masks


def make_heads(seed: int, concepts: int = 3, repetitions: int = 2) -> tuple[Heads, np.ndarray]:
    """Heads, and a level of each that is no sum of their weights."""
    rng = np.random.default_rng(seed)
    concept = np.tile(np.arange(concepts), repetitions)
    weights = rng.normal(size=(len(concept), 11)).astype(np.float32)
    seeds = np.repeat(np.arange(repetitions), concepts).astype(np.int32)
    return Heads.of(concept, weights, seed=seeds), rng.normal(size=len(concept)) / 4


def score_grids_by_loop(weights: np.ndarray, activations: SpatialActivations) -> np.ndarray:
    """z on the grid, float64 [N, H, h, w]."""
    if isinstance(activations, StandardizedActivations):
        x = activations.values.reshape(len(activations), *activations.grid, -1)
    else:
        x = activations.unpack()
    return np.einsum("nyxk,hk->nhyx", x.astype(float), weights.astype(float))


def score(
    heads: Heads,
    level: np.ndarray,
    activations: SpatialActivations,
    masks: ConceptMasks,
    cluster: np.ndarray | None = None,
) -> AllImageScores:
    weights = heads.initial_weights
    counts = evaluate_segmentation(weights, heads, activations, masks, level=level)
    return score_all_images(
        heads, weights, level, ImageOverlaps.of(counts, masks), activations, masks,
        key=KEY, bootstrap_samples=200, cluster=cluster,
    )  # fmt: skip


@pytest.mark.parametrize("standardized", [False, True])
def test_marked_pixels_are_those_above_the_level(standardized: bool) -> None:
    activations, _ = make_problem(0, standardized=standardized)
    heads, level = make_heads(1)
    images = np.array([3, 39, 0, 17, 20, 5, 6, 7, 8])
    z = upsample_by_loop(score_grids_by_loop(heads.initial_weights, activations)[images], (13, 10))
    found = scan_images(heads.initial_weights, level, activations, (13, 10), images)[0]
    expected = (z > level[:, None, None]).sum(axis=(2, 3))
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)


def test_a_weight_of_one_filter_marks_what_the_filter_marks() -> None:
    activations, _ = make_random_problem(14, images=IMAGES)
    images, filters = np.arange(IMAGES), activations.filters
    found = scan_images(
        np.eye(filters, dtype=np.float32), np.full(filters, 0.5), activations, (13, 10), images
    )[0]
    for filter_ in (0, 7):
        marked = predict_filters(np.full(IMAGES, filter_), images, activations, (13, 10))
        np.testing.assert_array_equal(found[:, filter_], marked.sum(axis=(1, 2)))


@pytest.mark.parametrize("standardized", [False, True])
def test_on_images_of_the_concept_the_counts_are_those_of_evaluation(standardized: bool) -> None:
    activations, masks = make_problem(15, standardized=standardized)
    heads, level = make_heads(16)
    weights = heads.initial_weights
    counts = evaluate_segmentation(weights, heads, activations, masks, level=level)
    found = scan_images(weights, level, activations, (13, 10), np.arange(IMAGES))[0]
    expected = np.sum(counts.overlap, axis=0) - masks.area[counts.pair]  # I + U − T
    np.testing.assert_array_equal(found[masks.pair_image[counts.pair], counts.head], expected)


@pytest.mark.parametrize("standardized", [False, True])
def test_scores_are_ratios_of_sums_over_all_val_images(
    standardized: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(all_images, "HEADS_AT_ONCE", 4)  # two embeddings, then one
    activations, masks = make_problem(2, standardized=standardized)
    heads, level = make_heads(3)
    found = score(heads, level, activations, masks)
    val = np.flatnonzero(masks.is_val)
    grids = score_grids_by_loop(heads.initial_weights, activations)[val]
    predicted = upsample_by_loop(grids, (13, 10)) > level[:, None, None]
    truth = np.zeros((3, IMAGES, 13, 10), bool)
    truth[masks.pair_concept, masks.pair_image] = masks.unpack(slice(None))
    truth = truth[:, val]
    mass = np.outer(*(interpolation_matrix(n, m).sum(0) for n, m in ((4, 13), (3, 10)))).ravel()
    for concept in range(3):
        both = predicted[:, [concept, concept + 3]]  # its two repetitions
        target = np.broadcast_to(truth[concept][:, None], both.shape)
        shared = (both & target).sum()
        expected = {
            "iou": shared / (both | target).sum(),
            "precision": shared / both.sum(),
            "recall": shared / target.sum(),
            "f1": 2 * shared / (both.sum() + target.sum()),
        }
        for name, value in expected.items():
            assert getattr(found, name).value[concept] == pytest.approx(value, rel=1e-12)
        rows, columns = (interpolation_matrix(n, m) for n, m in ((4, 13), (3, 10)))
        positive = np.einsum("Yy,nYX,Xx->nyx", rows, truth[concept], columns).ravel()
        labels = np.repeat([1, 0], len(positive))
        weight = np.concatenate([positive, np.tile(mass, len(val)) - positive])
        each = [
            average_precision_score(
                labels, np.tile(grids[:, head].ravel(), 2), sample_weight=np.maximum(weight, 0)
            )
            for head in (concept, concept + 3)
        ]
        # Bins make ties of scores within 1/512 of their range.
        assert found.average_precision.value[concept] == pytest.approx(np.mean(each), abs=0.01)
    for interval in (found.iou, found.precision, found.recall, found.f1, found.average_precision):
        assert ((interval.low >= 0) & (interval.high <= 1)).all()
        assert ((interval.low < interval.value) & (interval.value < interval.high)).all()


def test_columns_are_those_of_head_scores() -> None:
    activations, masks = make_problem(4, standardized=False)
    full, _ = make_heads(5, repetitions=1)
    subset = dataclasses.replace(full, filters=np.full(3, 2, np.int32))
    heads = jax.tree.map(lambda *x: np.concatenate(x), subset, full)
    found = score(heads, np.zeros(6), activations, masks)
    assert found.concept.tolist() == [0, 1, 2, 0, 1, 2]
    assert found.filters.tolist() == [0, 0, 0, 2, 2, 2]
    assert len(found) == 6
    np.testing.assert_array_equal(found.iou.value[:3], found.iou.value[3:])


def test_a_head_that_marks_everything_and_one_that_marks_nothing() -> None:
    activations, masks = make_problem(6, standardized=True)
    heads = Heads.of(np.array([1, 1]), np.zeros((2, 11)), filters=np.array([0, 1], np.int32))
    found = score(heads, np.array([-1.0, 1.0]), activations, masks)
    share = masks.area[(masks.pair_concept == 1) & masks.pair_is_val].sum() / (
        130 * masks.is_val.sum()
    )
    assert found.precision.value[0] == pytest.approx(share)
    assert found.recall.value.tolist() == [1, 0]
    assert found.iou.value == pytest.approx([share, 0])
    assert np.isnan([found.precision.value[1], found.precision.low[1]]).all()
    # All scores are ties: the precision of marking everything.
    assert found.average_precision.value == pytest.approx([share, share], rel=1e-5)


def test_false_alarms_elsewhere_cost_precision_and_not_recall() -> None:
    activations, masks = make_random_problem(7, images=IMAGES, density=0.3)
    heads, level = make_heads(8)
    before = score(heads, level, activations, masks)
    packed = activations.packed.copy()
    absent = masks.is_val & ~np.isin(np.arange(IMAGES), masks.pair_image[masks.pair_concept == 2])
    assert absent.any()
    packed[absent] = 0
    after = score(heads, level, dataclasses.replace(activations, packed=packed), masks)
    assert after.recall.value[2] == before.recall.value[2]
    assert after.precision.value[2] != before.precision.value[2]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8))
def test_average_precision_of_integer_scores_is_exact(
    counts: list[tuple[int, int]],
) -> None:
    positive, negative = np.array(counts, float).T
    found = average_precision(positive, positive + negative)
    if not positive.any():
        assert np.isnan(found)
        return
    bins = np.arange(len(counts))
    expected = average_precision_score(
        np.repeat([1, 0], len(counts)),
        np.tile(bins, 2),
        sample_weight=np.concatenate([positive, negative]),
    )
    assert found == pytest.approx(expected)


def test_equal_blocks_leave_no_doubt_and_one_block_leaves_all() -> None:
    positive = np.zeros((1, 4, 2, 3))
    positive[0, :, 0] = [1, 2, 4]
    positive[0, 1, 1] = [1, 2, 4]  # the second concept is on images of one block
    total = positive + np.array([5.0, 2, 1])
    found = jackknife_average_precision(positive, total)
    assert found.low[0] == pytest.approx(found.value[0]) == pytest.approx(found.high[0])
    assert (found.low[1], found.high[1]) == (0, 1)
    single = jackknife_average_precision(positive[:, :1], total[:, :1])
    assert (single.low[0], single.high[0]) == (0, 1)
    assert np.isnan([single.value[1], single.low[1], single.high[1]]).all()


@settings(max_examples=10)  # each number of clusters compiles
@given(st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_blocks_tear_no_cluster_apart(cluster: list[int]) -> None:
    unit = np.unique(cluster, return_inverse=True)[1]
    blocks = deal_blocks(unit, KEY)
    assert sorted(np.concatenate(blocks).tolist()) == list(range(len(unit)))
    assert len(blocks) == min(BLOCKS, unit.max() + 1)
    assert sum(len(np.unique(unit[block])) for block in blocks) == unit.max() + 1


def test_images_of_one_cluster_widen_the_intervals() -> None:
    activations, masks = make_random_problem(10, images=IMAGES, density=0.3)
    order = np.tile(np.flatnonzero(masks.is_val), 6)  # every val image six times
    heads, level = make_heads(11)
    pairs = np.concatenate([np.flatnonzero(masks.pair_image == image) for image in order])
    image = np.concatenate([np.full((masks.pair_image == i).sum(), n) for n, i in enumerate(order)])
    by_concept = np.lexsort([image, masks.pair_concept[pairs]])
    repeated = dataclasses.replace(
        masks,
        is_val=np.ones(len(order), bool),
        pair_concept=masks.pair_concept[pairs][by_concept],
        pair_image=image[by_concept].astype(np.int32),
        packed=masks.packed[pairs][by_concept],
        pixels=masks.pixels[pairs][by_concept],
        whole_image=masks.whole_image[pairs][by_concept],
    )
    of_order = dataclasses.replace(activations, packed=activations.packed[order])
    apart = score(heads, level, of_order, repeated)
    together = score(heads, level, of_order, repeated, cluster=order)
    for name in ("iou", "precision", "recall", "f1", "average_precision"):
        widths = [getattr(s, name).high - getattr(s, name).low for s in (together, apart)]
        assert (widths[0] > 1.5 * widths[1]).all()


def test_what_does_not_fit_is_refused() -> None:
    activations, masks = make_problem(12, standardized=False)
    heads, level = make_heads(13)
    with pytest.raises(Net2VecError, match="no"):
        score(heads, level, activations, dataclasses.replace(masks, is_val=np.zeros(IMAGES, bool)))
    with pytest.raises(Net2VecError, match="clusters of 3"):
        score(heads, level, activations, masks, cluster=np.arange(3))
