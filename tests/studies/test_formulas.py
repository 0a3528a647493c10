"""Formulas of a finished run: what is marked is what the run counted, and the report shows it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import net2vec_jax as n2v
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import read_table
from net2vec_jax.data.formulas import parse_formula
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.report.formulas import gather_formulas
from net2vec_jax.runs.files import read_thresholds
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.predictions import embedding_scores, read_weighed
from net2vec_jax.runs.sources import RunSources
from net2vec_jax.studies import formulas
from net2vec_jax.studies.formulas import (
    FormulaFlags,
    find_formulas,
    mark_by_embeddings,
    mark_by_filters,
)

FILTERS = ("3", "20", "77")


@pytest.fixture(scope="module")
def run(finished_study: Path) -> FinishedRun:
    return FinishedRun(finished_study / "block10" / "segmentation")


@pytest.fixture(scope="module")
def sources(run: FinishedRun) -> RunSources:
    return RunSources(run)


@pytest.fixture(scope="module")
def bitmaps(run: FinishedRun, sources: RunSources) -> tuple[np.ndarray, np.ndarray]:
    """What filters and embeddings mark, packed."""
    binary = sources.activations.binary(read_thresholds(run.path))
    marked = mark_by_filters(binary, [int(k) for k in FILTERS], sources.masks)
    return marked, mark_by_embeddings(binary, run.weights[0], run.levels[0], sources.masks)


@pytest.fixture(scope="module")
def written(run: FinishedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("formulas") / "out"
    formulas.main(FormulaFlags(run=run.path, filters=FILTERS, out=out))
    return out


def _own_ious(masks: ConceptMasks, packed: np.ndarray, concept: int) -> float:
    """Set IoU on the val images of the concept."""
    rows = np.flatnonzero((masks.pair_concept == concept) & masks.pair_is_val)
    marked, mask = packed[masks.pair_image[rows]], masks.packed[rows]
    return np.bitwise_count(marked & mask).sum() / np.bitwise_count(marked | mask).sum()


def test_bitmaps_are_what_the_run_counted(
    run: FinishedRun, sources: RunSources, bitmaps: tuple[np.ndarray, np.ndarray]
) -> None:
    of_filters, of_embeddings = bitmaps
    scores = embedding_scores(run, 0)
    for concept in range(len(run)):
        for number, packed in zip(map(int, FILTERS), of_filters, strict=True):
            found = _own_ious(sources.masks, packed, concept)
            assert found == pytest.approx(run.single_ious[1, concept, number], abs=1e-6)
        found = _own_ious(sources.masks, of_embeddings[concept], concept)
        assert found == pytest.approx(scores[concept], abs=1e-6)


def test_embeddings_of_standardised_activations_mark_what_was_counted(converged_run: Path) -> None:
    run = FinishedRun(converged_run)
    sources = RunSources(run)
    weighed = read_weighed(run, sources, np.arange(len(sources.masks.is_val)))[0]
    packed = mark_by_embeddings(weighed, run.weights[0], run.levels[0], sources.masks)
    found = [_own_ious(sources.masks, packed[place], place) for place in range(len(run))]
    np.testing.assert_allclose(found, embedding_scores(run, 0), atol=1e-4)


def test_scores_are_those_of_the_formulas(
    run: FinishedRun, sources: RunSources, bitmaps: tuple[np.ndarray, np.ndarray], written: Path
) -> None:
    table = pd.read_csv(written / "formulas.csv", keep_default_na=False)
    assert table["name"].tolist() == [*FILTERS, *run.concepts]
    masks = sources.masks
    dense = np.zeros((len(run), len(masks.is_val), *masks.packed.shape[1:]), np.uint8)
    dense[masks.pair_concept, masks.pair_image] = masks.packed
    read = dict(zip(run.concepts, dense, strict=True)).__getitem__
    for row, packed in zip(table.to_dict("records"), np.concatenate(bitmaps), strict=True):
        for column in ("formula", "concept"):
            formula = parse_formula(row[column])
            mask = read(formula) if isinstance(formula, str) else formula.evaluate(read)
            for split, images in (("train", ~masks.is_val), ("val", masks.is_val)):
                one, other = mask[images], packed[images]
                score = np.bitwise_count(one & other).sum() / np.bitwise_count(one | other).sum()
                name = f"{split}_iou" if column == "formula" else f"concept_{split}_iou"
                assert row[name] == pytest.approx(score, abs=1e-6)
        assert row["train_iou"] >= row["concept_train_iou"]
        assert 1 <= row["length"] <= 3
    assert np.any(table["length"].to_numpy() > 1)


def test_the_report_shows_them(run: FinishedRun, written: Path, tmp_path: Path) -> None:
    assert gather_formulas(run) == {}
    ignored = shutil.ignore_patterns("activations", "scenes")
    copy = Path(shutil.copytree(run.path, tmp_path / "run", ignore=ignored))
    shutil.copytree(written, copy / "formulas")
    found = gather_formulas(FinishedRun(copy))
    row = pd.read_csv(written / "formulas.csv", keep_default_na=False).iloc[1]
    shown = found["filter", int(FILTERS[1])]
    assert (shown.formula, shown.concept) == (row["formula"], row["concept"])
    assert shown.score == pytest.approx(row["val_iou"]) and ("embedding", 0) in found
    (copy / "formulas" / "formulas.csv").write_text("kind,name\nfilter,none\n")
    with pytest.raises(Net2VecError, match=r"formulas\.csv"):
        gather_formulas(FinishedRun(copy))


def test_beams_find_longer_formulas(run: FinishedRun, sources: RunSources, written: Path) -> None:
    flags = FormulaFlags(
        run=run.path, filters=FILTERS, embeddings=False, length=4, search="beam", width=3
    )
    table = find_formulas(run, sources, flags).tables["formulas"]
    shorter = [float(row["train_iou"]) for row in read_table(written / "formulas.csv")[:3]]
    assert np.any(table["length"].to_numpy() == 4)
    assert np.all(table["train_iou"].to_numpy() >= np.array(shorter, float) - 0.02)


def test_runs_without_masks_are_refused(finished_study: Path) -> None:
    with pytest.raises(Net2VecError, match="classification probe"):
        formulas.main(FormulaFlags(run=finished_study / "block10" / "classification"))


def test_formulas_are_probed_as_concepts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 3, (40, 8, 8)).repeat(4, axis=1).repeat(4, axis=2)
    planes = np.stack([masks == 1, masks == 2], axis=-1)
    dataset = n2v.from_arrays(
        rng.integers(0, 256, (40, 32, 32, 3), np.uint8), masks.astype(np.int32), {1: "a", 2: "b"}
    )
    layer = n2v.read_activations(planes[:, ::4, ::4].astype(np.float32))
    probe = n2v.train_segmentation(
        layer, dataset, concepts=["b", "a|b"], epochs=2, controls=False, untrained=False
    )
    assert list(probe.concepts) == ["b", "a | b"]
    run = FinishedRun(probe.save(tmp_path / "run"))
    found = RunSources(run, dataset=dataset).masks
    assert found.catalog.numbers.tolist() == run.numbers.tolist() == [2, 3]
    np.testing.assert_array_equal(found.unpack(found.pair_concept == 1), masks > 0)
