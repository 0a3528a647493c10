"""Pictures of finished runs: chosen where they should be, and counted as the run counted."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from net2vec_jax.activations.standardized import collect_standardized_activations
from net2vec_jax.analysis.images.image_ranking import count_found
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import read_table
from net2vec_jax.runs.concept_pictures import (
    collect_concept_pictures,
    collect_filter_pictures,
    collect_served_pictures,
)
from net2vec_jax.runs.files import read_thresholds
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.predictions import (
    best_filters,
    collect_maxima,
    embedding_scores,
    individual_iou,
)
from net2vec_jax.runs.sources import RunSources
from net2vec_jax.stats.metrics import NO_FILTER, iou
from net2vec_jax.studies import pictures
from net2vec_jax.studies.pictures import PictureFlags, choose_concepts, name_sheet
from net2vec_jax.studies.recall import find_unranked, rank_images


@pytest.fixture(scope="module")
def run(finished_study: Path) -> FinishedRun:
    return FinishedRun(finished_study / "block10" / "segmentation")


@pytest.fixture(scope="module")
def sources(run: FinishedRun) -> RunSources:
    return RunSources(run)


def test_masks_of_standardised_activations_are_those_that_were_counted(
    converged_run: Path,
) -> None:
    run = FinishedRun(converged_run)
    found = collect_concept_pictures(run, RunSources(run), range(len(run)), split="all")
    shown = [picture for pictures in found.values() for picture in pictures]
    assert len(shown) >= 3 * len(run)
    np.testing.assert_allclose(
        [individual_iou(p.embedding_mask[None], p.truth[None])[0] for p in shown],
        [p.embedding_iou for p in shown], atol=1e-4,
    )  # fmt: skip
    for picture in shown:
        np.testing.assert_array_equal(picture.score > 0.5, picture.embedding_mask)
    assert np.mean([p.embedding_mask.mean() for p in shown]) > 0.01


@pytest.mark.parametrize("raw", [False, True])
def test_embeddings_of_standardised_activations_rank_by_their_scores(
    converged_run: Path, raw: bool
) -> None:
    run = FinishedRun(converged_run)
    sources = RunSources(run)
    _, found = rank_images(run, sources, raw=raw)
    assert found is not None and run.scale is not None
    kept = [place for place, name in enumerate(run.concepts) if name not in
            find_unranked(run, sources)]  # fmt: skip
    standardised = collect_standardized_activations(sources.activations.batches(), run.scale)
    scores = np.einsum("npk,ck->npc", standardised.values, run.weights[0][kept]).max(axis=1)
    masks = sources.masks
    positive = np.zeros((len(scores), len(run)), bool)
    positive[masks.pair_image, masks.pair_concept] = True
    expected = [
        count_found(score, shows)[4] / shows.sum()
        for score, shows in zip(
            scores[masks.is_val].T, positive[masks.is_val][:, kept].T, strict=True
        )
    ]
    assert found.embedding[4] == pytest.approx(np.mean(expected))


@pytest.mark.parametrize(("seed", "split"), [(0, "val"), (1, "train"), (1, "all")])
def test_masks_have_the_pixels_that_the_run_counted(
    run: FinishedRun, sources: RunSources, seed: int, split: str
) -> None:
    places = range(len(run))
    counts = run.read_arrays("segmentation_images.npz")
    found = collect_concept_pictures(run, sources, places, split=split, seed=seed)
    assert list(found) == list(places)
    for place, shown in found.items():
        mine = counts["head"] == seed * len(run) + place
        if split != "all":
            mine &= counts["is_val"] == (split == "val")
        ious = iou(counts["intersection"][mine], counts["union"][mine])
        assert len(shown) == min(5, mine.sum())
        for picture in shown:
            row = np.flatnonzero(mine & (counts["image"] == picture.image))
            intersection = (picture.truth & picture.embedding_mask).sum()
            union = (picture.truth | picture.embedding_mask).sum()
            assert [intersection] == counts["intersection"][row]
            assert [union] == counts["union"][row]
            assert picture.embedding_iou == iou(intersection, union)
            lower = np.mean(ious < picture.embedding_iou) * 100
            upper = np.mean(ious <= picture.embedding_iou) * 100
            slack = 100 / max(len(ious), 1)
            assert lower - slack <= picture.percentile <= upper + slack
            marked = picture.score > 0.5
            assert (marked <= picture.embedding_mask).all()
        assert [p.embedding_iou for p in shown] == sorted(
            (p.embedding_iou for p in shown), reverse=True
        )


def test_single_filters_add_up_to_the_runs_iou(run: FinishedRun, sources: RunSources) -> None:
    val = max(run.val_images)
    found = collect_concept_pictures(run, sources, range(len(run)), highest=int(val))
    best = best_filters(run)
    for place, shown in found.items():
        assert len(shown) == run.val_images[place]
        intersection = sum((p.truth & p.filter_mask).sum() for p in shown)
        union = sum((p.truth | p.filter_mask).sum() for p in shown)
        np.testing.assert_allclose(
            iou(intersection, union), run.single_ious[1][place, best[place]], rtol=1e-6
        )
        for picture in shown:
            counted = (picture.truth & picture.filter_mask).sum()
            assert picture.filter_iou == iou(counted, (picture.truth | picture.filter_mask).sum())


def test_without_a_best_filter_nothing_is_marked(run: FinishedRun, sources: RunSources) -> None:
    silenced = FinishedRun(run.path)
    silenced.single_ious = silenced.single_ious.copy()
    silenced.single_ious[0, 4] = 0
    assert best_filters(silenced)[4] == NO_FILTER
    np.testing.assert_array_equal(np.delete(best_filters(silenced), 4),
                                  np.delete(best_filters(run), 4))  # fmt: skip
    for picture in collect_concept_pictures(silenced, sources, [4])[4]:
        assert not picture.filter_mask.any() and picture.filter_iou == 0
        assert picture.truth.any()
    texts = pictures.describe_scores(silenced, 0)
    assert texts[4].endswith("no single filter") and "best filter 0" in texts[3]
    _, found = rank_images(silenced, sources)
    _, before = rank_images(run, sources)
    assert found is not None and before is not None
    np.testing.assert_array_equal(found.embedding, before.embedding)
    assert found.concepts == before.concepts


def test_a_sheet_says_whose_set_iou_it_gives(run: FinishedRun) -> None:
    shown = np.array([embedding_scores(run, seed) for seed in range(run.seeds)])
    np.testing.assert_allclose(shown.mean(axis=0), run.scores.full, atol=1e-6)
    assert (shown[0] != shown[1]).any()
    for place, text in enumerate(pictures.describe_scores(run, 1)):
        assert (
            f"embedding {shown[1, place]:.2f} (mean of 2 seeds {run.scores.full[place]:.2f})"
            in text
        )


def test_filters_fire_where_they_are_shown(run: FinishedRun, sources: RunSources) -> None:
    maxima = collect_maxima(sources)
    every = np.concatenate(list(sources.activations.batches()))
    np.testing.assert_array_equal(maxima, every.max(axis=(1, 2)))
    thresholds = read_thresholds(run.path)
    found = collect_filter_pictures(run, sources, range(run.filters), count=3)
    assert any(found.values())
    for filter_, shown in found.items():
        firing = np.flatnonzero(maxima[:, filter_] > thresholds[filter_])
        assert len(shown) == min(3, len(firing))
        values = [picture.maximum for picture in shown]
        assert values == sorted(values, reverse=True)
        for picture in shown:
            assert picture.maximum == maxima[picture.image, filter_] > thresholds[filter_]
            assert picture.mask.any()
        if shown:
            assert shown[0].maximum == maxima[:, filter_].max()


def test_filters_are_shown_on_images_of_their_concepts(
    run: FinishedRun, sources: RunSources
) -> None:
    maxima, masks = collect_maxima(sources), sources.masks
    served = [(int(filter_), place) for place, filter_ in enumerate(best_filters(run))]
    found = collect_served_pictures(run, sources, [*served, (0, 0)], maxima, count=2)
    again = collect_concept_pictures(run, sources, range(len(run)), highest=1000)
    for filter_, place in served:
        by_image = {picture.image: picture for picture in again[place]}
        for picture in found[filter_, place]:
            assert masks.is_val[picture.image]
            other = by_image[picture.image]
            np.testing.assert_array_equal(picture.truth, other.truth)
            np.testing.assert_array_equal(picture.mask, other.filter_mask)
            assert picture.iou == other.filter_iou
        assert found[filter_, place][0].maximum == max(maxima[image, filter_] for image in by_image)


def test_what_is_not_there_is_refused(
    run: FinishedRun, sources: RunSources, finished_study: Path
) -> None:
    with pytest.raises(Net2VecError, match="concepts, counted from 0; there is none 999"):
        collect_concept_pictures(run, sources, [999])
    with pytest.raises(Net2VecError, match="2 repetitions, counted from 0; not 2"):
        collect_concept_pictures(run, sources, [0], seed=2)
    with pytest.raises(Net2VecError, match="112 filters, counted from 0; there is none 112"):
        collect_filter_pictures(run, sources, [112])
    other = FinishedRun(finished_study / "block10" / "classification")
    with pytest.raises(Net2VecError, match=r"give a run of experiments\.segmentation"):
        pictures.main(PictureFlags(run=other.path))
    with pytest.raises(Net2VecError, match=r"unknown concept 'gras'.*grass"):
        choose_concepts(run, ["gras"])
    with pytest.raises(Net2VecError, match="--highest"):
        pictures.main(PictureFlags(run=run.path, highest=0))


def test_a_dozen_concepts_of_all_categories_are_chosen(run: FinishedRun) -> None:
    chosen = choose_concepts(run, [])
    assert len(chosen) == 12
    assert {run.categories[place] for place in chosen} == set(run.categories)
    named = choose_concepts(run, [run.concepts[3], str(run.numbers[3]), run.concepts[1]])
    assert named == [3, 1]


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "c:\\d", "", "\0", "é" * 300, "~/.ssh"])
def test_sheets_of_hostile_names_stay_in_the_folder(run: FinishedRun, name: str) -> None:
    hostile = FinishedRun(run.path)
    hostile.concepts = (name, *run.concepts[1:])
    file = name_sheet(hostile, 0)
    assert Path(file).name == file and file.startswith("concept_0") and file.endswith(".png")
    assert not set(file) & set('/\\:\0~"')
    assert len(file.encode()) < 200


@pytest.fixture
def hostile_copy(run: FinishedRun, tmp_path: Path) -> FinishedRun:
    """The run with a concept that is called as a path."""
    shutil.copytree(run.path, tmp_path / "run")
    for name in ("concepts.csv", "segmentation.csv", "single_filter.csv"):
        path = tmp_path / "run" / name
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(f"{run.concepts[0]},", "../../x,"), encoding="utf-8")
    return FinishedRun(tmp_path / "run")


def test_the_script_writes_sheets_tables_and_recall(
    hostile_copy: FinishedRun, run: FinishedRun, sources: RunSources, tmp_path: Path
) -> None:
    flags = PictureFlags(
        run=hostile_copy.path,
        concepts=("../../x", run.concepts[5]),
        filters=(3,),
        percentiles=(100, 50),
        dataset=str(sources.dataset.directory),
        activations=run.path.parents[1] / "activations",
        masks="dark",
        colors="jet",
    )
    before = sorted(path for path in tmp_path.rglob("*"))
    pictures.main(flags)
    out = hostile_copy.path / "pictures"
    written = {path.name for path in out.iterdir()}
    assert written == {
        name_sheet(hostile_copy, 0), name_sheet(hostile_copy, 5), "filter_0003.png", "pictures.csv",
        "filter_pictures.csv", "recall.csv", "recall.png", "recall.pdf",
    }  # fmt: skip
    assert sorted(p for p in tmp_path.rglob("*") if out not in (p, *p.parents)) == before
    rows = read_table(out / "pictures.csv")
    assert {row["concept"] for row in rows} == {"../../x", run.concepts[5]}
    found = collect_concept_pictures(run, sources, [0], percentiles=(100, 50))[0]
    for row, picture in zip(rows, found, strict=False):
        assert row["image"] == sources.dataset.image_names[picture.image]
        assert float(row["embedding_iou"]) == picture.embedding_iou
        assert float(row["filter_iou"]) == picture.filter_iou
        assert float(row["percentile"]) == picture.percentile
    recall = read_table(out / "recall.csv")
    assert len(recall) == sources.dataset.is_val.sum()
    assert float(recall[-1]["embedding_recall"]) == pytest.approx(1)
    again = dataclasses.replace(flags, out=tmp_path / "other", highest=1, raw=True)
    pictures.main(again)
    assert all(row["percentile"] == "100" for row in read_table(again.out / "pictures.csv"))
