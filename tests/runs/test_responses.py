"""Probes of signed layers: what only low filters show, from training to a run read again."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import net2vec_jax as n2v
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.runs.directory import RunDirectory
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.stats.metrics import set_iou

IMAGES, GRID, FILTERS = 24, (6, 6), 5
SETTINGS = {"quantile": 0.1, "epochs": 20, "learning_rate": 0.01, "bootstrap_samples": 20}
VALUES = np.random.default_rng(0).normal(size=(IMAGES, *GRID, FILTERS)).astype(np.float32)


@pytest.fixture(scope="module")
def dataset() -> ConceptDataset:
    """A concept where filter 3 is low, and one where filter 1 is high."""
    low = VALUES[..., 3] < np.quantile(VALUES[..., 3], 0.1)
    high = VALUES[..., 1] > np.quantile(VALUES[..., 1], 0.9)
    masks = np.where(low, 1, np.where(high, 2, 0)).astype(np.int32)
    images = np.zeros((IMAGES, 32, 32, 3), np.uint8)
    return n2v.from_arrays(images, masks, {1: "low", 2: "high"})


def train(dataset: ConceptDataset, responses) -> n2v.SegmentationProbe:
    layer = n2v.read_activations(VALUES, responses=responses)
    return n2v.train_segmentation(layer, dataset, cache_data=False, **SETTINGS)


@pytest.fixture(scope="module")
def both(dataset: ConceptDataset) -> n2v.SegmentationProbe:
    return train(dataset, "both")


def test_what_a_low_filter_shows_is_found_by_its_negative(
    both: n2v.SegmentationProbe, dataset: ConceptDataset
) -> None:
    scores = both.scores().set_index("concept")
    assert scores["best_filter"].to_dict() == {"low": "-3", "high": "+1"}
    assert (scores["single_val_iou"] > 0.85).all()
    assert scores["single_same_rule_filter"].to_dict() == {"low": 3, "high": 1}
    assert scores["single_same_rule_sign"].to_dict() == {"low": -1, "high": 1}
    assert both.embeddings.shape == (1, 2, 2 * FILTERS)
    assert both.filter_names[both.embeddings[0].argmax(axis=1)].tolist() == ["-3", "+1"]
    positive = train(dataset, "positive").scores().set_index("concept")
    assert positive["best_filter"].dtype == pd.Int64Dtype()
    assert positive["single_val_iou"]["low"] < 0.3 < 0.85 < positive["single_val_iou"]["high"]
    pd.testing.assert_series_equal(
        positive.loc["high", ["single_train_iou", "single_val_iou"]],
        scores.loc["high", ["single_train_iou", "single_val_iou"]],
    )
    assert (positive["val_iou"] < scores["val_iou"]).loc["low"]
    negative = train(dataset, "negative").scores().set_index("concept")
    assert negative["best_filter"]["low"] == "-3"
    assert negative["single_same_rule_sign"].to_list() == [-1, -1]


def test_a_saved_probe_predicts_as_it_was_trained(
    both: n2v.SegmentationProbe, dataset: ConceptDataset, tmp_path: Path
) -> None:
    loaded = n2v.load_probe(both.save(tmp_path / "run"))
    assert isinstance(loaded, n2v.SegmentationProbe) and loaded.responses == "both"
    with (tmp_path / "run" / "thresholds.csv").open() as file:
        names = [row["filter"] for row in csv.DictReader(file)]
    assert names == [f"{sign}{k}" for sign in "+-" for k in range(FILTERS)]
    best = FinishedRun(tmp_path / "run").read_column("single_filter.csv", "best_filter")
    assert best == ["-3", "+1"]
    np.testing.assert_array_equal(loaded.thresholds, both.thresholds)
    pd.testing.assert_frame_equal(loaded.scores(), both.scores(), check_dtype=False)
    val = np.flatnonzero(dataset.is_val)
    predicted = loaded.predict(VALUES[val])  # the layer's activations, of K channels
    counts = both.overlaps
    for place in range(2):
        kept = counts.is_val & (counts.head == place)
        expected = set_iou(counts.select(kept), np.zeros(kept.sum(), int), 1)
        images = counts.image[kept].tolist()
        masks = np.stack([predicted.masks[val.tolist().index(n)][place] for n in images])
        planes = np.stack([dataset.labels(n).planes["object"] for n in images])
        truth = (planes == place + 1).any(axis=1)
        np.testing.assert_allclose((masks & truth).sum() / (masks | truth).sum(), expected[0])
    with pytest.raises(Net2VecError, match="layer has 5"):
        loaded.predict(np.concatenate([VALUES, -VALUES], axis=-1))


def test_other_responses_do_not_resume(both: n2v.SegmentationProbe, tmp_path: Path) -> None:
    origin = {**both.origin}
    RunDirectory(tmp_path / "run", origin)
    RunDirectory(tmp_path / "run", origin)
    del origin["responses"]
    with pytest.raises(Net2VecError, match="responses: 'both' there, 'positive' now"):
        RunDirectory(tmp_path / "run", origin)
    RunDirectory(tmp_path / "old", origin)  # as it was before there were others
    RunDirectory(tmp_path / "old", {**origin, "responses": "positive"})


def test_classification_pools_what_binary_responses_mark(dataset: ConceptDataset) -> None:
    layer = n2v.read_activations(np.abs(VALUES) * [1, 1, 1, -1, 1], responses="both")
    masks = np.zeros((IMAGES, 6, 6), np.int32)
    masks[::2] = 1
    shown = n2v.from_arrays(np.zeros((IMAGES, 32, 32, 3), np.uint8), masks, {1: "x"})
    probe = n2v.train_classification(
        layer, shown, quantile=0.1, epochs=1, minimum_images=2, cache_data=False
    )
    assert probe.embeddings.shape == (1, 1, 2 * FILTERS)
    assert len(probe.predict(VALUES).shows) == IMAGES


def test_a_signed_layer_is_told_once(
    dataset: ConceptDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    train(dataset, "positive")
    err = capsys.readouterr().err
    assert err.count("layer layer is signed: 5 of its 5 filters") == err.count("note:") == 1
    train(dataset, "both")
    layer = n2v.read_activations(np.maximum(VALUES, 0))
    n2v.train_segmentation(layer, dataset, cache_data=False, **SETTINGS)
    assert "signed" not in capsys.readouterr().err


def test_converged_has_no_use_for_responses(dataset: ConceptDataset) -> None:
    layer = n2v.read_activations(VALUES, responses="both")
    with pytest.raises(Net2VecError, match=r"--responses both .*responses=.both.. has no use"):
        n2v.train_segmentation(layer, dataset, n2v.CONVERGED)
