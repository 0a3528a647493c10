"""What is found about the filters of one layer: which concepts they serve, chance, correlations.

C concepts of a finished run of the segmentation probe, K filters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from net2vec_jax.analysis.filters.chance_overlap import Overlaps, compare_with_chance
from net2vec_jax.analysis.filters.filter_overlap import (
    Ranking,
    count_filter_overlap,
    find_best_filters,
    find_top_filters,
)
from net2vec_jax.analysis.filters.weight_correlations import (
    Correlations,
    WeightSpread,
    correlate_probes,
    correlate_weights_with_ious,
    measure_spread,
)
from net2vec_jax.analysis.geometry.concept_embeddings import average_seeds, normalise_embeddings
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.left_out import find_undirected, find_unfiltered, find_whole_images
from net2vec_jax.runs.predictions import check_seed

SINGLE = "single"
"""Source of the memberships from best single filters."""


@dataclasses.dataclass(frozen=True, eq=False)
class LayerConcepts:
    """The concepts of a run that are counted, C of them, of K filters."""

    run: FinishedRun
    places: np.ndarray  # of the concepts among the run's, int64 [C]
    names: tuple[str, ...]
    categories: tuple[str, ...]
    weights: np.ndarray  # embeddings, float32 [C, K]
    left_out: dict[str, str]  # why others of the run's are not counted, by name

    @property
    def single_ious(self) -> np.ndarray:
        """Set IoU of every filter with every concept, [2, C, K]: train, val."""
        return self.run.single_ious[:, self.places]

    def find(self, names: Sequence[str]) -> list[int]:
        """Places of the names among the C concepts."""
        return [self.names.index(name) for name in names]


class NamedCorrelations(NamedTuple):
    """Correlations of a layer's weights with something else."""

    kind: str  # with what, and what a row is
    found: Correlations
    rows: Sequence[str | int]  # names of the concepts, or of the filters
    categories: Sequence[str]  # of the rows; empty for filters


@dataclasses.dataclass(frozen=True, eq=False)
class LayerAnalysis:
    """What is found about a layer."""

    concepts: LayerConcepts  # that are counted
    overlaps: dict[str, Overlaps]  # by source
    by_size: dict[int, Overlaps]  # by number of filters of largest |weight|
    weight_iou: dict[str, Correlations]  # split of the IoUs → their r with weights, per concept
    spread: WeightSpread  # of the weights
    probes: tuple[Correlations, Correlations] | None  # of both probes, per concept and per filter
    common: tuple[str, ...]  # names of the concepts that both probes have
    left_out: dict[str, dict[str, str]]  # by part of the analysis, why it lacks concepts

    def correlations(self) -> Iterator[NamedCorrelations]:
        """All correlations of the weights."""
        names, categories = self.concepts.names, self.concepts.categories
        for split, found in self.weight_iou.items():
            kind = f"single-filter IoU on {split}, by concept"
            yield NamedCorrelations(kind, found, names, categories)
        if self.probes:
            kind, (by_concept, by_filter) = "classification weights, by", self.probes
            common = [categories[place] for place in self.concepts.find(self.common)]
            yield NamedCorrelations(f"{kind} concept", by_concept, self.common, common)
            filters = self.concepts.run.filter_names.tolist()
            yield NamedCorrelations(f"{kind} filter", by_filter, filters, [""] * len(filters))

    def summary(self) -> dict[str, Any]:
        """Numbers for a JSON file."""
        found: dict[str, Any] = {
            "run": str(self.concepts.run.path),
            "overlap": {
                source: {
                    "found": overlaps.found.summary(),
                    "by_chance": overlaps.chance.summary(),
                    "by_chance_popularity_kept": overlaps.popularity_kept.summary(),
                }
                for source, overlaps in self.overlaps.items()
            },
            "weight_iou_correlation": {
                split: correlations.summary() for split, correlations in self.weight_iou.items()
            },
            "weight_spread": self.spread.summary(),
            "left_out": self.left_out,
        }
        if self.probes:
            by_concept, by_filter = (correlations.summary() for correlations in self.probes)
            found["probe_correlation"] = {"by_concept": by_concept, "by_filter": by_filter}
        return found


def average_repetitions(weights: np.ndarray) -> np.ndarray:
    """The mean direction of [S, C, K] over repetitions, with the rows' mean length, [C, K].

    The length keeps the spread of the weights comparable; rows without a direction are zero.
    """
    if len(weights) == 1:
        return weights[0]
    length = np.linalg.norm(weights.astype(np.float64), axis=-1).mean(axis=0)
    unit = average_seeds(weights)
    return (unit.vectors * np.where(unit.is_valid, length, 0)[:, None]).astype(np.float32)


def choose_concepts(
    run: FinishedRun, *, repetition: int | None = None, include_whole_images: bool = False
) -> LayerConcepts:
    """The concepts of a run that are counted, with their embeddings.

    Args:
      run: of either probe.
      repetition: of the embeddings; by default their mean direction.
      include_whole_images: count scenes and textures too, whose masks are whole images.

    Raises:
      Net2VecError: none is left, or the run has no such repetition.
    """
    if repetition is None:
        weights = average_repetitions(run.weights)
    else:
        weights = run.weights[check_seed(run, repetition)]
    left_out = {} if include_whole_images else find_whole_images(run.concepts, run.categories)
    kept = [place for place, concept in enumerate(run.concepts) if concept not in left_out]
    if not kept:
        raise Net2VecError(
            f"all concepts of {run.path} are scenes or textures; count them with "
            "--include-whole-images"
        )
    names, categories = (
        tuple(values[place] for place in kept) for values in (run.concepts, run.categories)
    )
    return LayerConcepts(run, np.array(kept), names, categories, weights[kept], left_out)


def analyse_layer(
    concepts: LayerConcepts,
    classification: LayerConcepts | None = None,
    *,
    filters: Sequence[int] = (1, 3, 5, 10, 20),
    rankings: Sequence[Ranking] = ("absolute",),
    permutations: int = 1000,
    seed: int = 0,
) -> LayerAnalysis:
    """Count which concepts the filters serve, by every source, and correlate weights.

    Args:
      concepts: of a run of the segmentation probe.
      classification: concepts of the classification probe on the same layer.
      filters: numbers of filters of largest weight, as far as the layer has more.
      rankings: of the weights.
      permutations: of the filters, and swaps' matrices, for what chance gives.
      seed: of both.
    """
    ious, weights = concepts.single_ious, concepts.weights

    def count(membership: np.ndarray) -> Overlaps:
        overlap = count_filter_overlap(membership, concepts.categories)
        return compare_with_chance(overlap, seed=seed, samples=permutations)

    overlaps, by_size = {SINGLE: count(find_best_filters(ious[0]))}, {}
    for ranking in dict.fromkeys(rankings):
        for size in sorted(set(filters)):
            if size < weights.shape[1]:
                source = f"top {size}" + (" positive" if ranking == "positive" else "")
                overlaps[source] = count(find_top_filters(weights, size, ranking=ranking))
                if ranking == "absolute":
                    by_size[size] = overlaps[source]
    probes, common = None, ()
    if classification is not None:
        common = tuple(name for name in concepts.names if name in set(classification.names))
        probes = correlate_probes(
            *(layer.weights[layer.find(common)] for layer in (concepts, classification))
        )
    weight_iou = {
        split: correlate_weights_with_ious(weights, iou)
        for split, iou in zip(("train", "val"), ious, strict=True)
    }
    train_images = concepts.run.train_images[concepts.places]
    return LayerAnalysis(
        concepts=concepts,
        overlaps=overlaps,
        by_size=by_size,
        weight_iou=weight_iou,
        spread=measure_spread(weights, concepts.categories, train_images),
        probes=probes,
        common=common,
        left_out=_find_left_out(concepts, classification, weight_iou["val"]),
    )


def _find_left_out(
    concepts: LayerConcepts, classification: LayerConcepts | None, weight_iou: Correlations
) -> dict[str, dict[str, str]]:
    """By part of the analysis, the concepts that it lacks, and why."""
    unfiltered = find_unfiltered(concepts.run)
    left_out = {
        "all counts": concepts.left_out,
        "best single filters": {
            name: unfiltered[name] for name in concepts.names if name in unfiltered
        },
        "filters of largest weight": find_undirected(
            concepts.names, normalise_embeddings(concepts.weights)
        ),
        "correlations with IoUs": {
            concepts.names[place]: "weights or IoUs do not vary"
            for place in np.flatnonzero(~np.isfinite(weight_iou.r))
        },
    }
    if classification is not None:
        sides = (concepts, classification)
        left_out["correlations of both probes"] = {
            name: f"the {other.run.kind} run has it not"
            for one, other in (sides, sides[::-1])
            for name in one.names
            if name not in other.names
        }
    return {part: reasons for part, reasons in left_out.items() if reasons}
