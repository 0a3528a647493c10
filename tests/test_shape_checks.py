"""Arrays of other shapes than a signature names are errors in all tests."""

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from net2vec_jax.networks.layers.blocks import convolve_depthwise
from net2vec_jax.probes.heads import Heads
from net2vec_jax.stats.metrics import iou

PADS = ((0, 0), (0, 0))


def test_functions_that_name_arrays_are_checked() -> None:
    images, kernel = jnp.zeros((1, 4, 4, 3)), jnp.zeros((3, 3, 1, 3))
    assert convolve_depthwise(images, kernel, 1, PADS).shape == (1, 2, 2, 3)
    for wrong in ((images[0], kernel), (images, jnp.zeros((3, 3, 1, 4))), (np.ones(3), kernel)):
        with pytest.raises(jaxtyping.TypeCheckError):
            convolve_depthwise(*wrong, 1, PADS)


def test_methods_of_classes_are_checked() -> None:
    concept, weights = np.arange(2), np.zeros((2, 3), np.float32)
    assert len(Heads.of(concept, weights)) == 2
    with pytest.raises(jaxtyping.TypeCheckError):
        Heads.of(concept, weights[0])


def test_functions_without_arrays_of_named_axes_are_left_alone() -> None:
    assert hasattr(convolve_depthwise, "__wrapped__")
    assert not hasattr(iou, "__wrapped__")
