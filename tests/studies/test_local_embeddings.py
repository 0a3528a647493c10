"""Planted sub-concepts and confusions are found from images on; tables are those of the weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import net2vec_jax as n2v
from net2vec_jax.analysis.geometry.concept_embeddings import normalise_embeddings
from net2vec_jax.analysis.geometry.local_embeddings import FOLDER, measure_retrieval
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import read_table
from net2vec_jax.networks.preprocessing import Preprocessing
from net2vec_jax.report.local import gather_local
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.sources import RunSources
from net2vec_jax.studies import local_embeddings
from net2vec_jax.studies.answer import Answer, write_answer
from net2vec_jax.studies.local_embeddings import LocalFlags

IMAGES, SIDE, CHANNELS = 100, 24, 12
CONCEPTS = {1: "ball", 2: "disc", 3: "sea"}
SQUARES = ({1: 0, 2: 0}, {1: 1, 2: 1}, {3: 2})
"""Three kinds of images: colour channels of the concepts, balls and discs being red or green."""


def _respond(parameters, images):
    pooled = images.reshape(len(images), 6, 4, 6, 4, 3).mean((2, 4))
    return {"maps": pooled @ parameters}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Answer, RunSources, np.ndarray]:
    """The answer for squares on noise; and the kind of every image."""
    rng = np.random.default_rng(0)
    images = rng.integers(90, 166, (IMAGES, SIDE, SIDE, 3), np.uint8)
    masks = np.zeros((IMAGES, SIDE, SIDE), np.int32)
    kinds = rng.choice(3, IMAGES, p=(0.45, 0.3, 0.25))
    for image, mask, kind in zip(images, masks, kinds, strict=True):
        squares = iter(rng.permutation(36))
        for number, color in SQUARES[kind].items():
            for _ in range(4):
                row, column = divmod(int(next(squares)), 6)
                square = (slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4))
                image[(*square, color)] = 255
                mask[square] = number
    dataset = n2v.from_arrays(images, masks, CONCEPTS)
    directions = np.linalg.qr(np.random.default_rng(7).standard_normal((CHANNELS, 3)))[0].T
    network = n2v.wrap_function(
        _respond, directions.astype(np.float32), layers=["maps"], name="planted", input_size=SIDE,
        preprocessing=Preprocessing((127.5,) * 3, (64.0,) * 3),
    )  # fmt: skip
    layer = n2v.collect_activations(network, dataset, "maps")
    probe = n2v.train_segmentation(
        layer, dataset, bootstrap_samples=10, controls=False, untrained=False, quantile=0.2
    )
    run = FinishedRun(probe.save(tmp_path_factory.mktemp("planted") / "run"))
    sources = RunSources(run, dataset=dataset, network=network)
    answer = local_embeddings.local_embeddings(
        LocalFlags(run=run.path, learning_rate=1e-3, neighbours=5), sources
    )
    return answer, sources, kinds


def test_planted_sub_concepts_are_found(planted) -> None:
    answer, _, kinds = planted
    concepts = answer.tables["concepts"].set_index("concept")
    assert concepts["sub_concepts"].to_dict() == {"ball": 2, "disc": 2, "sea": 1}
    table = answer.tables["embeddings"]
    rows = table[table["concept"].isin(["ball", "disc"]) & (table["sub_concept"] > 0)]
    is_second = rows["sub_concept"] == 2  # the fewer: green
    assert (is_second == (kinds[rows["image"]] == 1)).mean() > 0.95


def test_concepts_that_look_alike_are_taken_for_each_other(planted) -> None:
    concepts = planted[0].tables["concepts"].set_index("concept")
    assert concepts["taken_for"][["ball", "disc"]].tolist() == ["disc", "ball"]
    taken, precision = concepts["taken_for_neighbours"], concepts["precision"]
    assert taken["ball"] > 0.2 > 0.1 > taken["sea"]
    assert precision["sea"] > 0.9 > precision["ball"]
    assert (precision > concepts["chance"]).all()


def test_what_is_found_is_written_and_reported(planted, figures_drawn: None) -> None:
    answer, sources, _ = planted
    folder = sources.run.path / FOLDER
    assert gather_local(sources.run, pictures=True) is None
    write_answer(folder, answer)
    found = gather_local(sources.run, pictures=False)
    assert found is not None and set(found.figures) == {"confusions"}
    assert [row[0] for row in found.rows] == [*CONCEPTS.values()]
    assert found.rows[0][3].startswith("disc ") and found.rows[0][4] == "2"
    page = n2v.write_report(sources.run.path, dataset=sources.dataset, network=sources.network)
    text = page.read_text(encoding="utf-8")
    assert "An embedding for every image" in text and 'alt="sub-concepts"' in text
    (folder / "concepts.csv").write_text("concept\nball\n")
    with pytest.raises(Net2VecError, match="damaged"):
        gather_local(sources.run, pictures=True)


@pytest.fixture(scope="module")
def written(finished_study: Path, tmp_path_factory) -> LocalFlags:
    flags = LocalFlags(
        run=finished_study / "block10" / "segmentation", images=8, neighbours=3,
        concepts=("sky", "tree", "green-c", "cloud", "wheel"), out=tmp_path_factory.mktemp("local"),
    )  # fmt: skip
    local_embeddings.main(flags)
    return flags


def test_tables_are_those_of_the_weights(written: LocalFlags) -> None:
    rows = read_table(written.out / "embeddings.csv")
    with np.load(written.out / "weights.npz") as arrays:
        weights, concept, is_val = (arrays[name] for name in ("weights", "concept", "is_val"))
    assert [row["concept"] for row in rows] == concept.tolist()
    assert [row["split"] == "val" for row in rows] == is_val.tolist()
    names = [row["concept"] for row in read_table(written.out / "concepts.csv")]
    number = np.array([names.index(name) for name in concept])
    found = measure_retrieval(
        normalise_embeddings(weights), number, is_val, len(names), neighbours=3
    )
    column = [float(row["precision"]) for row in rows]
    np.testing.assert_allclose(column, found.average_precision)
    confusions = read_table(written.out / "confusions.csv")
    cells = [[float(row[name]) for name in names] for row in confusions]
    np.testing.assert_allclose(cells, found.confusion)
    summary = json.loads((written.out / "summary.json").read_text())
    assert summary["embeddings"] == len(rows) and summary["concepts"] == 5
    assert np.bincount(number[is_val]).max() <= 8 and np.bincount(number[~is_val]).max() == 8


def test_embeddings_do_not_depend_on_which_concepts_are_asked_for(written: LocalFlags) -> None:
    one = local_embeddings.local_embeddings(dataclasses.replace(written, concepts=("tree",)))
    with np.load(written.out / "weights.npz") as arrays:
        rows = arrays["concept"] == "tree"
        np.testing.assert_array_equal(one.arrays["weights"]["image"], arrays["image"][rows])
        np.testing.assert_allclose(
            one.arrays["weights"]["weights"], arrays["weights"][rows], atol=1e-6
        )


def test_scenes_are_left_out_unless_asked_for(written: LocalFlags) -> None:
    run = FinishedRun(written.run)
    answer = local_embeddings.local_embeddings(dataclasses.replace(written, concepts=(), images=1))
    left = set(answer.left_out[0].reasons)
    assert left == {
        n for n, c in zip(run.concepts, run.categories, strict=True) if c in ("scene", "texture")
    }
    assert set(answer.tables["concepts"]["concept"]) == set(run.concepts) - left


def test_wrong_flags_are_refused(finished_study: Path) -> None:
    path = finished_study / "block10"
    with pytest.raises(Net2VecError, match="--images, --epochs"):
        LocalFlags(run=path / "segmentation", images=0)
    with pytest.raises(Net2VecError, match="classification probe"):
        local_embeddings.local_embeddings(LocalFlags(run=path / "classification"))
