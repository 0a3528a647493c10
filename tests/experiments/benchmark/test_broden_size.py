"""Data of Broden's size has Broden's statistics, at a small share of its size."""

import numpy as np
import pytest

from experiments.benchmark.broden_size import (
    BRODEN_CATEGORIES,
    BRODEN_IMAGES,
    ProblemSize,
    draw_problem,
)
from net2vec_jax.core.errors import Net2VecError

SIZE = ProblemSize(images=1500)


@pytest.fixture(scope="module")
def problem():
    return draw_problem(SIZE)


def test_there_are_as_many_concepts_as_in_broden(problem) -> None:
    _, masks = problem
    assert len(masks.catalog) == sum(each.concepts for each in BRODEN_CATEGORIES) == 1197
    assert ProblemSize().images == BRODEN_IMAGES == 63305


def test_concepts_have_as_many_images_as_in_broden_on_average(problem) -> None:
    _, masks = problem
    count = np.bincount(masks.pair_concept, minlength=len(masks.catalog))
    assert count.min() >= 10
    for category in BRODEN_CATEGORIES:
        of_category = [c.primary_category == category.category for c in masks.catalog]
        mean = category.images * SIZE.images / BRODEN_IMAGES
        if mean > 20:  # fewer are cut off at 10 images
            # Cut off at 10 and at all images; the colours are in nearly all.
            assert count[of_category].mean() == pytest.approx(mean, rel=0.15), category


def test_pairs_are_sorted_and_unique(problem) -> None:
    _, masks = problem
    key = masks.pair_concept.astype(np.int64) * SIZE.images + masks.pair_image
    assert (np.diff(key) > 0).all()
    assert masks.is_val.mean() == pytest.approx(0.3, abs=1e-3)
    assert (np.diff(masks.is_val.astype(int)) >= 0).all()  # train first


def test_half_a_percent_of_the_activations_are_active(problem) -> None:
    activations, _ = problem
    share = np.bitwise_count(activations.packed).sum() / (SIZE.images * 169 * 256)
    # Entries that were drawn twice count once.
    assert share == pytest.approx(0.005, rel=0.05)
    counts = activations.active_entries.count
    assert counts.std() / counts.mean() == pytest.approx(0.3, abs=0.05)


def test_masks_are_boxes_or_whole_images(problem) -> None:
    _, masks = problem
    names = np.array([c.primary_category for c in masks.catalog])[masks.pair_concept]
    np.testing.assert_array_equal(masks.whole_image, np.isin(names, ["scene", "texture"]))
    shown = masks.unpack(slice(0, len(masks.pair_image), 97))
    for mask, whole in zip(shown, masks.whole_image[::97], strict=True):
        rows, columns = mask.any(axis=1), mask.any(axis=0)
        np.testing.assert_array_equal(mask, rows[:, None] & columns[None])
        assert mask.all() == whole
        assert mask.any()
    np.testing.assert_array_equal(masks.pixels[::97], shown.sum(axis=(1, 2)))


def test_the_same_seed_gives_the_same() -> None:
    size = ProblemSize(images=40, filters=9, concept_share=0.02)
    first, again, other = (draw_problem(size, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0].packed, again[0].packed)
    np.testing.assert_array_equal(first[1].packed, again[1].packed)
    assert (first[0].packed != other[0].packed).any()


@pytest.mark.parametrize("wrong", [{"images": 3}, {"filters": 0}, {"density": 0.0}])
def test_sizes_that_make_no_sense(wrong: dict) -> None:
    with pytest.raises(Net2VecError):
        ProblemSize(**wrong)
