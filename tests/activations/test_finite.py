"""Activations are compared in float32, and refused where they are not finite."""

import numpy as np
import pytest

from net2vec_jax.activations.binary import collect_binary_activations
from net2vec_jax.activations.finite import require_finite
from net2vec_jax.activations.pooled import collect_pooled_activations
from net2vec_jax.activations.thresholds import collect_thresholds
from net2vec_jax.core.errors import Net2VecError

READERS = {
    "thresholds": lambda batches: collect_thresholds(batches, 6 * 6),
    "pooled": collect_pooled_activations,
    "binary": lambda batches: collect_binary_activations(batches, np.zeros(4)),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e39])
def test_every_reader_names_image_and_filter(read, value: float) -> None:
    maps = np.zeros((6, 2, 3, 4))
    maps[4, 1, 0, 2] = value
    with pytest.raises(Net2VecError, match=r"activations of image 4 .* filter 2 has the value"):
        read([maps[:3], maps[3:]])


def test_float32_is_passed_on_without_a_copy() -> None:
    values = np.ones((2, 3), np.float32)
    assert require_finite(values, [0, 1]) is values


@pytest.mark.parametrize("value", [0.7, 0.3])  # float32 is below and above the double
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_values_that_equal_their_threshold_are_inactive_in_every_type(value, dtype) -> None:
    maps = np.full((10, 4, 4, 1), value, dtype)
    thresholds = collect_thresholds([maps], 160)
    assert thresholds[0] == np.float32(value)
    assert not collect_binary_activations([maps], thresholds).unpack().any()
    assert not collect_binary_activations([maps], thresholds.astype(np.float64)).unpack().any()
    assert not collect_pooled_activations([maps], thresholds=thresholds).any()
