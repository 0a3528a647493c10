"""Embeddings and their rivals: tested on the same images, counted by family, averaged by thirds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from net2vec_jax.runs.files import read_measures, read_rivals
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.stats.metrics import set_iou
from net2vec_jax.studies.rivals import (
    average_terciles,
    compare_rivals,
    count_differences,
    count_different,
    read_val_overlaps,
    summarise_rivals,
)


@pytest.fixture(scope="module", params=["paper", "converged"])
def run(request: pytest.FixtureRequest, finished_study: Path) -> FinishedRun:
    if request.param == "converged":
        return FinishedRun(request.getfixturevalue("converged_run"))
    return FinishedRun(finished_study / "block10" / "segmentation")


def test_embeddings_and_rivals_are_paired_image_by_image(run: FinishedRun) -> None:
    overlap, concept, image = read_val_overlaps(run)
    rivals = read_rivals(run.path)
    np.testing.assert_array_equal(rivals.row[rivals.is_val], concept)
    np.testing.assert_array_equal(rivals.image[rivals.is_val], image)
    assert overlap.union.shape == (run.seeds, len(image))
    per_seed = [
        set_iou(type(overlap)(*pixels), concept, len(run)) for pixels in zip(*overlap, strict=True)
    ]
    np.testing.assert_allclose(np.mean(per_seed, axis=0), run.scores.full, rtol=1e-6)


def test_every_embedding_is_tested_against_every_rival(run: FinishedRun) -> None:
    tests = compare_rivals(run, samples=50)
    rivals = read_rivals(run.path)
    assert list(tests["rival"].unique()) == list(rivals.names)
    assert len(tests) == len(rivals.names) * len(run)
    measures = read_measures(run.path)
    is_full = [row["filters"] == "all" for row in run.rows]
    for rival, rows in tests.groupby("rival"):
        assert tuple(rows["concept"]) == run.concepts
        np.testing.assert_allclose(rows["rival_val_iou"], measures[f"{rival}_val_iou"][is_full])
        np.testing.assert_allclose(
            rows["difference"], rows["val_iou"] - rows["rival_val_iou"], atol=1e-6
        )
        assert (rows["difference_low"] <= rows["difference_high"]).all()
        assert rows["filter"].isna().all() == (rival != "single_same_rule")
    summary = summarise_rivals(tests)
    assert summary.keys() == set(rivals.names)
    for families in summary.values():
        assert sum(found["concepts"] for found in families.values()) == len(run)


def test_images_of_one_group_count_once(run: FinishedRun) -> None:
    images = int(read_rivals(run.path).image.max()) + 1
    one = compare_rivals(run, groups=np.zeros(images, np.int32), samples=50)
    assert (one["p_value"] == 1).all()  # a single film proves nothing


def test_differences_are_counted_by_family() -> None:
    test = pd.DataFrame(
        {
            "family": ["masks", "masks", "masks", "whole images"],
            "p_value": [0.01, 0.02, np.nan, 0.001],
            "differs": [1, 1, 0, 1],
            "difference": [0.2, -0.1, 0.4, 0.3],
        }
    )
    assert count_different(test) == {"concepts": 3, "better": 2, "worse": 1}
    assert count_differences(test) == {
        "masks": {"concepts": 2, "better": 1, "worse": 1},
        "whole images": {"concepts": 1, "better": 1, "worse": 0},
    }


@pytest.mark.parametrize("concepts", [0, 1, 2, 3, 7])
def test_thirds_hold_every_concept_once(concepts: int) -> None:
    rng = np.random.default_rng(concepts)
    table = pd.DataFrame({"size": rng.integers(0, 4, concepts), "iou": rng.random(concepts)})
    thirds = average_terciles(table, "size", ["iou"])
    assert len(thirds) == min(concepts, 3)
    if concepts:
        assert thirds["concepts"].sum() == concepts
        total = (thirds["iou"] * thirds["concepts"]).sum()
        assert total == pytest.approx(table["iou"].sum())
        assert (thirds["greatest"].to_numpy()[:-1] <= thirds["least"].to_numpy()[1:]).all()
