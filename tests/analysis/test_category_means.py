"""Means use the concepts that have a score, and their own n."""

import json

import numpy as np
import pytest

from net2vec_jax.analysis.category_means import (
    average_categories,
    make_jsonable,
    mean_with_error,
    order_categories,
)
from net2vec_jax.core.errors import Net2VecError


def test_known_means_and_errors() -> None:
    scores = np.array([0.1, 0.3, 0.8, np.nan, 0.5])
    result = average_categories(scores, ["part", "part", "color", "part", "mine"])
    assert result.categories == ("color", "part", "mine")
    np.testing.assert_allclose(result.mean, [0.8, 0.2, 0.5])
    # The standard deviation of two values 0.2 apart is 0.2 / √2, over √2 of them.
    np.testing.assert_allclose(result.error, [np.nan, 0.1, np.nan])
    assert result.count.tolist() == [1, 2, 1]
    assert result.overall_count == 4
    assert result.overall_mean == pytest.approx(0.425)
    assert result.overall_error == pytest.approx(np.std([0.1, 0.3, 0.8, 0.5], ddof=1) / 2)


def test_means_over_the_first_axis() -> None:
    values = np.random.default_rng(0).random((9, 4))
    values[2, 1] = np.nan
    values[:, 3] = np.nan
    mean, error, count = mean_with_error(values)
    np.testing.assert_allclose(mean[:3], np.nanmean(values[:, :3], axis=0))
    np.testing.assert_allclose(
        error[:3], np.nanstd(values[:, :3], axis=0, ddof=1) / np.sqrt([9, 8, 9])
    )
    assert np.isnan([mean[3], error[3]]).all()
    assert count.tolist() == [9, 8, 9, 0]


def test_the_summary_is_json() -> None:
    summary = average_categories(np.array([np.nan, 0.5]), ["part", "part"]).summary()
    assert json.loads(json.dumps(summary, allow_nan=False))["all"] == {
        "mean": 0.5, "standard_error": None, "concepts": 1,
    }  # fmt: skip


def test_jsonable_values() -> None:
    value = {0.8: np.array([1, 2]), "x": (np.float32(0.5), np.inf, None, True, "name")}
    assert make_jsonable(value) == {"0.8": [1, 2], "x": [0.5, None, None, True, "name"]}


def test_no_concepts() -> None:
    result = average_categories(np.zeros(0), [])
    assert result.categories == ()
    assert np.isnan(result.overall_mean)
    assert order_categories(["zebra", "texture", "color"]) == ("color", "texture", "zebra")


def test_categories_that_do_not_fit_are_refused() -> None:
    with pytest.raises(Net2VecError, match="2 categories were given for 3 concepts"):
        average_categories(np.zeros(3), ["part", "part"])
