"""The segmentation probe: all embeddings of a layer trained at once, and what a user holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from jaxtyping import Int

from net2vec_jax.activations.binary import BinaryActivations, collect_binary_activations
from net2vec_jax.activations.layer import LayerActivations
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.probes.heads import ALL_FILTERS, Heads, join_heads, make_subset_heads
from net2vec_jax.probes.presets import PAPER, Preset, PresetName
from net2vec_jax.probes.scores import HeadScores
from net2vec_jax.probes.segmentation.evaluation import evaluate_segmentation
from net2vec_jax.probes.segmentation.prediction import predict_pixels_of, score_grids
from net2vec_jax.probes.segmentation.scores import ImageOverlaps, score_segmentation
from net2vec_jax.probes.segmentation.training import (
    SegmentationResult,
    make_segmentation_heads,
    train_segmentation_heads,
)
from net2vec_jax.probes.single_filters.evaluation import probe_single_filters
from net2vec_jax.runs import files
from net2vec_jax.runs.directory import RunDirectory
from net2vec_jax.runs.files import ProbedConcepts, TrainedHeads
from net2vec_jax.runs.probe import (
    Keep,
    Probe,
    Problem,
    collect_masks,
    describe_probe,
    equip,
    keep_concepts,
    keep_nothing,
    make_settings,
)
from net2vec_jax.runs.settings import SegmentationSettings
from net2vec_jax.stats.metrics import NO_FILTER, choose_best_filters, iou

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # matplotlib is for those who draw

OVERLAPS = "segmentation_images.npz"


class PredictedMasks(NamedTuple):
    """Where concepts are on n new images.

    Attributes:
      concepts: names of the C concepts.
      masks: bool [C, H, W] of each image, at its own size.
      probabilities: float32 [C, H, W] of each image, in [0, 1]; a pixel is marked above 0.5.
        Both take 5 · C · H · W bytes for each image: name the concepts for large photographs.
    """

    concepts: tuple[str, ...]
    masks: list[np.ndarray]
    probabilities: list[np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SegmentationProbe(Probe[SegmentationSettings]):
    """Segmentation embeddings of a layer, with all that gives them meaning.

    Attributes:
      thresholds: T_k of every filter, float32 [K].
      single_ious: set IoU of every concept of the table with every single filter, [2, C, K]; the
        first axis is train, val.
      overlaps: overlap of predictions and concepts on every image.
    """

    thresholds: np.ndarray
    single_ious: np.ndarray
    overlaps: ImageOverlaps
    kind = "segmentation"

    @property
    def best_filters(self) -> Int[np.ndarray, " C"]:
        """Best single filter of each concept, chosen on train; `NO_FILTER` if none overlaps it."""
        return choose_best_filters(self.single_ious[:, self.places])[0]

    def scores(self) -> pd.DataFrame:
        """A row per embedding: a concept with a number of filters; means over repetitions.

        Returns:
          Columns concept, category, filters (missing for all of them), train_images, val_images;
          best_filter, single_train_iou, single_val_iou of the best single filter (missing and 0
          where no filter overlaps the concept); train_iou, val_iou in [0, 1] with the 95 % interval
          val_iou_low, val_iou_high, and alpha.
        """
        table, concept = super().scores(), self.evaluation.concept
        best, train, val = (part[concept] for part in choose_best_filters(self.single_ious))
        filters = pd.Series(best, dtype="Int64")
        table.insert(5, "best_filter", filters.mask(filters == NO_FILTER))
        table.insert(6, "single_train_iou", train)
        table.insert(7, "single_val_iou", val)
        return table.assign(alpha=1 - self.table.train_coverage[concept])

    def predict(
        self,
        images: Sequence[np.ndarray] | np.ndarray,
        concepts: Sequence[str | int] | str | int | None = None,
        *,
        filters: int | None = None,
        seed: int = 0,
    ) -> PredictedMasks:
        """Where concepts are on new images (behaviour 5.2).

        Args:
          images: photographs of any size, uint8 [H, W, 3] each; or float activations [n, h, w, K]
            computed elsewhere, whose masks are of the size that the probe was trained on.
          concepts: names or label numbers; all by default.
          filters: use the embeddings of so many filters; by default of all.
          seed: which repetition's embeddings, from 0.

        Raises:
          Net2VecError: a concept is unknown, or images are of another kind.
        """
        places = self.find_places(concepts)
        weights = self.select_embeddings(filters=filters, seed=seed)[places]
        batches, sizes = self._respond(images)
        binary = collect_binary_activations(batches, self.thresholds)
        scores = score_grids(weights, binary)
        predicted = [
            predict_pixels_of(of_image, size)
            for of_image, size in zip(
                scores, sizes or [self.segmentation_size] * len(scores), strict=True
            )
        ]
        return PredictedMasks(
            tuple(self.concepts[place] for place in places),
            [mask for mask, _ in predicted],
            [probability for _, probability in predicted],
        )

    def plot(self) -> Figure:
        """Best single filter against embedding, a point per concept (figure 2 of the paper)."""
        from net2vec_jax.plots.single_against_embedding import plot_single_against_embedding

        full = self.evaluation.filters == ALL_FILTERS
        concept = self.evaluation.concept[full]
        _, _, single = choose_best_filters(self.single_ious[:, concept])
        return plot_single_against_embedding(
            single,
            self.evaluation.val[full],
            [self.table.categories[place] for place in concept],
            names=[self.table.names[place] for place in concept],
        )

    def write(self, run: RunDirectory) -> None:
        """Write all files of a run directory."""
        files.write_thresholds(run, self.thresholds)
        files.write_concepts(run, self.table, self.skipped)
        files.write_single_filters(run, self.table, self.single_ious, self.places)
        files.write_embeddings(run, self.table, self.trained)
        _write_evaluation(run, self.table, self.trained.heads, self.overlaps, self.evaluation)


def write_overlaps(run: RunDirectory, overlaps: ImageOverlaps) -> None:
    """Write segmentation_images.npz."""
    run.write_arrays(OVERLAPS, dataclasses.asdict(overlaps))


def read_overlaps(directory: Path) -> ImageOverlaps:
    """What `write_overlaps` wrote.

    Raises:
      Net2VecError: it is missing or damaged.
    """
    arrays = files.read_arrays(directory / OVERLAPS)
    with files.reading(directory / OVERLAPS):
        return ImageOverlaps(**arrays)


def train_segmentation(
    layer: LayerActivations,
    dataset: ConceptDataset,
    preset: Preset | PresetName = PAPER,
    *,
    cache_data: bool = True,
    progress: bool = False,
    **settings: Any,
) -> SegmentationProbe:
    """Train segmentation embeddings of all concepts at once (paper, section 3.1).

    Args:
      layer: a layer's activations on the dataset's images.
      dataset: N images with their labels.
      preset: `PAPER` or `REFERENCE_CODE`.
      cache_data: keep decoded labels beside the dataset for later.
      progress: show progress bars.
      settings: `epochs` (30), `batch_size` (the preset's), `learning_rate` (1e-4), `loss`
        ("linear", or "bce"), `shuffle` (False), `quantile` (0.005) and `quantile_method` of the
        thresholds;
        `concepts` (all), `filters` (also embeddings of so many filters; none), `seeds` (1
        repetition), `subset_seeds`, `seed` (0), `bootstrap_samples` (1000): see
        `SegmentationSettings`.

    Raises:
      Net2VecError: settings, activations and dataset do not go together, or no concept has both
        train and val images.

    Examples:
      >>> import net2vec_jax as n2v
      >>> images = np.zeros((8, 32, 32, 3), np.uint8)
      >>> masks = np.ones((8, 4, 4), np.int32)
      >>> masks[:, :2] = 2
      >>> dataset = n2v.from_arrays(images, masks, {1: "ground", 2: "sky"})
      >>> layer = n2v.read_activations(np.random.default_rng(0).random((8, 4, 4, 3)))
      >>> probe = n2v.train_segmentation(layer, dataset, epochs=2)
      >>> probe.concepts, probe.embeddings.shape
      (('ground', 'sky'), (1, 2, 3))
    """
    chosen = make_settings(SegmentationSettings, preset, layer, settings).resolve()
    masks = collect_masks(layer, dataset, chosen, cache_data=cache_data)
    origin = describe_probe(chosen, layer.origin, dataset)
    problem = Problem(lambda: layer, lambda: masks)
    probe = probe_segmentation(problem, chosen, origin, progress=progress)
    return equip(probe, layer, dataset)


def probe_segmentation(
    problem: Problem,
    settings: SegmentationSettings,
    origin: dict[str, Any],
    *,
    keep: Keep = keep_nothing,
    progress: bool = False,
) -> SegmentationProbe:
    """Train a segmentation probe stage by stage; what `keep` has is not computed again.

    Args:
      problem: a layer's activations and masks; read only where a stage needs them.
      settings: of the training.
      origin: everything that the results depend on.
      keep: keeps the products of the stages.
      progress: show progress bars.
    """
    return _Training(problem, settings, keep, progress).run(origin)


class _Training:
    """The stages of a training."""

    def __init__(
        self, problem: Problem, settings: SegmentationSettings, keep: Keep, progress: bool
    ) -> None:
        self._problem, self._settings = problem, settings
        self._keep, self._progress = keep, progress
        self._key = jax.random.key(settings.seed)

    def run(self, origin: dict[str, Any]) -> SegmentationProbe:
        """Every stage in turn."""
        thresholds = self._keep(
            "thresholds", self._collect_thresholds, files.write_thresholds, files.read_thresholds,
            files.THRESHOLDS,
        )  # fmt: skip
        self._thresholds = thresholds
        table, skipped = keep_concepts(self._keep, self._problem, self._settings)
        trained_places = np.array([p for p, n in enumerate(table.names) if n not in skipped], int)
        single_ious = self._keep(
            "single_filter", self._probe_single_filters,
            lambda run, ious: files.write_single_filters(run, table, ious, trained_places),
            lambda path: files.read_single_ious(path, table.numbers),
            files.SINGLE_IOUS, files.SINGLE_FILTER,
        )  # fmt: skip
        trained = self._keep(
            "training", self._train,
            lambda run, trained: files.write_embeddings(run, table, trained),
            lambda path: files.read_embeddings(path, table.numbers),
            files.EMBEDDINGS,
        )  # fmt: skip
        overlaps, scores = self._keep(
            "evaluation", lambda: self._evaluate(trained),
            lambda run, found: _write_evaluation(run, table, trained.heads, *found),
            lambda path: (
                read_overlaps(path),
                files.read_scores(path, "segmentation", table, trained.heads),
            ),
            OVERLAPS, files.SCORES["segmentation"],
        )  # fmt: skip
        return SegmentationProbe(
            origin=origin, settings=self._settings, table=table, skipped=skipped, trained=trained,
            evaluation=scores, thresholds=thresholds, single_ious=single_ious, overlaps=overlaps,
        )  # fmt: skip

    @cached_property
    def _binary(self) -> BinaryActivations:
        return self._problem.layer.binary(self._thresholds)

    def _collect_thresholds(self) -> np.ndarray:
        return self._problem.layer.thresholds(
            quantile=self._settings.quantile,
            method=self._settings.quantile_method,
            progress=self._progress,
        )

    def _probe_single_filters(self) -> np.ndarray:
        counts = probe_single_filters(
            self._binary, self._problem.masks, progress="single filters" if self._progress else ""
        )
        return iou(*counts)

    def _train(self) -> TrainedHeads:
        settings = self._settings
        sizes = settings.subset_sizes(self._problem.layer.filters)
        full = make_segmentation_heads(
            self._problem.masks, filters=self._problem.layer.filters, key=self._key,
            seeds=settings.seeds,
        )  # fmt: skip
        parts, results = [full], [self._train_heads(full, "embeddings")]
        if sizes:
            repeated = full.seed < settings.seeds_of_subsets()
            subsets = make_subset_heads(full.select(repeated), results[0].weights[repeated], sizes)
            parts.append(subsets)
            results.append(self._train_heads(subsets, "filter subsets"))
        heads = join_heads(parts)
        return TrainedHeads(
            heads,
            np.concatenate([result.weights for result in results]),
            heads.initial_bias,
            np.concatenate([result.loss for result in results], axis=1),
        )

    def _train_heads(self, heads: Heads, name: str) -> SegmentationResult:
        return train_segmentation_heads(
            heads,
            self._binary,
            self._problem.masks,
            self._settings.training(),
            key=self._key,
            progress=name if self._progress else "",
        )

    def _evaluate(self, trained: TrainedHeads) -> tuple[ImageOverlaps, HeadScores]:
        counts = evaluate_segmentation(
            trained.weights, trained.heads, self._binary, self._problem.masks,
            progress="evaluation" if self._progress else "",
        )  # fmt: skip
        overlaps = ImageOverlaps.of(counts, self._problem.masks)
        scores = score_segmentation(
            trained.heads, overlaps, key=self._key,
            bootstrap_samples=self._settings.bootstrap_samples,
        )  # fmt: skip
        return overlaps, scores


def _write_evaluation(
    run: RunDirectory, table: ProbedConcepts, heads: Heads, overlaps: ImageOverlaps,
    scores: HeadScores,
) -> None:  # fmt: skip
    write_overlaps(run, overlaps)
    files.write_scores(run, "segmentation", table, heads, scores)
