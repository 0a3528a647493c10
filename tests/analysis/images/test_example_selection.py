"""Images at planted ranks are found, each once, whatever the ties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from net2vec_jax.analysis.filters.filter_overlap import find_best_filters
from net2vec_jax.analysis.images.example_selection import (
    choose_across,
    choose_at_percentiles,
    choose_concepts_of_filter,
    choose_highest,
)
from net2vec_jax.core.errors import Net2VecError

SCORES = st.lists(st.integers(0, 5), min_size=1, max_size=40).map(lambda x: np.array(x, float))
PERCENTILES = st.lists(st.floats(0, 100), min_size=1, max_size=8)


def test_planted_percentiles_are_found() -> None:
    scores = np.random.default_rng(0).permutation(101) / 100
    choice = choose_at_percentiles(scores, (95, 75, 50, 25, 5))
    np.testing.assert_allclose(scores[choice.place], [0.95, 0.75, 0.5, 0.25, 0.05])
    np.testing.assert_allclose(choice.percentile, [95, 75, 50, 25, 5])
    ends = choose_at_percentiles(scores, (0, 100))
    np.testing.assert_array_equal(scores[ends.place], [1, 0])
    assert ends.percentile.tolist() == [100, 0]


@given(SCORES, PERCENTILES)
def test_places_are_distinct_descending_and_as_many_as_can_be(scores, percentiles) -> None:
    choice = choose_at_percentiles(scores, percentiles)
    assert len(choice.place) == min(len(scores), len(percentiles))
    assert len(set(choice.place.tolist())) == len(choice.place)
    assert (np.diff(scores[choice.place]) <= 0).all()
    assert (np.diff(choice.percentile) < 0).all()


@given(SCORES, st.floats(0, 100))
def test_the_nearest_rank_is_taken(scores, percentile) -> None:
    (found,) = choose_at_percentiles(scores, [percentile]).percentile
    if len(scores) > 1:
        assert abs(found - percentile) <= 50 / (len(scores) - 1) + 1e-9
    else:
        assert found == 100


def test_of_equal_scores_the_first_is_higher() -> None:
    scores = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    assert choose_highest(scores, 9).place.tolist() == [1, 2, 4, 0, 3]
    assert choose_highest(scores, 2).place.tolist() == [1, 2]
    assert choose_at_percentiles(scores, (100, 100, 100)).place.tolist() == [1, 2, 4]


def test_close_percentiles_of_few_images_take_neighbours() -> None:
    choice = choose_at_percentiles(np.array([0.1, 0.9, 0.5, 0.7]), (95, 90))
    assert choice.place.tolist() == [1, 3]
    assert len(choose_at_percentiles(np.zeros(0), (50,)).place) == 0


@pytest.mark.parametrize("percentile", [-1, 101, np.nan])
def test_percentiles_out_of_range_are_refused(percentile: float) -> None:
    with pytest.raises(Net2VecError, match="percentiles lie between 0 and 100"):
        choose_at_percentiles(np.arange(3.0), (50, percentile))


def test_concepts_are_chosen_from_all_categories() -> None:
    categories = ["object"] * 9 + ["color"] * 1 + ["part"] * 2
    scores = np.arange(12) / 12
    chosen = choose_across(scores, categories, 6).tolist()
    assert chosen == [8, 5, 3, 9, 11, 10]  # objects at 100, 66.7 and 33.3 %
    assert sorted(choose_across(scores, categories, 99).tolist()) == list(range(12))
    assert choose_across(scores, categories, 1).tolist() == [8]


def test_a_filter_serves_its_planted_concepts() -> None:
    best = np.array([2, 0, 2, 1, 1])  # filters of the concepts
    ious = np.array([0.1, 0.9, 0.3, 0.2, 0.2])
    weights = np.zeros((5, 3))
    weights[:, 2] = [5, 10, 0.1, -3, 0]
    weights[:, 0] = [0, 100, 0, 0.1, 0]
    weights[3, 1] = 1
    assert choose_concepts_of_filter(2, best == 2, ious, weights, 3) == [2, 0, 1]
    assert choose_concepts_of_filter(2, best == 2, ious, weights, 1) == [2, 0]
    assert choose_concepts_of_filter(1, best == 1, ious, weights, 3) == [3, 4]
    # by its share of the embedding, not by its size: 5 of 5 comes before 10 of √(10² + 100²)
    assert choose_concepts_of_filter(2, np.zeros(5, bool), ious, weights, 2) == [0, 2]


def test_a_concept_that_no_filter_overlaps_is_served_by_none() -> None:
    train_iou = np.zeros((3, 4))
    train_iou[1, 0] = 0.3
    is_best = find_best_filters(train_iou)
    weights = np.zeros((3, 4))
    for filter_, served in ((0, [1]), (1, []), (3, [])):
        found = choose_concepts_of_filter(filter_, is_best[:, filter_], np.ones(3), weights, 3)
        assert found == served
