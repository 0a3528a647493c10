"""The settings of the classification probe, on small activations in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import net2vec_jax as n2v

IMAGES, FILTERS = 60, 6
SETTINGS = {"epochs": 6, "batch_size": 8, "minimum_images": 2, "bootstrap_samples": 50}


@pytest.fixture(scope="module")
def dataset():
    """Every other image shows the sky, the others do not."""
    masks = np.zeros((IMAGES, 4, 4), np.int32)
    masks[::2] = 1
    pixels = np.zeros((IMAGES, 32, 32, 3), np.uint8)
    return n2v.from_arrays(pixels, masks, {1: "sky"}, val=[i % 3 == 0 for i in range(IMAGES)])


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    """float32 [60, 4, 4, 6]; filter 2 is stronger where there is sky."""
    values = np.random.default_rng(0).gamma(2, 1, (IMAGES, 4, 4, FILTERS)).astype(np.float32)
    values[::2, ..., 2] += 2
    return values


@pytest.mark.parametrize(
    "settings",
    [
        {"standardize": True},
        {"standardize": True, "pooling": "max", "filters": 2},
        {"quantile": 0.2},
        {"quantile": 0.2, "standardize": True},
    ],
)
def test_predictions_are_those_of_the_evaluation_and_survive_saving(
    settings, dataset, values, tmp_path: Path
) -> None:
    layer = n2v.read_activations(values)
    probe = n2v.train_classification(layer, dataset, **SETTINGS, **settings)
    saved = n2v.load_probe(probe.save(tmp_path / "run"))
    counts = probe.counts
    full = counts.head == 0
    for each in (probe, saved):
        predicted = each.predict(values[counts.image[full]])
        np.testing.assert_array_equal(predicted.shows[:, 0], counts.logit[full] > 0)


def test_standardised_training_does_not_depend_on_the_scale(dataset, values) -> None:
    probes = [
        n2v.train_classification(
            n2v.read_activations(factor * values), dataset, standardize=True, filters=3, **SETTINGS
        )
        for factor in (1, np.float32(1e-3))
    ]
    assert probes[0].counts.correct.mean() > 0.8
    # float32 rounding of the scaled activations, over a few dozen steps
    np.testing.assert_allclose(probes[0].counts.logit, probes[1].counts.logit, atol=1e-3)
    np.testing.assert_array_equal(*(probe.trained.heads.filter_mask for probe in probes))


def test_thresholds_pool_what_the_original_pools(dataset, values) -> None:
    """Behaviour 3.3: binary activations; those of binary activations above ½ are themselves."""
    probe = n2v.train_classification(
        n2v.read_activations(values), dataset, quantile=0.2, **SETTINGS
    )
    assert probe.thresholds is not None
    binary = n2v.read_activations((values > probe.thresholds).astype(np.float32))
    plain = n2v.train_classification(binary, dataset, **SETTINGS)
    assert plain.thresholds is None
    np.testing.assert_array_equal(plain.embeddings, probe.embeddings)


@pytest.mark.parametrize(
    ("factor", "settings", "is_said"),
    [
        (1, {}, False),
        (1e-3, {}, True),
        (1e-3, {"standardize": True}, False),
        (1e-3, {"learning_rate": 1e5}, False),
        (1e-3, {"optimizer": "adam"}, False),
    ],
)
def test_training_that_stalls_is_announced(
    factor, settings, is_said, dataset, values, capsys
) -> None:
    layer = n2v.read_activations((factor * values).astype(np.float32))
    n2v.train_classification(layer, dataset, **SETTINGS, **settings)
    assert ("--standardize" in capsys.readouterr().err) == is_said
