"""The segmentation probe: all embeddings of a layer trained at once, and what a user holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import jax
import numpy as np
import pandas as pd
from jaxtyping import Int

from net2vec_jax.activations.binary import BinaryActivations, collect_binary_activations
from net2vec_jax.activations.layer import LayerActivations
from net2vec_jax.activations.responses import split_filters
from net2vec_jax.activations.standardized import (
    ActivationScale,
    SpatialActivations,
    collect_standardized_activations,
    measure_scale,
)
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.probes.heads import ALL_FILTERS, Heads, make_subset_heads
from net2vec_jax.probes.presets import PAPER, Preset, PresetName
from net2vec_jax.probes.scores import HeadScores
from net2vec_jax.probes.segmentation.all_images import score_all_images
from net2vec_jax.probes.segmentation.best_filters import choose_signed_filters
from net2vec_jax.probes.segmentation.controls import (
    count_regions,
    exchange_masks,
    exchange_targets,
    fit_location_prior,
    measure_everything,
)
from net2vec_jax.probes.segmentation.decision import choose_levels
from net2vec_jax.probes.segmentation.evaluation import SegmentationCounts, evaluate_segmentation
from net2vec_jax.probes.segmentation.image_blocks import train_entries
from net2vec_jax.probes.segmentation.measures import measure_embeddings
from net2vec_jax.probes.segmentation.optimum import train_to_optimum
from net2vec_jax.probes.segmentation.penalties import choose_penalties
from net2vec_jax.probes.segmentation.prediction import predict_pixels_of, score_grids
from net2vec_jax.probes.segmentation.rivals import Rivals
from net2vec_jax.probes.segmentation.scores import ImageOverlaps, score_segmentation
from net2vec_jax.probes.segmentation.training import (
    make_segmentation_heads,
    train_segmentation_heads,
)
from net2vec_jax.probes.single_filters.evaluation import probe_single_filters
from net2vec_jax.runs import files
from net2vec_jax.runs.directory import RunDirectory
from net2vec_jax.runs.files import ProbedConcepts, TrainedHeads, join_trained
from net2vec_jax.runs.probe import (
    Keep,
    Probe,
    Problem,
    announce_signed,
    collect_masks,
    collect_untrained,
    describe_probe,
    equip,
    keep_concepts,
    keep_nothing,
    make_settings,
)
from net2vec_jax.runs.settings import SegmentationSettings
from net2vec_jax.stats.metrics import NO_FILTER, choose_best_filters, iou
from net2vec_jax.stats.overlap import Overlap

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
        rows = self._rows(filters, seed)[places]
        batches, sizes = self._respond(images)
        if self.scale is None:
            activations = collect_binary_activations(batches, self.thresholds)
        else:
            activations = collect_standardized_activations(batches, self.scale)
        scores = score_grids(self.trained.weights[rows], activations)
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
        `l2` of `CONVERGED`; `controls` (True); `untrained` (False);
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
    problem = Problem(
        lambda: layer,
        lambda: masks,
        lambda: collect_untrained(
            layer.network, dataset, layer.layer,
            cast(Any, layer.origin.get("preprocessing", "own")), layer.responses,
            seed=chosen.seed, progress=progress,
        ),
    )  # fmt: skip
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
        self._scale: ActivationScale | None = None

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
        if self._settings.find_preset().to_optimum:
            self._scale = self._keep(
                "scale", self._measure_scale, files.write_scale, files.read_scale, files.SCALE
            )
        trained = self._keep(
            "training", self._train,
            lambda run, trained: files.write_embeddings(run, table, trained),
            lambda path: files.read_embeddings(path, table.numbers),
            files.EMBEDDINGS,
        )  # fmt: skip
        rivals = self._keep(
            "rivals", lambda: self._compare(trained), files.write_rivals, files.read_rivals,
            files.RIVALS,
        )  # fmt: skip
        overlaps, scores, measures = self._keep(
            "evaluation", lambda: self._evaluate(trained, rivals),
            lambda run, found: _write_evaluation(run, table, trained.heads, *found),
            lambda path: (
                read_overlaps(path),
                files.read_scores(path, "segmentation", table, trained.heads),
                files.read_measures(path),
            ),
            OVERLAPS, files.SCORES["segmentation"],
        )  # fmt: skip
        return SegmentationProbe(
            origin=origin, settings=self._settings, table=table, skipped=skipped, trained=trained,
            evaluation=scores, thresholds=thresholds, single_ious=single_ious, overlaps=overlaps,
            rivals=rivals, measures=measures, scale=self._scale,
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
        if not self._settings.find_preset().to_optimum:
            announce_signed(self._problem.layer)
        counts = probe_single_filters(
            self._binary, self._problem.masks, progress="single filters" if self._progress else ""
        )
        return iou(*counts)

    @cached_property
    def _activations(self) -> SpatialActivations:
        """What the embeddings weigh."""
        if self._scale is None:
            return self._binary
        layer = self._problem.layer
        return collect_standardized_activations(layer.batches(), self._scale, len(layer))

    def _measure_scale(self) -> ActivationScale:
        return measure_scale(self._problem.layer.batches(), ~self._problem.masks.is_val)

    def _train(self) -> TrainedHeads:
        settings, masks = self._settings, self._problem.masks
        sizes = settings.subset_sizes(self._problem.layer.filters)
        full = make_segmentation_heads(
            masks, filters=self._problem.layer.filters, key=self._key, seeds=settings.seeds
        )
        trained = self._train_heads(full, self._train_penalties(full), "embeddings")
        if not sizes:
            return trained
        repeated = full.seed < settings.seeds_of_subsets()
        subsets = make_subset_heads(full.select(repeated), trained.weights[repeated], sizes)
        penalties = None
        if trained.l2 is not None:
            penalties = np.tile(trained.l2[repeated], len(sizes))
        return join_trained([trained, self._train_heads(subsets, penalties, "filter subsets")])

    def _train_penalties(self, full: Heads) -> np.ndarray | None:
        """The penalty of each head, of embeddings that are trained to their optimum."""
        if self._scale is None:
            return None
        masks = self._problem.masks
        return choose_penalties(
            full, self._activations, masks, train_entries(full, masks), self._settings.optimum(),
            key=self._key, cluster=masks.image_groups, progress=self._name("penalties"),
        )  # fmt: skip

    def _train_heads(
        self,
        heads: Heads,
        penalties: np.ndarray | None,
        name: str,
        targets: np.ndarray | None = None,
    ) -> TrainedHeads:
        """Train by the preset; on the masks of `targets` instead of the images' own, if given."""
        masks = self._problem.masks
        if penalties is None:
            result = train_segmentation_heads(
                heads,
                self._binary,
                masks if targets is None else exchange_masks(masks, targets),
                self._settings.training(),
                key=self._key,
                progress=self._name(name),
            )
            return TrainedHeads(heads, result.weights, heads.initial_bias, result.loss)
        entries = train_entries(heads, masks, targets)
        found = train_to_optimum(
            heads, self._activations, masks, entries, penalties, self._settings.optimum(),
            progress=self._name(name),
        )  # fmt: skip
        decision = found.bias + choose_levels(found.weights, entries, self._activations, masks)
        return TrainedHeads(
            heads, found.weights, found.bias, found.loss[None], decision=decision,
            loss_share=found.loss_share, l2=found.l2,
        )  # fmt: skip

    def _compare(self, trained: TrainedHeads) -> Rivals:
        """Evaluate what the embeddings are compared with, by their own decision rule."""
        masks, heads = self._problem.masks, trained.heads
        first = (heads.filters == ALL_FILTERS) & (heads.seed == 0)
        full = heads.select(first)
        filter_, sign, weights, level = self._choose_single_filters(full)
        single = self._count(full, weights, level)
        pairs, none = single.pair, filter_[single.head] == NO_FILTER
        overlaps = {
            "single_same_rule": Overlap(
                np.where(none, 0, single.overlap.intersection),
                np.where(none, masks.area[pairs], single.overlap.union),
            ),
            "prior": count_regions(fit_location_prior(masks), masks, pairs),
        }
        if self._settings.controls:
            control = self._train_heads(
                full,
                None if trained.l2 is None else trained.l2[first],
                "controls",
                exchange_targets(masks, self._key),
            )
            overlaps["control"] = self._count(full, control.weights, control.level).overlap
        if self._settings.untrained:
            overlaps["untrained"] = self._count_untrained(full).overlap
        return Rivals(
            names=tuple(overlaps),
            concept=full.concept,
            filter=filter_,
            sign=sign,
            row=single.head,
            image=masks.pair_image[pairs],
            is_val=masks.pair_is_val[pairs],
            intersection=np.stack([o.intersection for o in overlaps.values()]).astype(np.int32),
            union=np.stack([o.union for o in overlaps.values()]).astype(np.int32),
        )

    def _count_untrained(self, full: Heads) -> SegmentationCounts:
        """What embeddings of the same network before its training mark, trained in the same way."""
        read, masks = self._problem.read_untrained, self._problem.read_masks
        assert read is not None
        layer = read()
        other = _Training(Problem(lambda: layer, masks), self._settings, keep_nothing, False)
        other._thresholds = other._collect_thresholds()
        if self._scale is not None:
            other._scale = other._measure_scale()
        trained = other._train_heads(full, other._train_penalties(full), "")
        return other._count(full, trained.weights, trained.level)

    def _choose_single_filters(
        self, full: Heads
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The best single filter under the embeddings' rule: its number, sign, weights and level.

        Of binary activations the rule has no freedom: a pixel is marked where the upsampled map is
        above 0.
        """
        masks, activations = self._problem.masks, self._activations
        rows = np.arange(len(full))
        weights = np.zeros(full.initial_weights.shape, np.float32)
        if isinstance(activations, BinaryActivations):
            overlap = probe_single_filters(
                activations, masks, level=0.0, progress=self._name("single filters, same rule")
            )
            filter_ = choose_best_filters(iou(*overlap))[0][full.concept].astype(np.int32)
            weights[rows, np.maximum(filter_, 0)] = 1
            layer = self._problem.layer
            filter_, sign = split_filters(filter_, layer.filters, layer.responses)
            level = np.zeros(len(full), np.float32)
            return filter_, sign.astype(np.float32), weights, level
        entries = train_entries(full, masks)
        filter_, sign = choose_signed_filters(activations, masks, entries, len(full))
        weights[rows, filter_] = sign
        return filter_, sign, weights, choose_levels(weights, entries, activations, masks)

    def _count(
        self, heads: Heads, weights: np.ndarray, level: np.ndarray, name: str = ""
    ) -> SegmentationCounts:
        return evaluate_segmentation(
            weights, heads, self._activations, self._problem.masks, level=level,
            progress=self._name(name),
        )  # fmt: skip

    def _evaluate(
        self, trained: TrainedHeads, rivals: Rivals
    ) -> tuple[ImageOverlaps, HeadScores, dict[str, np.ndarray]]:
        masks, heads = self._problem.masks, trained.heads
        samples = self._settings.bootstrap_samples
        counts = self._count(heads, trained.weights, trained.level, "evaluation")
        overlaps = ImageOverlaps.of(counts, masks)
        scores = score_segmentation(
            heads, overlaps, key=self._key, bootstrap_samples=samples, cluster=masks.image_groups
        )
        all_images = score_all_images(
            heads, trained.weights, trained.level, overlaps, self._activations, masks,
            key=self._key, bootstrap_samples=samples, cluster=masks.image_groups,
            progress=self._name("all val images"),
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
            key=self._key, bootstrap_samples=samples, cluster=masks.image_groups,
        )  # fmt: skip
        return overlaps, scores, measures

    def _name(self, name: str) -> str:
        """Of a progress bar; empty for none."""
        return name if self._progress else ""


def _write_evaluation(
    run: RunDirectory, table: ProbedConcepts, heads: Heads, overlaps: ImageOverlaps,
    scores: HeadScores, measures: Mapping[str, np.ndarray],
) -> None:  # fmt: skip
    write_overlaps(run, overlaps)
    files.write_scores(run, "segmentation", table, heads, scores, measures)
