"""Segmentation probes at their optimum: what is linear is found, kept, read back and resumed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from helpers import upsample_by_loop

import net2vec_jax as n2v
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.data.decoded import decode_masks
from net2vec_jax.probes.heads import ALL_FILTERS
from net2vec_jax.runs import files
from net2vec_jax.runs.directory import RunDirectory
from net2vec_jax.runs.probe import Problem
from net2vec_jax.runs.segmentation import SegmentationProbe, probe_segmentation

IMAGES, GRID, SIZE, FILTERS = 40, (5, 6), (21, 26), 4
SETTINGS = {"filters": (1, 2), "bootstrap_samples": 50}


def make_activations() -> np.ndarray:
    """Filters of means and deviations of their own."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(IMAGES, *GRID, FILTERS))
    return (values * [1, 10, 0.1, 3] + [0, 50, -1, 2]).astype(np.float32)


@pytest.fixture(scope="module")
def layer() -> n2v.LayerActivations:
    return n2v.read_activations(make_activations())


@pytest.fixture(scope="module")
def dataset() -> ConceptDataset:
    """Two concepts, where two filters together are high, and where they are low; every third image
    is of the film of the one before."""
    standardized = (make_activations() - [0, 50, -1, 2]) / [1, 10, 0.1, 3]
    score = upsample_by_loop(standardized[..., 0] - standardized[..., 1], SIZE)
    masks = np.where(score > 0.8, 1, np.where(score < -0.8, 2, 0)).astype(np.int32)
    images = np.zeros((IMAGES, 32, 32, 3), np.uint8)
    groups = np.arange(IMAGES) - (np.arange(IMAGES) % 3 == 2)
    return n2v.from_arrays(images, masks, {1: "high", 2: "low"}, groups=groups)


@pytest.fixture(scope="module")
def probe(layer: n2v.LayerActivations, dataset: ConceptDataset) -> SegmentationProbe:
    return n2v.train_segmentation(layer, dataset, n2v.CONVERGED, cache_data=False, **SETTINGS)


def make_problem(layer: n2v.LayerActivations, dataset: ConceptDataset) -> Problem:
    masks = decode_masks(dataset, "union", cache=False)
    return Problem(lambda: layer, lambda: masks)


def assert_equal(a: SegmentationProbe, b: SegmentationProbe) -> None:
    """All arrays of two probes, and their settings."""
    pd.testing.assert_frame_equal(a.scores(), b.scores(), check_exact=True)
    assert a.settings == b.settings
    for name in ("trained", "evaluation", "overlaps", "rivals", "scale", "thresholds"):
        mine, theirs = getattr(a, name), getattr(b, name)
        assert jax.tree.structure(mine) == jax.tree.structure(theirs), name
        jax.tree.map(np.testing.assert_array_equal, mine, theirs)
    assert list(a.measures) == list(b.measures)
    for name, column in a.measures.items():
        np.testing.assert_array_equal(column, b.measures[name], err_msg=name)


def test_what_is_linear_is_found(probe: SegmentationProbe) -> None:
    table = probe.scores()
    full = table[table["filters"].isna()]
    assert full["concept"].tolist() == ["high", "low"]
    assert (full["val_iou"] > 0.9).all()
    for rival in ("prior", "control", "everything", "single_same_rule"):
        assert (full["val_iou"] > full[f"{rival}_val_iou"] + 0.2).all()
    for rival in ("prior", "control"):
        assert (full[f"{rival}_val_iou_low"] <= full[f"{rival}_val_iou"]).all()
        assert (full[f"{rival}_val_iou"] <= full[f"{rival}_val_iou_high"]).all()
    assert (full["loss_share"] >= 0.99).all()
    assert full["l2"].round(6).isin((0.01, 0.1, 1, 10)).all()
    # Filters 0 and 1 are what the concepts are made of.
    weights = np.abs(probe.embeddings[0])
    assert (weights[:, :2].min(1) > 5 * weights[:, 2:].max(1)).all()
    assert probe.embeddings[0, 0, 0] > 0 > probe.embeddings[0, 1, 0]


def test_embeddings_of_few_filters(probe: SegmentationProbe) -> None:
    table = probe.scores()
    assert table["filters"].fillna(0).tolist() == [0, 0, 1, 1, 2, 2]
    for size in (1, 2):
        few = probe.select_embeddings(filters=size)
        assert ((few != 0).sum(axis=1) == size).all()
    by_size = table["val_iou"].to_numpy().reshape(3, 2)
    np.testing.assert_allclose(by_size[0], by_size[2], atol=0.05)  # two filters are all it takes
    assert (by_size[2] > by_size[1] + 0.2).all()
    # A single filter under the same rule: trained, or chosen by its set IoU.
    single = table["single_same_rule_val_iou"].to_numpy()[2:4]
    np.testing.assert_allclose(by_size[1], single, atol=0.1)
    assert probe.rivals.filter.max() <= 1


def test_predictions_are_the_pixels_of_the_evaluation(
    probe: SegmentationProbe, dataset: ConceptDataset
) -> None:
    masks = decode_masks(dataset, "union", cache=False)
    heads = probe.trained.heads
    for filters in (None, 2):
        predicted = probe.predict(make_activations(), filters=filters)
        kept = heads.filters == (ALL_FILTERS if filters is None else filters)
        overlaps = probe.overlaps.select_entries(kept[probe.overlaps.head])
        concept = heads.concept[overlaps.head]
        found = np.stack(predicted.masks)[overlaps.image, concept]
        pair = np.searchsorted(
            masks.pair_concept * IMAGES + masks.pair_image, concept * IMAGES + overlaps.image
        )
        truth = masks.unpack(pair)
        np.testing.assert_array_equal((found & truth).sum((1, 2)), overlaps.intersection)
        np.testing.assert_array_equal((found | truth).sum((1, 2)), overlaps.union)
        probabilities = np.stack(predicted.probabilities)
        np.testing.assert_array_equal(np.stack(predicted.masks), probabilities > 0.5)


def test_a_pixel_is_marked_above_the_decision_threshold(probe: SegmentationProbe) -> None:
    trained, scale = probe.trained, probe.scale
    assert trained.decision is not None and scale is not None
    x = (make_activations()[3] - scale.mean) / scale.deviation
    z = x @ trained.weights[0] + trained.bias[0]
    above = upsample_by_loop(z, SIZE) - trained.decision[0]
    (mask,) = probe.predict(make_activations()[3:4], "high").masks[0]
    clear = np.abs(above) > 1e-4
    np.testing.assert_array_equal(mask[clear], (above > 0)[clear])
    np.testing.assert_allclose(trained.level, trained.decision - trained.bias)
    np.testing.assert_allclose(probe.scores()["decision_threshold"], trained.decision, rtol=1e-6)


def test_a_probe_is_read_back_as_it_was_saved(probe: SegmentationProbe, tmp_path: Path) -> None:
    directory = probe.save(tmp_path / "run")
    loaded, run = n2v.load_probe(directory), n2v.open_run(directory)
    for found in (loaded, run.probe):
        assert isinstance(found, SegmentationProbe)
        assert_equal(found, probe)
    np.testing.assert_array_equal(run.scores.full, probe.scores()["val_iou"][:2])
    images = make_activations()[:3]
    for mine, theirs in zip(loaded.predict(images)[1:], probe.predict(images)[1:], strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    "lost", [("segmentation.csv",), ("rivals.npz", "segmentation.csv"), ("embeddings", "scale.csv")]
)
def test_an_interrupted_run_finishes_as_if_nothing_had_been(
    lost: tuple[str, ...], probe: SegmentationProbe, layer, dataset, tmp_path: Path
) -> None:
    directory = probe.save(tmp_path / "run")
    for name in lost:
        (directory / name).rename(tmp_path / name)
    run = RunDirectory(directory, probe.origin)
    again = probe_segmentation(
        make_problem(layer, dataset), probe.settings, dict(probe.origin), keep=run.keep
    )
    assert_equal(again, probe)
    for name in lost:
        if (tmp_path / name).suffix == ".csv":
            assert (directory / name).read_text() == (tmp_path / name).read_text()


def test_without_controls_the_rest_is_the_same(probe: SegmentationProbe, layer, dataset) -> None:
    less = n2v.train_segmentation(
        layer, dataset, "converged", cache_data=False, controls=False, **SETTINGS
    )
    assert less.rivals.names == ("single_same_rule", "prior")
    expected = probe.scores()
    expected[[c for c in expected.columns if c.startswith("control_")]] = np.nan
    pd.testing.assert_frame_equal(less.scores(), expected, check_exact=True)


def test_the_paper_has_the_same_rivals(layer, dataset, tmp_path: Path) -> None:
    probe = n2v.train_segmentation(
        layer, dataset, cache_data=False, epochs=2, quantile=0.3, bootstrap_samples=20
    )
    assert probe.scale is None and probe.trained.decision is None
    assert probe.rivals.names == ("single_same_rule", "prior", "control")
    np.testing.assert_array_equal(probe.trained.level, 0)
    assert probe.scores()[["loss_share", "l2"]].isna().all(axis=None)
    assert_equal(n2v.load_probe(probe.save(tmp_path / "run")), probe)


def test_rivals_are_read_back(probe: SegmentationProbe, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, probe.origin)
    rivals = dataclasses.replace(probe.rivals, names=("a", "b", "c"))
    files.write_rivals(run, rivals)
    found = files.read_rivals(tmp_path)
    assert jax.tree.structure(found) == jax.tree.structure(rivals)
    jax.tree.map(np.testing.assert_array_equal, found, rivals)
    with pytest.raises(Net2VecError, match=r"scale.csv is missing"):
        files.read_scale(tmp_path)


@pytest.mark.parametrize(
    ("setting", "flag"),
    [
        ({"epochs": 3}, "--epochs"),
        ({"batch_size": 8}, "--batch-size"),
        ({"learning_rate": 0.1}, "--learning-rate"),
        ({"loss": "bce"}, "--loss"),
        ({"shuffle": True}, "--shuffle"),
        ({"seeds": 2}, "--seeds"),
    ],
)
def test_settings_without_effect_are_refused(setting, flag: str, layer, dataset) -> None:
    with pytest.raises(Net2VecError, match=f"{flag} has no effect on the preset converged"):
        n2v.train_segmentation(layer, dataset, n2v.CONVERGED, **setting)


def test_penalties_are_the_converged_presets(layer, dataset) -> None:
    with pytest.raises(Net2VecError, match="--l2 is of the preset converged"):
        n2v.train_segmentation(layer, dataset, l2=(1.0,))
    with pytest.raises(Net2VecError, match="must be positive"):
        n2v.train_segmentation(layer, dataset, n2v.CONVERGED, l2=(-1.0,))
    with pytest.raises(Net2VecError, match="--preset converged is of the segmentation probe"):
        n2v.train_classification(layer, dataset, n2v.CONVERGED)
