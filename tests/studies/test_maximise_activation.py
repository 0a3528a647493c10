"""Images that maximise the directions of a finished run's concepts."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import read_table
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.sources import RunSources
from net2vec_jax.studies import maximise_activation
from net2vec_jax.studies.direction_responses import find_directions, measure_real_images
from net2vec_jax.studies.maximise_activation import (
    MaximisationFlags,
    choose_concepts,
    name_image,
)


@pytest.fixture(scope="module")
def flags(finished_study: Path, tmp_path_factory: pytest.TempPathFactory) -> MaximisationFlags:
    flags = MaximisationFlags(
        run=finished_study / "block4" / "segmentation",
        concepts=("sky", "blue-c"),
        steps=4,
        seeds=1,
        size=32,
        out=tmp_path_factory.mktemp("maximised") / "out",
    )
    maximise_activation.main(flags)
    return flags


def test_every_image_has_its_row_and_exceeds_none_but_by_itself(flags: MaximisationFlags) -> None:
    rows = read_table(flags.out / "activations.csv")
    assert [(row["concept"], row["direction"], row["seed"]) for row in rows] == [
        (concept, direction, seed)
        for concept in flags.concepts
        for direction in ("embedding", "filter")
        for seed in "0"
    ]
    for row in rows:
        image = np.asarray(Image.open(flags.out / row["image"]))
        assert image.shape == (32, 32, 3) and image.std() > 1
        assert float(row["activation"]) >= float(row["activation_mean"])
        assert float(row["activation_mean"]) > float(row["other_activation_mean"])
        assert float(row["highest_real"]) >= float(row["percentile_99_real"])
        assert (row["filter"] == "") == (row["direction"] == "embedding")
    best = {row["concept"]: row["best_filter"] for row in FinishedRun(flags.run).read_table(
        "single_filter.csv")}  # fmt: skip
    assert all(row["filter"] in ("", best[row["concept"]]) for row in rows)
    names = {path.name for path in flags.out.iterdir()}
    assert {"maximised_activations.png", "maximised_activations.pdf"} <= names
    assert len(names) == 4 + 3


def test_an_image_does_not_depend_on_the_other_concepts(
    flags: MaximisationFlags, tmp_path: Path
) -> None:
    others = dataclasses.replace(flags, concepts=("blue-c", "tree"), out=tmp_path)
    maximise_activation.main(others)
    rows = [r for r in read_table(tmp_path / "activations.csv") if r["concept"] == "blue-c"]
    assert len(rows) == 2
    for row in rows:
        one, other = (np.asarray(Image.open(f / row["image"])) for f in (tmp_path, flags.out))
        # At another place of a batch sums may round differently.
        assert np.abs(one.astype(int) - other).max() <= 2


def test_real_responses_are_those_of_the_stored_activations(finished_study: Path) -> None:
    run = FinishedRun(finished_study / "block10" / "segmentation")
    sources = RunSources(run)
    directions = find_directions(run, [0, 3])
    np.testing.assert_allclose(np.linalg.norm(directions.unit, axis=-1), 1, rtol=1e-5)
    units = run.weights / np.linalg.norm(run.weights, axis=-1, keepdims=True)
    expected = units.mean(axis=0)[3]
    np.testing.assert_allclose(
        directions.unit[0, 1], expected / np.linalg.norm(expected), rtol=1e-4, atol=1e-6
    )
    real = measure_real_images(sources, directions)
    (activations, *_) = sources.activations.batches()
    maps = activations[5] @ directions.unit[0, 1]
    np.testing.assert_allclose(real.highest[0, 1, 5], maps.max(), rtol=1e-4)
    np.testing.assert_allclose(real.mean[0, 1, 5], maps.mean(), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(
        real.highest[1, 0, :9], activations[:9, ..., directions.filters[0]].max(axis=(1, 2))
    )
    masks = sources.masks
    for place, typical in zip(directions.places, real.typical, strict=True):
        assert typical in masks.pair_image[masks.pair_concept == place]


def test_the_best_filter_is_that_of_train(finished_study: Path, tmp_path: Path) -> None:
    path = shutil.copytree(finished_study / "block4" / "segmentation", tmp_path / "run")
    with np.load(path / "single_filter.npz") as file:
        arrays = dict(file)
    arrays["train_iou"][:, 3] = 0.9
    arrays["val_iou"][:, 5] = 0.95
    np.savez(path / "single_filter.npz", **arrays)
    directions = find_directions(FinishedRun(path), [0, 2])
    assert directions.filters.tolist() == [3, 3]
    np.testing.assert_array_equal(directions.unit[1].argmax(axis=1), 3)


def test_a_filter_of_a_classification_run_has_its_weights_sign(finished_study: Path) -> None:
    run = FinishedRun(finished_study / "block4" / "classification")
    directions = find_directions(run, range(len(run)))
    embedding, single = directions.unit
    rows = np.arange(len(run))
    assert (np.abs(embedding).argmax(axis=1) == directions.filters).all()
    assert (single[rows, directions.filters] * embedding[rows, directions.filters] > 0).all()
    assert np.abs(single).sum() == len(run)


def test_by_default_concepts_are_the_best_of_all_categories(finished_study: Path) -> None:
    run = FinishedRun(finished_study / "block4" / "segmentation")
    chosen = choose_concepts(run, ())
    categories = [run.categories[place] for place in chosen]
    assert len(chosen) == 6 and len(set(categories)) == min(6, len(set(run.categories)))
    for place in chosen:
        same = [c == run.categories[place] for c in run.categories]
        assert run.scores.full[place] == run.scores.full[same].max()


def test_without_stored_activations_images_are_made_all_the_same(
    flags: MaximisationFlags, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    maximise_activation.main(dataclasses.replace(flags, out=tmp_path / "out", activations=tmp_path))
    assert "no comparison with real images" in capsys.readouterr().out
    rows = read_table(tmp_path / "out" / "activations.csv")
    assert [row["highest_real"] for row in rows] == [""] * 4


def test_file_names_stay_in_the_folder(finished_study: Path) -> None:
    run = FinishedRun(finished_study / "block4" / "segmentation")
    run.concepts = ("../../etc/x y", *run.concepts[1:])
    name = name_image(run, 0, "embedding", 1)
    assert "/" not in name and " " not in name and name.startswith("concept_")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"concepts": ("skyy",)}, "unknown concept 'skyy'; did you mean 'sky'"),
        ({"seeds": 0}, "--seeds must be at least 1"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"size": 1}, "too small"),
        ({"run": Path("absent")}, "no run directory"),
    ],
)
def test_bad_flags_of_maximisation_are_refused(
    flags: MaximisationFlags, tmp_path: Path, changes, complaint
) -> None:
    with pytest.raises(Net2VecError, match=complaint):
        maximise_activation.main(dataclasses.replace(flags, out=tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_refused_first(
    finished_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").touch()
    run = finished_study / "block4" / "segmentation"
    monkeypatch.setattr(maximise_activation, "maximise_concepts", None)
    with pytest.raises(Net2VecError, match="out cannot be written"):
        maximise_activation.main(MaximisationFlags(run=run, out=tmp_path / "out"))


def test_a_concept_without_a_best_filter_is_left_out(finished_study: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(finished_study / "block4" / "segmentation", path)
    run = FinishedRun(path)
    chosen = maximise_activation.choose_concepts(run, ())[0]
    arrays = run.read_arrays("single_filter.npz")
    arrays["train_iou"][arrays["concept"] == run.numbers[chosen]] = 0
    np.savez(path / "single_filter.npz", **arrays)
    run = FinishedRun(path)
    assert chosen not in maximise_activation.choose_concepts(run, ())
    with pytest.raises(Net2VecError, match=f"{run.concepts[chosen]} of .*no filter alone overlaps"):
        find_directions(run, [chosen])


def test_directions_of_standardised_embeddings_act_on_activations(converged_run: Path) -> None:
    run = FinishedRun(converged_run)
    assert run.scale is not None
    sources = RunSources(run)
    real = measure_real_images(sources, find_directions(run, [0, 1]))
    (batch, *_) = sources.activations.batches()
    scores = (batch - run.scale.mean) / run.scale.deviation @ run.weights[0, :2].T
    for row in range(2):  # the embedding's own score, but for a constant and a factor
        mine, theirs = scores[..., row].max(axis=(1, 2)), real.highest[0, row, : len(batch)]
        assert np.corrcoef(mine, theirs)[0, 1] == pytest.approx(1, abs=1e-4)
