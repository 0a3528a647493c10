"""A report's content with planted answers, for the tests of the HTML page."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from net2vec_jax.analysis.geometry.concept_embeddings import normalise_embeddings
from net2vec_jax.analysis.geometry.embedding_maps import map_principal_components
from net2vec_jax.plots.pictures import ConceptPicture, FilterPicture
from net2vec_jax.report.page.content import (
    Curves,
    EmbeddingGeometry,
    Fact,
    Pictures,
    ReportContent,
    SingleFilters,
)

HOSTILE = "<script>alert(1)</script>&\"'"
ENDING = "</script><img src=x onerror=alert(2)>"
LONG = "x" * 200
NAMES = ("grass", "blue-c", "green-c", "sky", HOSTILE, ENDING, LONG, "unlearnt")
WEIGHTS = np.array(
    [
        [2, 2, 0, 0, 0, 0],  # grass: green and large
        [0, 0, 3, 0, 0, 0],  # blue
        [0, 4, 0, 0, 0, 0],  # green
        [1, 0, 1, 0, 0, 0],  # sky: blue and large
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, -5, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 0],
    ],
    np.float32,
)
"""grass + blue-c - green-c is nearest to sky."""


def make_pictures(concepts: int, *, images: int = 3) -> Pictures:
    """Two pictures of each concept and one of filter 2, of few images."""
    rng = np.random.default_rng(0)
    mask = np.zeros((14, 14), bool)
    mask[3:9, 4:12] = True

    def picture(image: int, percentile: float) -> ConceptPicture:
        score = rng.random((14, 14), np.float32)
        return ConceptPicture(image, percentile, 0.5, 0.25, mask, score > 0.5, ~mask, score)

    return Pictures(
        images={n: rng.integers(0, 256, (32, 48, 3), dtype=np.uint8) for n in range(images)},
        names={n: f"{HOSTILE}/{n}.jpg" for n in range(images)},
        concepts={c: [picture(c % images, 95.0), picture(0, 5.0)] for c in range(concepts)},
        filters={2: [FilterPicture(1, 3.5, mask)]},
    )


def make_content(**changes: Any) -> ReportContent:
    """Eight concepts, six filters, curves over 1, 3 and 6 filters."""
    concepts, filters = WEIGHTS.shape
    unit = normalise_embeddings(WEIGHTS)
    full = np.array([0.5, 0.9, 0.2, 0.7, 0.4, 0.3, 0.6, np.nan])
    score = full[:, None] * [0.4, 0.85, 1]
    curves = Curves(
        np.array([1, 3, filters]), score, score - 0.05, score + 0.05,
        {0.8: np.full(concepts, 3), 0.9: np.full(concepts, 6)},
    )  # fmt: skip
    every = np.abs(WEIGHTS) / 10
    best = every.argmax(axis=1)
    content = ReportContent(
        probe="segmentation",
        network="net",
        layer="layer",
        dataset=HOSTILE,
        headline=[Fact("concepts", str(concepts), HOSTILE)],
        settings=[("Settings", [Fact("epochs", "30")])],
        concepts=NAMES,
        categories=("object", "color", "color", "object", "object", HOSTILE, "part", "scene"),
        whole_image=("scene",),
        numbers=np.array([3, 5, 6, 12, 20, 21, 30, 31]),
        train_images=np.arange(10, 10 + concepts),
        val_images=np.arange(5, 5 + concepts),
        curves=curves,
        single=SingleFilters(best, every.max(axis=1), every),
        weights=WEIGHTS,
        thresholds=np.arange(filters) + 0.5,
        geometry=EmbeddingGeometry(
            unit.vectors, unit.is_valid, map_principal_components(unit).coordinates, ("1", "2")
        ),
        pictures=make_pictures(concepts),
        remarks=[HOSTILE],
        rule=HOSTILE,
        comparison=[Fact(HOSTILE, "0.5", HOSTILE)],
        measures={
            "single_same_rule_filter": best.astype(np.float64),
            "single_same_rule_val_iou": every.max(axis=1) / 2,
            "single_same_rule_val_iou_low": every.max(axis=1) / 4,
            "single_same_rule_val_iou_high": every.max(axis=1),
            "prior_val_iou": np.full(concepts, 0.125),
        },
    )
    return dataclasses.replace(content, **changes)
