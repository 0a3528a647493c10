"""Responses of either sign: one definition for thresholds, names, directions and the store."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import net2vec_jax as n2v
from net2vec_jax.activations.responses import (
    apply_responses,
    count_filters,
    count_signed,
    fold_directions,
    name_filters,
    split_filters,
)
from net2vec_jax.core.errors import Net2VecError

VALUES = np.random.default_rng(0).normal(size=(6, 5, 4, 3)).astype(np.float32)


@hypothesis.given(st.sampled_from(["positive", "negative", "both"]), st.integers(1, 20))
def test_names_signs_and_directions_are_of_the_same_filters(responses, channels: int) -> None:
    count = count_filters(channels, responses)
    activations = np.arange(1.0, channels + 1)
    values = apply_responses(activations, responses)
    channel, sign = split_filters(np.arange(count), count, responses)
    np.testing.assert_array_equal(values, sign * activations[channel])
    names = name_filters(count, responses).tolist()
    assert len(set(names)) == count
    assert [abs(int(name)) for name in names] == channel.tolist()
    assert all((str(name)[0] == "-") == (s < 0) for name, s in zip(names, sign, strict=True))
    directions = np.random.default_rng(channels).normal(size=(2, count))
    folded = fold_directions(directions, responses)
    np.testing.assert_allclose(folded @ activations, directions @ values)


def test_thresholds_of_both_are_those_of_either() -> None:
    of = {
        responses: n2v.read_activations(VALUES, responses=responses).thresholds(quantile=0.1)
        for responses in ("positive", "negative", "both")
    }
    np.testing.assert_array_equal(of["both"], [*of["positive"], *of["negative"]])
    np.testing.assert_array_equal(
        of["negative"], n2v.read_activations(-VALUES).thresholds(quantile=0.1)
    )


def test_one_store_serves_all_responses(tmp_path: Path) -> None:
    network = n2v.load_network("efficientnet_lite0")
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    both, positive = (
        n2v.collect_activations(
            network, images, "block10", responses=responses, directory=tmp_path / "store"
        )
        for responses in ("both", "positive")
    )
    assert both.shape == (3, 4, 4, 224) and positive.shape == (3, 4, 4, 112)
    assert {**both.origin} == {**positive.origin, "responses": "both"}
    (values,), (expected,) = both.batches(), positive.batches()
    np.testing.assert_array_equal(values, np.concatenate([expected, -expected], axis=-1))
    np.testing.assert_array_equal(both.read([2, 0]), values[[2, 0]])


def test_layers_without_a_rectifier_are_told_apart() -> None:
    values = np.random.default_rng(0).normal(size=(4, 16, 16, 10)).astype(np.float32)
    assert count_signed(values) == 10
    for rectify in (jax.nn.relu, jax.nn.relu6, jax.nn.gelu, jax.nn.silu, jax.nn.hard_swish):
        assert count_signed(np.asarray(rectify(jnp.asarray(values)))) == 0, rectify


def test_unknown_responses_are_refused() -> None:
    with pytest.raises(Net2VecError, match="'signed' are none of positive, negative, both"):
        n2v.read_activations(VALUES, responses="signed")  # pyright: ignore[reportArgumentType]
