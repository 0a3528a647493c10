"""The segmentation probe: all embeddings of a layer trained at once, and what a user holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pandas as pd
from jaxtyping import Int

from net2vec_jax.activations.binary import collect_binary_activations
from net2vec_jax.activations.layer import LayerActivations, collect_activations
from net2vec_jax.activations.standardized import (
    ActivationScale,
    SpatialActivations,
    collect_standardized_activations,
)
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.probes.heads import ALL_FILTERS, Heads
from net2vec_jax.probes.presets import PAPER, Preset, PresetName
from net2vec_jax.probes.scores import HeadScores
from net2vec_jax.probes.segmentation.all_images import score_all_images
from net2vec_jax.probes.segmentation.controls import measure_everything
from net2vec_jax.probes.segmentation.measures import measure_embeddings
from net2vec_jax.probes.segmentation.prediction import predict_pixels_of, score_grids
from net2vec_jax.probes.segmentation.rivals import Rivals
from net2vec_jax.probes.segmentation.scores import ImageOverlaps, score_segmentation
from net2vec_jax.runs import files
from net2vec_jax.runs.directory import RunDirectory
from net2vec_jax.runs.embedding_training import (
    EmbeddingTraining,
    measure_thresholds,
    measure_train_scale,
)
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
    untrain_on,
)
from net2vec_jax.runs.rivals import train_rivals
from net2vec_jax.runs.settings import SegmentationSettings
from net2vec_jax.stats.metrics import NO_FILTER, choose_best_filters

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # matplotlib is for those who draw

OVERLAPS = "segmentation_images.npz"


class PredictedMasks(NamedTuple):
    """Where concepts are on n new images.

    Attributes:
      concepts: names of the C concepts.
      masks: bool [C, H, W] of each image, at its own size.
      probabilities: float32 [C, H, W] of each image, in [0, 1]; a pixel is marked above 0.5. Of an
        embedding with a decision threshold τ it is σ(z − τ).
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
      rivals: the same of what embeddings are compared with.
      measures: by column, what stands beside the set IoU of every embedding, float64 [G].
      scale: of the activations, where the embeddings are over standardised ones.
    """

    thresholds: np.ndarray
    single_ious: np.ndarray
    overlaps: ImageOverlaps
    rivals: Rivals
    measures: Mapping[str, np.ndarray]
    scale: ActivationScale | None = None
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
          where no filter overlaps the concept), as the paper has it; train_iou, val_iou in [0, 1]
          with the 95 % interval val_iou_low, val_iou_high, and alpha. Then, under the embeddings'
          own decision rule, val set IoU of the best single filter (single_same_rule_…), of a
          location prior, of an embedding trained on exchanged masks (control_…) and of everything
          marked; the embedding's scores over all val images; and how it was trained
          (docs/statistics.md).
        """
        table, concept = super().scores(), self.evaluation.concept
        best, train, val = (part[concept] for part in choose_best_filters(self.single_ious))
        filters = pd.Series(pd.array(self.filter_names[best]))
        table.insert(5, "best_filter", filters.mask(best == NO_FILTER))
        table.insert(6, "single_train_iou", train)
        table.insert(7, "single_val_iou", val)
        return table.assign(alpha=1 - self.table.train_coverage[concept], **self.measures)

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
        rows = self.find_rows(filters, seed)[places]
        batches, sizes = self._respond(images)
        scores = score_grids(self.trained.weights[rows], self.weigh(batches))
        scores = scores - self.trained.level[rows][:, None, None]
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

    def weigh(self, batches: Iterable[np.ndarray]) -> SpatialActivations:
        """What the embeddings weigh: activations [n, h, w, K], binary or standardised."""
        if self.scale is None:
            return collect_binary_activations(batches, self.thresholds)
        return collect_standardized_activations(batches, self.scale)

    def list_tensors(self, rows: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """See `Probe.export`."""
        level = {"level": self.trained.level[rows]}
        if self.scale is None:
            return level | {"thresholds": self.thresholds}, {}
        return level | {"mean": self.scale.mean, "deviation": self.scale.deviation}, {}

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
        if self.scale is not None:
            files.write_scale(run, self.scale)
        files.write_embeddings(run, self.table, self.trained)
        files.write_rivals(run, self.rivals)
        _write_evaluation(
            run, self.table, self.trained.heads, self.overlaps, self.evaluation, self.measures
        )


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
      preset: `PAPER`, `REFERENCE_CODE` or `CONVERGED`.
      cache_data: keep decoded labels beside the dataset for later.
      progress: show progress bars.
      settings: `epochs` (30), `batch_size` (the preset's), `learning_rate` (1e-4), `loss`
        ("linear", or "bce"), `shuffle` (False), `quantile` (0.005) and `quantile_method` of the
        thresholds;
        `l2` of `CONVERGED`; `controls` (True); `untrained` (True);
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

    def collect_untrained() -> LayerActivations | None:
        preprocessing = cast(Any, layer.origin.get("preprocessing", "own"))
        network = untrain_on(layer.network, dataset, preprocessing, seed=chosen.seed)
        if network is None:
            return None
        return collect_activations(
            network, dataset, layer.layer, preprocessing=preprocessing,
            dtype=cast(Any, layer.origin["dtype"]), responses=layer.responses, progress=progress,
        )  # fmt: skip

    problem = Problem(lambda: layer, lambda: masks, collect_untrained)
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
    thresholds = keep(
        "thresholds", lambda: measure_thresholds(problem, settings, progress=progress),
        files.write_thresholds, files.read_thresholds, files.THRESHOLDS,
    )  # fmt: skip
    table, skipped = keep_concepts(keep, problem, settings)
    trained_places = np.array([p for p, n in enumerate(table.names) if n not in skipped], int)
    scale = None
    if settings.find_preset().to_optimum:
        scale = keep(
            "scale", lambda: measure_train_scale(problem), files.write_scale, files.read_scale,
            files.SCALE,
        )  # fmt: skip
    training = EmbeddingTraining(problem, settings, thresholds, scale, progress)
    single_ious = keep(
        "single_filter", training.probe_single_filters,
        lambda run, ious: files.write_single_filters(run, table, ious, trained_places),
        lambda path: files.read_single_ious(path, table.numbers),
        files.SINGLE_IOUS, files.SINGLE_FILTER,
    )  # fmt: skip
    trained = keep(
        "training", training.train,
        lambda run, trained: files.write_embeddings(run, table, trained),
        lambda path: files.read_embeddings(path, table.numbers),
        files.EMBEDDINGS,
    )  # fmt: skip
    rivals = keep(
        "rivals", lambda: train_rivals(training, trained), files.write_rivals, files.read_rivals,
        files.RIVALS,
    )  # fmt: skip
    overlaps, scores, measures = keep(
        "evaluation", lambda: _evaluate(training, trained, rivals),
        lambda run, found: _write_evaluation(run, table, trained.heads, *found),
        lambda path: (
            read_overlaps(path),
            files.read_scores(path, "segmentation", table, trained.heads),
            files.read_measures(path),
        ),
        OVERLAPS, files.SCORES["segmentation"],
    )  # fmt: skip
    return SegmentationProbe(
        origin=origin, settings=settings, table=table, skipped=skipped, trained=trained,
        evaluation=scores, thresholds=thresholds, single_ious=single_ious, overlaps=overlaps,
        rivals=rivals, measures=measures, scale=scale,
    )  # fmt: skip


def _evaluate(
    training: EmbeddingTraining, trained: TrainedHeads, rivals: Rivals
) -> tuple[ImageOverlaps, HeadScores, dict[str, np.ndarray]]:
    masks, heads, settings = training.masks, trained.heads, training.settings
    resampling = {
        "key": training.key,
        "bootstrap_samples": settings.bootstrap_samples,
        "cluster": masks.image_groups,
    }
    counts = training.count(heads, trained.weights, trained.level, "evaluation")
    overlaps = ImageOverlaps.of(counts, masks)
    scores = score_segmentation(heads, overlaps, **resampling)
    all_images = score_all_images(
        heads, trained.weights, trained.level, overlaps, training.activations, masks,
        progress=training.name("all val images"), **resampling,
    )  # fmt: skip
    unknown = np.full(len(heads), np.nan)
    measures = measure_embeddings(
        heads, scores, overlaps, rivals, all_images,
        of_heads={
            "decision_threshold": trained.level + trained.bias,
            "loss_share": unknown if trained.loss_share is None else trained.loss_share,
            "l2": unknown if trained.l2 is None else trained.l2,
        },
        everything=measure_everything(masks),
        **resampling,
    )  # fmt: skip
    return overlaps, scores, measures


def _write_evaluation(
    run: RunDirectory, table: ProbedConcepts, heads: Heads, overlaps: ImageOverlaps,
    scores: HeadScores, measures: Mapping[str, np.ndarray],
) -> None:  # fmt: skip
    write_overlaps(run, overlaps)
    files.write_scores(run, "segmentation", table, heads, scores, measures)
