"""The face: the names of the package, and the ten lines of the README."""

from __future__ import annotations

import dataclasses
import functools
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

import net2vec_jax as n2v
from net2vec_jax.data.open import open_scenes


@pytest.fixture(scope="module")
def network() -> n2v.LoadedNetwork:
    return n2v.load_network("efficientnet_lite0")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory):
    return open_scenes(tmp_path_factory.mktemp("scenes") / "scenes", images=40)


@pytest.fixture(scope="module")
def layer(network, scenes) -> n2v.LayerActivations:
    return n2v.collect_activations(network, scenes, "block10")


@pytest.fixture(scope="module")
def probe(layer, scenes) -> n2v.SegmentationProbe:
    return n2v.train_segmentation(
        layer, scenes, epochs=2, filters=(3,), seeds=2, bootstrap_samples=20, cache_data=False,
        untrained=False,
    )  # fmt: skip


def make_arrays() -> tuple[np.ndarray, np.ndarray]:
    """Grey noise; concept 1 is a bright square, 2 a red one, on every third image each."""
    rng = np.random.default_rng(0)
    images = rng.integers(60, 120, (24, 64, 64, 3), dtype=np.uint8)
    masks = np.zeros((24, 32, 32), np.int64)
    for index in range(24):
        y, x = rng.integers(0, 16, 2)
        if index % 3:
            number = index % 3
            color = [(250, 250, 250), (250, 0, 0)][number - 1]
            images[index, 2 * y : 2 * y + 32, 2 * x : 2 * x + 32] = color
            masks[index, y : y + 16, x : x + 16] = number
    return images, masks


def test_every_name_is_there_and_documented() -> None:
    for name in n2v.__all__:
        value = getattr(n2v, name)
        assert name == "NETWORKS" or value.__doc__, name
    with pytest.raises(AttributeError, match="attribute train"):
        n2v.train  # noqa: B018


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = ("jax", "pandas", "matplotlib")
    code = f"import sys, net2vec_jax; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_scores_are_a_row_per_embedding(probe: n2v.SegmentationProbe) -> None:
    table = probe.scores()
    assert isinstance(table, pd.DataFrame)
    assert len(table) == 2 * len(probe.concepts)
    assert table["val_iou"].between(0, 1).all()
    assert (table["val_iou_low"] <= table["val_iou_high"]).all()
    full = table[table["filters"].isna()]
    assert full["concept"].tolist() == list(probe.concepts)
    best = full["best_filter"]
    assert (best.dropna().between(0, probe.filters - 1)).all()
    assert (full["single_val_iou"][best.isna()] == 0).all()
    val = probe.single_ious[1][probe.places]
    expected = val[np.arange(len(val)), best.fillna(0)]
    np.testing.assert_array_equal(full["single_val_iou"][best.notna()], expected[best.notna()])


def test_predicting_dataset_images_gives_the_scores(probe, layer, scenes) -> None:
    """Pixels that `predict` marks at the masks' own size are those that the probe counted."""
    place = int(np.argmax(probe.evaluation.val[probe.evaluation.filters == 0]))
    concept = probe.concepts[place]
    heads = probe.trained.heads
    row = np.flatnonzero(
        (heads.concept == probe.places[place]) & (heads.filters == 0) & (heads.seed == 0)
    )[0]
    entries = probe.overlaps.select_entries(probe.overlaps.head == row)
    predicted = probe.predict(layer.stored.read(entries.image), concept)
    assert predicted.concepts == (concept,)
    from net2vec_jax.data.masks import collect_concept_masks

    masks = collect_concept_masks(scenes)
    number = probe.table.numbers[probe.places[place]]
    wanted = [c.number for c in masks.catalog].index(number)
    for found, image, shared in zip(
        predicted.masks, entries.image, entries.intersection, strict=True
    ):
        pair = np.flatnonzero((masks.pair_concept == wanted) & (masks.pair_image == image))
        assert (found[0] & masks.unpack(pair)[0]).sum() == shared


def test_photographs_of_any_size(probe, scenes) -> None:
    rng = np.random.default_rng(0)
    photographs = [scenes.image(0), rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)]
    predicted = probe.predict(photographs, list(probe.concepts[:2]))
    shapes = [(mask.shape, p.shape) for mask, p in zip(*predicted[1:], strict=True)]
    assert shapes == [((2, *image.shape[:2]),) * 2 for image in photographs]
    for mask, probability in zip(*predicted[1:], strict=True):
        np.testing.assert_array_equal(mask, probability > 0.5)
        assert probability.dtype == np.float32


def test_a_saved_probe_is_the_same(probe, scenes, tmp_path: Path) -> None:
    assert probe.save(tmp_path / "dog") == tmp_path / "dog"
    loaded = n2v.load_probe(tmp_path / "dog")
    pd.testing.assert_frame_equal(loaded.scores(), probe.scores())
    assert repr(loaded) == repr(probe)
    assert loaded.settings == probe.settings
    for field in ("trained", "evaluation", "overlaps"):
        jax.tree.map(
            np.testing.assert_array_equal,
            *(vars(getattr(p, field)) for p in (loaded, probe)),
        ) if field != "trained" else np.testing.assert_array_equal(
            loaded.trained.weights, probe.trained.weights
        )
    one = [scenes.image(3)]
    for before, after in zip(probe.predict(one)[1:], loaded.predict(one)[1:], strict=True):
        np.testing.assert_array_equal(before[0], after[0])
    run = n2v.open_run(tmp_path / "dog")
    np.testing.assert_array_equal(run.weights, probe.embeddings)
    probe.save(tmp_path / "dog")  # once more, as when a notebook's cell is run again
    loaded.save(tmp_path / "copy")
    other = dataclasses.replace(probe, origin={**probe.origin, "dataset": "another"})
    with pytest.raises(n2v.Net2VecError, match="another run \\(dataset"):
        other.save(tmp_path / "dog")
    assert len(pickle.dumps(loaded)) > 0
    assert len(jax.tree.leaves(loaded.trained)) == 9
    page = n2v.write_report(tmp_path / "dog", pictures_per_concept=1, filters_shown=1)
    assert "There are no pictures" not in page.read_text(encoding="utf-8")


def test_ten_lines_with_arrays(network, tmp_path: Path) -> None:
    images, masks = make_arrays()
    dataset = n2v.from_arrays(images, masks, {1: "sky", 2: "dog"}, val=0.3)
    layer = n2v.collect_activations(network, dataset, "block4")
    probe = n2v.train_segmentation(layer, dataset, epochs=2, quantile=0.05, untrained=False)
    assert probe.scores()["concept"].tolist() == ["sky", "dog"]
    masks = probe.predict(images[:2], ["dog"])
    assert masks.masks[0].shape == (1, 64, 64)
    probe.save(tmp_path / "dog")
    assert n2v.load_probe(tmp_path / "dog").concepts == ("sky", "dog")


def test_classification_is_a_sibling(layer, scenes, tmp_path: Path) -> None:
    probe = n2v.train_classification(
        layer, scenes, epochs=2, minimum_images=3, filters=(2,), bootstrap_samples=20,
        cache_data=False,
    )  # fmt: skip
    table = probe.scores()
    assert table["val_accuracy"].between(0, 1).all()
    probe.save(tmp_path / "c")
    loaded = n2v.load_probe(tmp_path / "c")
    pd.testing.assert_frame_equal(loaded.scores(), table)
    predicted = loaded.predict([scenes.image(0), scenes.image(1)])
    assert predicted.shows.shape == (2, len(probe.concepts))
    np.testing.assert_array_equal(predicted.shows, predicted.probabilities > 0.5)
    activations = layer.stored.read([0, 1])
    np.testing.assert_allclose(
        probe.predict(activations).probabilities, predicted.probabilities, atol=1e-5
    )
    assert probe.plot() is not None


def test_activations_of_files_and_of_elsewhere(network, scenes, layer, tmp_path: Path) -> None:
    files = [Path(scenes.directory) / "images" / name for name in scenes.image_names[:2]]
    of_files = n2v.collect_activations(network, files, "block10", directory=tmp_path / "stored")
    np.testing.assert_allclose(of_files.stored.read([0, 1]), layer.stored.read([0, 1]), atol=1e-4)
    elsewhere = n2v.read_activations(np.concatenate(list(layer.batches())))
    probe = n2v.train_segmentation(elsewhere, scenes, epochs=1, cache_data=False)
    with pytest.raises(n2v.Net2VecError, match="no network"):
        probe.predict([scenes.image(0)])
    assert probe.predict(layer.stored.read([0])).masks[0].shape[1:] == scenes.segmentation_size


@pytest.mark.wrong_shapes
@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        ({"images": np.zeros((3, 8, 8), np.uint8)}, "images are uint8"),
        ({"images": np.zeros((3, 8, 8, 3), np.float32)}, "images are float32"),
        ({"masks": np.zeros((4, 8, 8), int)}, "3 images, but masks of 4"),
        ({"masks": np.full((3, 8, 8), 7)}, "7"),
        ({"masks": np.zeros((3, 8, 8))}, "masks are float64"),
        ({"val": 1.5}, "val"),
        ({"val": [True] * 3}, "0 train and 3 val"),
        ({"val": [True] * 2}, r"expected bool \[3\]"),
    ],
)
def test_arrays_that_are_no_dataset(change: dict, culprit: str) -> None:
    good = {
        "images": np.zeros((3, 8, 8, 3), np.uint8), "masks": np.ones((3, 8, 8), int),
        "concepts": {1: "sky"},
    }  # fmt: skip
    with pytest.raises(n2v.Net2VecError, match=culprit):
        n2v.from_arrays(**(good | change))


def test_activations_of_another_dataset_are_refused(layer, network) -> None:
    images, masks = make_arrays()
    dataset = n2v.from_arrays(images, masks, {1: "sky", 2: "dog"})
    with pytest.raises(n2v.Net2VecError, match="activations of 40 images"):
        n2v.train_segmentation(layer, dataset)


def test_masks_of_the_same_images_may_change(network) -> None:
    images, masks = make_arrays()
    names = {1: "sky", 2: "dog"}
    layer = n2v.collect_activations(network, images, "block4")
    train = functools.partial(n2v.train_segmentation, epochs=0, quantile=0.05, untrained=False)
    for options in ({"val": 0.3}, {"val": 0.4, "seed": 1}):
        dataset = n2v.from_arrays(images, masks, names, **options)
        assert train(layer, dataset).concepts
    other = n2v.from_arrays(255 - images, masks, names)
    with pytest.raises(n2v.Net2VecError, match="of another dataset than arrays"):
        train(layer, other)


def test_no_epoch_can_be_saved(network, tmp_path: Path) -> None:
    images, masks = make_arrays()
    dataset = n2v.from_arrays(images, masks, {1: "sky", 2: "dog"})
    layer = n2v.collect_activations(network, dataset, "block4")
    probe = n2v.train_segmentation(
        layer, dataset, epochs=0, filters=np.array([3]), seed=np.int64(1), untrained=False
    )
    probe.save(tmp_path / "none")
    loaded = n2v.load_probe(tmp_path / "none")
    assert loaded.settings == probe.settings
    assert loaded.trained.loss.shape == (0, 4)


@pytest.mark.wrong_shapes
@pytest.mark.parametrize(
    ("images", "culprit"),
    [
        ([], "there are no images"),
        (np.zeros((8, 8, 3), np.uint8), r"given as a list: \[image\]"),
        ([np.zeros((8, 8), np.uint8)], r"not uint8 \(8, 8\)"),
        ([np.zeros((8, 8, 4), np.uint8)], r"convert\(.RGB.\)"),
        (["photograph.jpg"], "a photograph is uint8"),
        (np.zeros((1, 8, 8, 3), np.float32), "photographs are uint8, 0 … 255"),
    ],
)
def test_what_is_no_photograph(probe, images, culprit: str) -> None:
    with pytest.raises(n2v.Net2VecError, match=culprit):
        probe.predict(images)


@pytest.mark.parametrize(
    ("settings", "culprit"),
    [
        ({"preset": "papr"}, "did you mean 'paper'"),
        ({"preset": dataclasses.replace(n2v.PAPER, batch_size=4)}, "was changed"),
        ({"preset": "reference_code"}, "preprocessing='reference_code'"),
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"concepts": "skyy"}, "'skyy'"),
        ({"filters": 500}, "must lie in 1 … 112"),
    ],
)
def test_settings_that_are_refused(layer, scenes, settings, culprit: str) -> None:
    with pytest.raises(n2v.Net2VecError, match=culprit):
        n2v.train_segmentation(layer, scenes, cache_data=False, **settings)


def test_things_in_the_wrong_place(layer, scenes, network) -> None:
    with pytest.raises(n2v.Net2VecError, match="give what load_network"):
        n2v.collect_layers("efficientnet_lite0", scenes, ["block4"])
    with pytest.raises(n2v.Net2VecError, match="open_dataset"):
        n2v.collect_activations(network, "scenes", "block4")
    with pytest.raises(n2v.Net2VecError, match="read_activations"):
        n2v.train_segmentation(np.zeros((40, 4, 4, 3)), scenes)
    with pytest.raises(n2v.Net2VecError, match="from_arrays"):
        n2v.train_segmentation(layer, "scenes")
