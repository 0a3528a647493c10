"""A concept that the network uses and one of the same IoU that it does not are told apart."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import net2vec_jax as n2v
from net2vec_jax.analysis.use.results import FOLDER, ConceptUse
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.preprocessing import Preprocessing
from net2vec_jax.report.use import gather_use
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.sources import RunSources
from net2vec_jax.studies.answer import FIGURES, write_answer
from net2vec_jax.studies.does_it_matter import (
    ClassGroup,
    UseFlags,
    UseStudy,
    describe_use,
    parse_classes,
    read_class_names,
)

IMAGES, SIDE, CHANNELS = 60, 24, 12
BASIS = np.linalg.qr(np.random.default_rng(7).standard_normal((CHANNELS, 3)))[0].T  # [3, K]
COLOR = jnp.asarray(BASIS, jnp.float32)


def _respond(parameters, images):
    count = len(images)
    pooled = images.reshape(count, 6, 4, 6, 4, 3).mean((2, 4))
    return {"maps": pooled @ parameters}


def _classify(response):
    """Three logits: of red squares, of blue ones, and of nothing; green ones do not count."""
    red_green_blue = jax.nn.softplus(4 * (response @ COLOR.T) - 4).mean((1, 2))
    return red_green_blue @ jnp.array([[6.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 6.0, 0.0]])


def _make_dataset():
    """Red squares, "used", and green ones, "unused", at random places of the grid."""
    rng = np.random.default_rng(0)
    images = rng.integers(90, 166, (IMAGES, SIDE, SIDE, 3), np.uint8)
    masks = np.zeros((IMAGES, SIDE, SIDE), np.int32)
    for image, mask in zip(images, masks, strict=True):
        for concept, place in enumerate(rng.permutation(36)[:10] if rng.random() < 0.9 else ()):
            row, column = divmod(int(place), 6)
            square = (slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4))
            image[(*square, concept % 2)] = 255
            mask[square] = 1 + concept % 2
    return n2v.from_arrays(images, masks, {1: "used", 2: "unused"})


@pytest.fixture(scope="module")
def network():
    return n2v.wrap_function(
        _respond, np.asarray(COLOR), layers=["maps"], name="planted", input_size=SIDE,
        preprocessing=Preprocessing((127.5,) * 3, (64.0,) * 3), rest={"maps": _classify},
    )  # fmt: skip


@pytest.fixture(scope="module")
def study(network, tmp_path_factory):
    dataset = _make_dataset()
    layer = n2v.collect_activations(network, dataset, "maps")
    probe = n2v.train_segmentation(
        layer, dataset, "converged", bootstrap_samples=10, controls=False, untrained=False
    )
    run = FinishedRun(probe.save(tmp_path_factory.mktemp("planted") / "run"))
    flags = UseFlags(
        run=run.path, classes=("used=0", "2"), images=16, draws=4, exchanges=500,
        strengths=(-1.0, 2.0), filters=(1, 4),
    )  # fmt: skip
    return UseStudy(run, RunSources(run, dataset=dataset, network=network), flags)


@pytest.fixture(scope="module")
def use(study):
    sensitivity, examples = study.measure_sensitivity()
    return ConceptUse("pattern", sensitivity, examples, study.measure_interventions())


def test_the_used_concept_alone_is_found(study, use):
    used, unused = study.run.scores.full
    assert used == pytest.approx(unused, abs=0.1)
    assert use.concepts == ["used", "unused"] and use.classes == ["used", "class 2"]
    for kind in ("pattern", "difference"):
        found = ConceptUse(kind, use.sensitivity, use.examples)
        np.testing.assert_array_equal(found.matrix("used"), [[1, 0], [0, 0]])
        assert found.matrix("derivative")[0, 0] > 0.5
        assert found.matrix("positive")[0, 0] == 1
    assert use.matrix("p_exchanged")[0, 0] == pytest.approx(1 / 501)
    assert use.strongest["concept"].tolist() == ["used"]
    assert "1 of 4 pairs" in use.summary


def test_derivatives_are_those_of_the_network(study, use):
    found = study.directions[0]
    images = study.choose_images(study.places[0])["with"]
    response = jnp.asarray(study.read_responses(images))
    step = jnp.asarray(found.unit[0] * found.deviation[0], jnp.float32)[None, None, None]
    change = _classify(response + 0.01 * step) - _classify(response - 0.01 * step)
    expected = np.asarray(change / 0.02).mean(0)[[0, 2]]
    np.testing.assert_allclose(use.matrix("derivative")[0], expected, rtol=1e-3, atol=1e-4)


def test_without_the_used_concept_its_logit_falls_and_others_stay(use):
    removed = use.of_main_class("remove").set_index("concept")
    assert removed.loc["used", "difference_high"] < 0
    assert removed.loc["used", "change"] < -0.3
    assert abs(removed.loc["unused", "change"]) < 0.05
    added = use.of_main_class("add").set_index(["concept", "strength"])["change"]
    assert added["used", 2.0] > 1 > 0 > added["used", -1.0]
    silenced = use.of_main_class("silence")
    assert silenced["strength"].tolist() == [1, 4] * 2
    assert set(use.interventions["part"]) == {"with", "without"}


def test_results_are_written_read_and_reported(study, use, tmp_path):
    run = study.run
    write_answer(run.path / FOLDER, describe_use(use))
    for figure in ("matrix", "added", "silenced"):
        assert (run.path / FOLDER / FIGURES / f"{figure}.png").exists()
    read = ConceptUse.load(run.path / FOLDER)
    np.testing.assert_array_equal(read.matrix("used"), use.matrix("used"))
    assert read.summary == use.summary
    page = gather_use(run, study.sources.dataset.image)
    assert page is not None and page.pairs[0].concept == "used"
    assert [cell.used for cell in page.rows[0][1]] == [True, False]
    assert page.rows[0][1][0].level == 4 and len(page.pairs[0].images) == 3
    (run.path / FOLDER / "sensitivity.csv").write_text("nothing")
    with pytest.raises(Net2VecError, match="damaged"):
        gather_use(run, None)


def test_by_default_classes_are_those_of_the_train_images(study):
    flags = dataclasses.replace(study.flags, classes=())
    assert UseStudy(study.run, study.sources, flags).classes == (ClassGroup("class 0", (0,)),)


def test_classes_are_numbers_names_or_several(tmp_path):
    names = ["tench, Tinca tinca", "ram, tup", "sheep"]
    found = parse_classes(["1", "TINCA TINCA", "own=ram,2"], names, 3)
    assert found == (
        ClassGroup("ram", (1,)), ClassGroup("tench", (0,)), ClassGroup("own", (1, 2)),
    )  # fmt: skip
    with pytest.raises(Net2VecError, match="did you mean 'sheep'"):
        parse_classes(["shep"], names, 3)
    with pytest.raises(Net2VecError, match="number from 0 to 2"):
        parse_classes(["3"], [], 3)
    with pytest.raises(Net2VecError, match="twice"):
        parse_classes(["1", "1"], names, 3)
    with pytest.raises(Net2VecError, match="cannot be read"):
        read_class_names(tmp_path / "none.txt")


def test_a_model_without_a_rest_says_what_to_give(network, study):
    bare = n2v.wrap_function(
        _respond, np.asarray(COLOR), layers=["maps"], name="planted",
        preprocessing=Preprocessing((127.5,) * 3, (64.0,) * 3),
    )  # fmt: skip
    sources = RunSources(study.run, dataset=study.sources.dataset, network=bare)
    with pytest.raises(Net2VecError, match="rest="):
        UseStudy(study.run, sources, study.flags)
