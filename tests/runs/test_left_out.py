"""Scripts say which concepts they leave out and why: how many, and the first ten."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from net2vec_jax.core.console import announce_left_out
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.sources import RunSources
from net2vec_jax.studies import (
    compare_networks,
    concept_embeddings,
    filter_overlap,
    pictures,
    recall,
)
from net2vec_jax.studies.concept_embeddings import EmbeddingFlags
from net2vec_jax.studies.direction_responses import find_directions, find_without_direction
from net2vec_jax.studies.filter_overlap import OverlapFlags
from net2vec_jax.studies.maximise_activation import choose_concepts
from net2vec_jax.studies.report import ReportFlags
from net2vec_jax.studies.report import main as report


@pytest.fixture(scope="module")
def run(finished_study: Path) -> FinishedRun:
    return FinishedRun(finished_study / "block4" / "segmentation")


@pytest.fixture
def silenced(run: FinishedRun, tmp_path: Path) -> FinishedRun:
    """A copy in which no filter overlaps the first two concepts on train images."""
    path = tmp_path / "silenced"
    shutil.copytree(run.path, path)
    arrays = run.read_arrays("single_filter.npz")
    arrays["train_iou"][np.isin(arrays["concept"], run.numbers[:2])] = 0
    np.savez(path / "single_filter.npz", **arrays)
    return FinishedRun(path)


def list_whole_images(run: FinishedRun) -> set[str]:
    pairs = zip(run.concepts, run.categories, strict=True)
    return {concept for concept, category in pairs if category in ("scene", "texture")}


def test_names_of_one_reason_stand_together(capsys: pytest.CaptureFixture) -> None:
    reasons = {f"dog {n}": "no val image" for n in range(12)} | {"cat": "no train image"}
    announce_left_out("concepts", reasons, of=1500)
    first, many, one = capsys.readouterr().err.splitlines()
    assert first == "left out: 13 of 1,500 concepts"
    assert many.strip() == ", ".join(f"dog {n}" for n in range(10)) + " and 2 more: no val image"
    assert one.strip() == "cat: no train image"
    announce_left_out("images", {f"{n}.jpg": f"reason {n}" for n in range(15)})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 12 and lines[10].strip() == "9.jpg: reason 9"
    assert lines[0] == "left out: 15 images" and lines[11].strip() == "and 5 more"
    announce_left_out("images", {})
    assert capsys.readouterr().err == ""


def test_filter_overlap(
    finished_study: Path, silenced: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    classification = FinishedRun(finished_study / "block4" / "classification")
    flags = OverlapFlags(
        runs=(silenced.path,), classification_runs=(classification.path,), filters=(5,),
        permutations=5, out=tmp_path / "out",
    )  # fmt: skip
    filter_overlap.main(flags)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    left_out = summary["block4"]["left_out"]
    whole = list_whole_images(silenced)
    assert left_out["all counts"].keys() == whole
    assert list(left_out["best single filters"]) == list(silenced.concepts[:2])
    others = (set(silenced.concepts) ^ set(classification.concepts)) - whole
    assert left_out["correlations of both probes"].keys() == others
    printed = capsys.readouterr().err
    assert (
        f"left out: {len(whole)} of {len(silenced)} concepts of block4 from all counts" in printed
    )
    for run in (silenced, classification):
        assert f"left out: {len(run.skipped)} of 118 concepts by the run {run.path}" in printed


def test_concept_embeddings(
    run: FinishedRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    weights = run.weights.copy()
    weights[:, 3] = 0
    weights[1, 5] = 0
    monkeypatch.setattr(FinishedRun, "weights", weights)
    concept_embeddings.main(EmbeddingFlags(run=run.path, out=tmp_path / "out"))
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["masked"] == [run.concepts[3]]
    lines = [line.strip() for line in capsys.readouterr().err.splitlines()]
    place = lines.index(f"left out: 1 of {len(run)} concepts")
    assert lines[place + 1] == f"{run.concepts[3]}: the embedding is 0"
    place = lines.index("left out: 1 concepts from the comparison of seeds")
    assert lines[place + 1] == f"{run.concepts[5]}: the embedding of a seed is 0"


@pytest.mark.parametrize("pairwise", [True, False])
def test_compare_networks(
    finished_study: Path, run: FinishedRun, rename_run: Callable[..., Path], pairwise: bool,
    tmp_path: Path, capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    """A concept that one run calls otherwise, one that both left out, and words of one name."""
    other = finished_study / "block10" / "segmentation"
    renamed = rename_run(other, tmp_path / "renamed", concepts={run.concepts[0]: "heron"})
    words = tmp_path / "words.txt"
    lacking = run.concepts[4]
    names = {name.removesuffix("-c").removesuffix("-s") for name in run.concepts[:8]}
    rows = [f"{name} {n} {n**2 + 1} 1" for n, name in enumerate(sorted(names - {lacking[:-2]}))]
    words.write_text("\n".join(rows) + "\n", encoding="utf-8")
    compare_networks.main(
        compare_networks.CompareFlags(
            (run.path, renamed), word_vectors=words, permutations=9, pairwise=pairwise,
            concepts=(lacking,), out=tmp_path / "out",
        )
    )  # fmt: skip
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    first, second, lexicon = (each["name"] for each in summary["representations"])
    reasons = summary["left_out"]
    assert reasons[run.concepts[0]] == f"not in {second}"
    assert reasons["heron"] == f"not in {first}; not in {lexicon}"
    assert reasons[lacking] == f"not in {lexicon}"
    assert reasons["cat"] == f"not in {first} (no val image); not in {second} (no val image)"
    assert run.concepts[1] not in reasons
    printed = capsys.readouterr().err.splitlines()
    place = next(n for n, line in enumerate(printed) if line.startswith("left out"))
    assert f"{len(reasons)} of 119 concepts" in printed[place]
    assert printed[place + 1].strip().startswith(f"{lacking}, ")  # what was asked for comes first


def test_pictures(silenced: FinishedRun, finished_study: Path) -> None:
    found = pictures.find_left_out(silenced, {0: [], 3: [None]}, {7: [], 9: [None]}, "train")
    names = silenced.concepts
    assert found["concepts"] == {names[0]: "on no train image"}
    assert found["best filters"].keys() == {names[0]}
    assert found["filters"] == {"7": "above the threshold on no image"}
    run = FinishedRun(finished_study / "block4" / "segmentation")
    sources = RunSources(run)
    assert recall.find_unranked(run, sources).keys() == list_whole_images(run)
    sources.masks.is_val[:] = False
    sources.masks.is_val[sources.masks.pair_image[sources.masks.pair_concept == 0][0]] = True
    reasons = recall.find_unranked(run, sources)
    assert reasons[names[0]] == "on every val image"
    assert "on no val image" in reasons.values()


def test_maximise_activation(silenced: FinishedRun) -> None:
    assert find_without_direction(silenced).keys() == set(silenced.concepts[:2])
    assert not {0, 1} & set(choose_concepts(silenced, ()))
    silenced.single_ious[0] = 0
    with pytest.raises(Net2VecError, match="no filter alone overlaps"):
        find_directions(silenced, choose_concepts(silenced, ()))


def test_report(run: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    report(ReportFlags(run=run.path, out=tmp_path / "r.html", pictures_per_concept=0,
                       filters_shown=0))  # fmt: skip
    printed = capsys.readouterr().err
    whole = len(list_whole_images(run))
    assert f"left out: {len(run.skipped)} of 118 concepts by the run" in printed
    assert f"left out: {whole} of {len(run)} concepts from the means" in printed


def test_what_a_run_left_out_is_not_unknown(run: FinishedRun) -> None:
    with pytest.raises(Net2VecError, match="left out 'cat': no val image"):
        run.find_concepts(["cat"])
