"""Has a concept sub-concepts, and which are taken for each other? An embedding for every image.

Local embeddings (LoCE, Mikriukov et al., IJCV 2025) of a finished segmentation run's concepts. C
concepts, n local embeddings, K filters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from jaxtyping import Int

from net2vec_jax.analysis.category_means import divide
from net2vec_jax.analysis.geometry.concept_embeddings import normalise_embeddings
from net2vec_jax.analysis.geometry.local_embeddings import (
    CONCEPTS,
    FOLDER,
    HEADER,
    describe_concept,
    find_outliers,
    find_sub_concepts,
    measure_retrieval,
)
from net2vec_jax.core.console import tabulate, track
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import make_folder
from net2vec_jax.data.dataset import TRAIN, VAL
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.segmentation.local import train_local
from net2vec_jax.probes.segmentation.training import SegmentationConfig
from net2vec_jax.runs.files import read_thresholds
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.left_out import find_whole_images
from net2vec_jax.runs.predictions import require_segmentation
from net2vec_jax.runs.sources import RunSources, SourceFlags
from net2vec_jax.stats.intervals import bootstrap_accuracy
from net2vec_jax.studies.answer import FIGURES, Answer, LeftOut, print_answer, write_answer

SHOWN, STRIPS = 5, 24
"""Images of a sub-concept, or of a concept's outliers, that are drawn; so many of them a sheet."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalFlags(SourceFlags):
    """Flags of the study.

    Attributes:
      run: directory of a finished run of the segmentation probe.
      concepts: by name or number; by default all but scenes and textures, whose masks are whole
        images.
      images: at most so many images of each concept and split, drawn at random.
      epochs: steps of every embedding on its image.
      learning_rate: of SGD with momentum 0.9.
      neighbours: nearest embeddings of train images that confusions count.
      seed: of drawn images, of the clouds that sub-concepts are compared with, and of intervals.
      out: where tables and figures go; by default RUN/local_embeddings, where the report finds
        them.
    """

    run: Path
    concepts: tuple[str, ...] = ()
    images: int = 200
    epochs: int = 30
    learning_rate: float = 1e-4
    neighbours: int = 10
    seed: int = 0
    out: Path | None = None

    def __post_init__(self) -> None:
        if min(self.images, self.epochs, self.neighbours) < 1 or self.seed < 0:
            raise Net2VecError("--images, --epochs and --neighbours must be at least 1, --seed 0")


def choose_pairs(
    masks: ConceptMasks, places: list[int], most: int, seed: int
) -> Int[np.ndarray, " n"]:
    """Pairs of these concepts whose mask is not empty: at most so many of each in each split.

    Which images a concept gets depends on its number and the seed alone.
    """
    chosen = []
    for place in places:
        random = np.random.default_rng([seed, masks.catalog.concepts[place].number])
        pairs = np.flatnonzero((masks.pair_concept == place) & (masks.area > 0))
        is_val = masks.pair_is_val[pairs]
        chosen += [random.permutation(pairs[is_val == split])[:most] for split in (False, True)]
    return np.sort(np.concatenate(chosen))


def local_embeddings(flags: LocalFlags, sources: RunSources | None = None) -> Answer:
    """Train local embeddings, and measure their geometry.

    Args:
      flags: what is asked of which run.
      sources: of the run, if they were opened before.

    Returns:
      Tables of the n embeddings, of the C concepts, and of what is near to what; the weights.

    Raises:
      Net2VecError: the run is of the other probe, or has no such concept; or no concept has masks.
    """
    sources = sources or RunSources(FinishedRun(flags.run), flags)
    run = sources.run
    require_segmentation(run)
    whole = {} if flags.concepts else find_whole_images(run.concepts, run.categories)
    named = run.find_concepts(flags.concepts) if flags.concepts else range(len(run))
    places = sorted(place for place in named if run.concepts[place] not in whole)
    if not places:
        raise Net2VecError(f"all concepts of the run in {run.path} are of whole images")
    masks = sources.masks
    pairs = choose_pairs(masks, places, flags.images, flags.seed)
    config = SegmentationConfig(epochs=flags.epochs, learning_rate=flags.learning_rate)
    activations = sources.activations.binary(read_thresholds(run.path))
    weights, own_iou = train_local(activations, masks, pairs, config, progress="local embeddings")
    unit = normalise_embeddings(weights)
    concept = np.searchsorted(places, masks.pair_concept[pairs])
    image, is_val = masks.pair_image[pairs], masks.pair_is_val[pairs]
    count, groups = len(places), masks.image_groups
    names, categories = (np.array(all_of)[places] for all_of in (run.concepts, run.categories))

    found = measure_retrieval(unit, concept, is_val, count, neighbours=flags.neighbours)
    asked = np.isfinite(found.average_precision)
    low, high = bootstrap_accuracy(
        found.average_precision[asked], concept[asked], count, key=jax.random.key(flags.seed),
        cluster=None if groups is None else groups[image[asked]],
    )  # fmt: skip
    distance, typicality = np.zeros((2, len(pairs)))
    outlier, sub_concept = np.zeros((2, len(pairs)), int)
    splits = []
    for place in track(range(count), "sub-concepts", unit="concept"):
        rows = np.flatnonzero(concept == place)
        own = unit.select(rows)
        distance[rows], outlier[rows] = find_outliers(own)
        splits.append(find_sub_concepts(own, outlier[rows] == 0, seed=flags.seed))
        sub_concept[rows] = splits[-1].label
        same = (splits[-1].label[:, None] == splits[-1].label) & own.pairs()
        typicality[rows] = divide((own.cosines() * same).sum(1), same.sum(1))
    embeddings = {
        "concept": names[concept],
        "category": categories[concept],
        "image": image,
        "name": np.array(sources.dataset.image_names)[image],
        "split": np.where(is_val, VAL, TRAIN),
        "iou": own_iou,
        "precision": found.average_precision,
        "distance": distance,
        "outlier": outlier,
        "sub_concept": sub_concept,
        "typicality": typicality,
    }

    def average(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        total = np.bincount(concept[chosen], values[chosen], count)
        return divide(total, np.bincount(concept[chosen], minlength=count))

    others = np.nan_to_num(found.confusion) * ~np.eye(count, dtype=bool)
    sub_concepts = np.array([split.label.max(initial=0) for split in splits])
    precision = average(found.average_precision, asked)
    concepts = pd.DataFrame(
        {
            "concept": names,
            "category": categories,
            "taken_for": np.where(others.max(axis=1) > 0, names[others.argmax(axis=1)], ""),
            "taken_for_neighbours": others.max(axis=1),
            "own_neighbours": found.confusion.diagonal(),
            "train": np.bincount(concept[~is_val], minlength=count),
            "val": np.bincount(concept[is_val], minlength=count),
            "iou": average(own_iou, np.ones_like(asked)),
            "precision": precision,
            "precision_low": low,
            "precision_high": high,
            "chance": found.chance,
            "sub_concepts": sub_concepts,
            "silhouette": [split.silhouette for split in splits],
            "p_value": [split.p_value for split in splits],
            "outliers": np.bincount(concept, outlier, count).astype(int),
        }
    )
    confusions = pd.DataFrame(found.confusion, columns=names)
    confusions.insert(0, "of", names, allow_duplicates=True)
    settings = ("images", "epochs", "learning_rate", "neighbours", "seed")
    rows = [describe_concept(row) for row in concepts.to_dict("records")]
    return Answer(
        summary={
            "run": run.name,
            "settings": {name: getattr(flags, name) for name in settings},
            "embeddings": len(pairs),
            "concepts": count,
            "iou": own_iou.mean(),
            "mean_precision": np.nanmean(precision),
            "chance": np.nanmean(found.chance),
            "concepts_with_sub_concepts": int((sub_concepts > 1).sum()),
            "outliers": int(outlier.sum()),
        },
        tables={
            "embeddings": pd.DataFrame(embeddings), CONCEPTS: concepts, "confusions": confusions
        },
        figures=_choose_figures(sources, embeddings, pairs, found.confusion, names.tolist()),
        arrays={
            "weights": {
                "weights": weights, "concept": names[concept], "image": image, "is_val": is_val,
            }
        },
        console=[tabulate("Local embeddings", HEADER, rows, no_wrap=True)],
        left_out=[LeftOut("concepts", whole, of=len(run))],
    )  # fmt: skip


def _choose_figures(
    sources: RunSources, table: dict[str, np.ndarray], pairs: np.ndarray, confusion: np.ndarray,
    names: list[str],
) -> dict[str, Callable[[], Any]]:  # fmt: skip
    from net2vec_jax.plots.contact_sheet import ConceptExamples, plot_contact_sheet
    from net2vec_jax.plots.embeddings import plot_confusions

    def show(name: str, chosen: np.ndarray, of: int, by: str) -> ConceptExamples:
        first = np.flatnonzero(chosen)
        first = first[np.argsort(-table[by][first], kind="stable")[:SHOWN]]
        return ConceptExamples(
            name, str(table["category"][first[0]]), f"{chosen.sum()} of {of} images",
            [sources.dataset.image(image) for image in table["image"][first].tolist()],
            list(sources.masks.unpack(pairs[first])),
            [f"{by} {value:.2f}" for value in table[by][first].tolist()],
        )  # fmt: skip

    strips: dict[tuple[str, str], list[tuple[str, np.ndarray, int]]] = {
        ("sub_concepts", "typicality"): [], ("outliers", "distance"): []
    }  # fmt: skip
    for name in names:
        own = table["concept"] == name
        part, of = table["sub_concept"] * own, int(own.sum())
        if (table["outlier"] * own).any():
            strips["outliers", "distance"].append((name, own & (table["outlier"] == 1), of))
        for label in range(1, part.max() + 1) if part.max() > 1 else ():
            strips["sub_concepts", "typicality"].append((f"{name} {label}", part == label, of))
    figures: dict[str, Callable[[], Any]] = {
        "confusions": lambda: plot_confusions(confusion, names, title=sources.run.name)
    }
    for (figure, by), found in strips.items():
        if found:
            figures[figure] = lambda found=found, by=by: plot_contact_sheet(
                [show(name, chosen, of, by) for name, chosen, of in found[:STRIPS]]
            )
    return figures


def main(flags: LocalFlags) -> None:
    """Train, measure, write and draw everything."""
    out = make_folder(flags.out or flags.run / FOLDER)
    answer = local_embeddings(flags)
    written = write_answer(out, answer)
    print_answer(answer)
    print(f"tables are in {out}, figures in {out / FIGURES}, their numbers in {written}")
