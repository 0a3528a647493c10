"""What `experiments.filter_overlap` finds about a layer: memberships, chance, correlations.

C concepts of a finished run, K filters; scenes and textures are left out unless asked for.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from net2vec_jax.analysis.filters.chance_overlap import ChanceOverlap, permute_filters
from net2vec_jax.analysis.filters.filter_overlap import (
    FilterOverlap,
    Ranking,
    count_overlap,
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

Overlaps = tuple[FilterOverlap, ChanceOverlap]
"""What was found, and what chance gives."""
SINGLE = "single"
"""Source of the memberships from best single filters."""
SPLITS = ("train", "val")


@dataclasses.dataclass(frozen=True)
class OverlapFlags:
    """Flags of filter_overlap.

    Attributes:
      runs: finished run directories of experiments.segmentation, one per layer.
      classification_runs: those of experiments.classification on some of the same layers, to
        compare the weights of both probes.
      filters: take so many filters of each embedding, as far as a layer has more.
      rankings: by "absolute" weight, as the paper does, or by "positive" weight, of the filters
        whose presence speaks for the concept; or by each of both.
      include_whole_images: count scenes and textures too, whose masks are whole images.
      repetition: take the embeddings of this one of a run's repetitions (--seeds), counted from 0;
        by default their mean direction.
      permutations: of the filters within each concept, for what chance gives.
      seed: of the permutations.
      out: folder of the results; by default filter_overlap in the first run's directory.
    """

    runs: tuple[Path, ...]
    classification_runs: tuple[Path, ...] = ()
    filters: tuple[int, ...] = (1, 3, 5, 10, 20)
    rankings: tuple[Ranking, ...] = ("absolute",)
    include_whole_images: bool = False
    repetition: int | None = None
    permutations: int = 1000
    seed: int = 0
    out: Path | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class LayerConcepts:
    """The concepts of a run that are counted, C of them, of K filters.

    Attributes:
      run: it.
      names: of the concepts.
      categories: of the concepts.
      train_images: int64 [C].
      weights: embeddings, float32 [C, K].
      left_out: why others of the run's are not counted, by name.
    """

    run: FinishedRun
    names: tuple[str, ...]
    categories: tuple[str, ...]
    train_images: np.ndarray
    weights: np.ndarray
    left_out: dict[str, str]

    @property
    def single_ious(self) -> np.ndarray:
        """Set IoU of every filter with every concept, [2, C, K]: train, val."""
        return self.run.single_ious[:, [self.run.concepts.index(name) for name in self.names]]


@dataclasses.dataclass(frozen=True, eq=False)
class LayerAnalysis:
    """What is found about a layer.

    Attributes:
      concepts: that are counted.
      overlaps: source → what was found, and what chance gives.
      by_size: number of filters of largest |weight| → the same.
      weight_iou: split of the IoUs → their correlations with weights, per concept.
      spread: of the weights.
      probes: both probes' weights, per concept and per filter; None without classification.
      common: names of the concepts that both probes have.
      left_out: what a part of the analysis is → why it lacks concepts, by name.
    """

    concepts: LayerConcepts
    overlaps: dict[str, Overlaps]
    by_size: dict[int, Overlaps]
    weight_iou: dict[str, Correlations]
    spread: WeightSpread
    probes: tuple[Correlations, Correlations] | None
    common: tuple[str, ...]
    left_out: dict[str, dict[str, str]]

    def summary(self) -> dict[str, Any]:
        """Numbers for a JSON file."""
        found: dict[str, Any] = {
            "run": str(self.concepts.run.path),
            "overlap": {
                source: {"found": overlap.summary(), "by_chance": chance.summary()}
                for source, (overlap, chance) in self.overlaps.items()
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


def choose_concepts(run: FinishedRun, flags: OverlapFlags) -> LayerConcepts:
    """The concepts of a run that are counted.

    Raises:
      Net2VecError: none is left, or the run has no such repetition.
    """
    if flags.repetition is not None:
        check_seed(run, flags.repetition)
    left_out = {}
    if not flags.include_whole_images:
        left_out = find_whole_images(run.concepts, run.categories)
    kept = [place for place, concept in enumerate(run.concepts) if concept not in left_out]
    if not kept:
        raise Net2VecError(
            f"all concepts of {run.path} are scenes or textures; count them with "
            "--include-whole-images"
        )
    weights = (
        average_repetitions(run.weights)
        if flags.repetition is None
        else run.weights[flags.repetition]
    )
    return LayerConcepts(
        run,
        tuple(run.concepts[place] for place in kept),
        tuple(run.categories[place] for place in kept),
        run.train_images[kept],
        weights[kept],
        left_out,
    )


def analyse_layer(
    concepts: LayerConcepts, classification: LayerConcepts | None, flags: OverlapFlags
) -> LayerAnalysis:
    """Overlaps by every source, and correlations."""
    ious = concepts.single_ious

    def count(membership: np.ndarray) -> Overlaps:
        overlap = count_overlap(membership, concepts.categories)
        return overlap, permute_filters(overlap, seed=flags.seed, samples=flags.permutations)

    overlaps = {SINGLE: count(find_best_filters(ious[0]))}
    by_size = {}
    for ranking in dict.fromkeys(flags.rankings):
        for size in sorted(set(flags.filters)):
            if size < concepts.weights.shape[1]:
                source = f"top {size}" + (" positive" if ranking == "positive" else "")
                overlaps[source] = count(find_top_filters(concepts.weights, size, ranking=ranking))
                if ranking == "absolute":
                    by_size[size] = overlaps[source]
    probes, common = None, ()
    if classification is not None:
        common = tuple(name for name in concepts.names if name in set(classification.names))
        probes = correlate_probes(
            *(
                layer.weights[[layer.names.index(name) for name in common]]
                for layer in (concepts, classification)
            )
        )
    weight_iou = {
        split: correlate_weights_with_ious(concepts.weights, iou)
        for split, iou in zip(SPLITS, ious, strict=True)
    }
    return LayerAnalysis(
        concepts=concepts,
        overlaps=overlaps,
        by_size=by_size,
        weight_iou=weight_iou,
        spread=measure_spread(concepts.weights, concepts.categories, concepts.train_images),
        probes=probes,
        common=common,
        left_out=_find_left_out(concepts, classification, weight_iou["val"]),
    )


def _find_left_out(
    concepts: LayerConcepts, classification: LayerConcepts | None, weight_iou: Correlations
) -> dict[str, dict[str, str]]:
    """By part of the analysis, the concepts that it lacks, and why."""
    unfiltered = find_unfiltered(concepts.run)
    undirected = find_undirected(concepts.names, normalise_embeddings(concepts.weights))
    unrelated = {
        concepts.names[place]: "weights or IoUs do not vary"
        for place in np.flatnonzero(~np.isfinite(weight_iou.r))
    }
    left_out = {
        "all counts": concepts.left_out,
        "best single filters": {
            name: unfiltered[name] for name in concepts.names if name in unfiltered
        },
        "filters of largest weight": undirected,
        "correlations with IoUs": unrelated,
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
