"""Embeddings on a dataset that they were not trained on: who partners whom, and the same counts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from wordnet_writer import write_wordnet

import net2vec_jax as n2v
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.concepts import Concept, ConceptCatalog
from net2vec_jax.data.masks import collect_concept_masks
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.predictions import embedding_scores
from net2vec_jax.studies import score_on
from net2vec_jax.studies.score_on import Partner, ScoreFlags, match_concepts

OURS = {3: "Dog", 4: "animal", 7: "sky", 9: "beast"}
THEIRS = ConceptCatalog.of(
    Concept(number, name, {"object": 1}, "object")
    for number, name in ((3, "t-shirt"), (5, "dog"), (6, "pet"), (8, "canine"), (9, "jersey"))
)


def test_concepts_are_matched_as_was_asked(tmp_path: Path) -> None:
    assert match_concepts(OURS, THEIRS) == {3: Partner((5,), "name")}
    assert match_concepts(OURS, THEIRS, match="number") == {
        3: Partner((3,), "number"),
        9: Partner((9,), "number"),
    }
    table = tmp_path / "pairs.csv"
    table.write_text("a,b\nsky,pet\nsky,8\n4,dog\n", encoding="utf-8")
    assert match_concepts(OURS, THEIRS, table=table) == {
        7: Partner((6, 8), "table"),
        4: Partner((5,), "table"),
    }
    table.write_text("a,b\nsky,cat\n", encoding="utf-8")
    with pytest.raises(Net2VecError, match=r"pairs.csv line 2.*'cat'"):
        match_concepts(OURS, THEIRS, table=table)
    with pytest.raises(Net2VecError, match="--wordnet"):
        match_concepts(OURS, THEIRS, hypernyms=True)


def test_concepts_are_matched_by_wordnet(tmp_path: Path) -> None:
    pytest.importorskip("nltk")
    wordnet = write_wordnet(tmp_path / "wordnet")
    given = {3: "dog", 4: "animal", 5: "jersey", 7: "sky"}
    found = match_concepts(given, THEIRS, match="synset", wordnet=wordnet)
    assert found == {3: Partner((5,), "synset"), 5: Partner((3, 9), "synset")}
    found = match_concepts(given, THEIRS, wordnet=wordnet, hypernyms=True)
    assert found == {
        3: Partner((5,), "name"),
        4: Partner((5, 6, 8), "hypernym"),
        5: Partner((9,), "name"),
    }


def test_a_union_marks_what_any_of_its_concepts_marks() -> None:
    rng = np.random.default_rng(0)
    planes = rng.integers(0, 4, (6, 11, 9)).astype(np.int32)
    planes[0] = np.where(planes[0] == 2, 3, planes[0])
    dataset = n2v.from_arrays(
        np.zeros((6, 22, 18, 3), np.uint8), planes, {1: "a", 2: "b", 3: "c"}, val=0.5
    )
    united = collect_concept_masks(dataset).unite([(1, 2), (3,), (2,)])
    assert [concept.name for concept in united.catalog] == ["a + b", "c", "b"]
    for union, numbers in enumerate([(1, 2), (3,), (2,)]):
        expected = np.isin(planes, numbers)
        rows = united.pair_concept == union
        np.testing.assert_array_equal(united.unpack(rows), expected[united.pair_image[rows]])
        assert {*united.pair_image[rows]} == {*np.flatnonzero(expected.any((1, 2)))}
    np.testing.assert_array_equal(united.pixels, united.area)
    some = united.select_images(np.array([1, 4]))
    assert len(some.is_val) == 2 and {*some.pair_image.tolist()} == {0, 1}
    np.testing.assert_array_equal(
        some.unpack((some.pair_image == 1) & (some.pair_concept == 1))[0], planes[4] == 3
    )


def test_on_the_run_s_own_val_images_the_scores_are_its_own(
    finished_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = FinishedRun(finished_study / "block10" / "segmentation")
    table = tmp_path / "pairs.csv"
    table.write_text("a,b\nsky,sky\ntree,tree\nblue-c,sky\nblue-c,tree\n", encoding="utf-8")
    flags = ScoreFlags(
        run=run.path, dataset=str(finished_study.parents[1] / "data"), out=tmp_path / "out",
        concepts=("sky", "tree", "blue-c", "red-c"), table=table, split="val",
        bootstrap_samples=50,
    )  # fmt: skip
    score_on.main(flags)
    assert "left out: 1 of 4 concepts" in capsys.readouterr().err
    found = pd.read_csv(tmp_path / "out" / "score_on.csv").set_index("concept")
    expected = np.mean([embedding_scores(run, seed) for seed in range(run.seeds)], axis=0)
    for concept in ("sky", "tree"):
        place = run.concepts.index(concept)
        assert found.loc[concept, "iou_b"] == pytest.approx(expected[place], abs=1e-12)
        assert found.loc[concept, "iou_a"] == pytest.approx(expected[place], abs=1e-6)
        assert found.loc[concept, "images_b"] == run.val_images[place]
    assert (
        found.loc["blue-c", "partner"] == "tree + sky"
        or found.loc["blue-c", "partner"] == "sky + tree"
    )
    between = found["iou_b"].between(found["iou_b_low"], found["iou_b_high"])
    assert between.all()
    unmatched = pd.read_csv(tmp_path / "out" / "unmatched.csv")
    assert unmatched["concept"].tolist() == ["red-c"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["concepts"] == 3
    assert (tmp_path / "out" / "figures" / "score_on.png").exists()
