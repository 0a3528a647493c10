"""The classification probe: all embeddings of a layer trained at once, and what a user holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from net2vec_jax.activations.layer import LayerActivations
from net2vec_jax.activations.pooled import collect_pooled_activations
from net2vec_jax.activations.thresholds import NO_THRESHOLD
from net2vec_jax.core.console import announce
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.probes.classification.groups import (
    ClassificationCounts,
    evaluate_classification,
    group_heads,
    make_classification_heads,
)
from net2vec_jax.probes.classification.model import score
from net2vec_jax.probes.classification.scaling import (
    FeatureScale,
    estimate_progress,
    fit_scale,
)
from net2vec_jax.probes.classification.scores import score_classification
from net2vec_jax.probes.classification.training import (
    ClassificationResult,
    train_classification_heads,
)
from net2vec_jax.probes.heads import ALL_FILTERS, Heads, join_heads, make_subset_heads
from net2vec_jax.probes.presets import PAPER, Preset, PresetName
from net2vec_jax.probes.scores import HeadScores
from net2vec_jax.runs import files
from net2vec_jax.runs.directory import RunDirectory
from net2vec_jax.runs.files import ProbedConcepts, TrainedHeads
from net2vec_jax.runs.probe import (
    Keep,
    Probe,
    Problem,
    announce_signed,
    collect_masks,
    describe_probe,
    equip,
    keep_concepts,
    keep_nothing,
    make_settings,
)
from net2vec_jax.runs.settings import ClassificationSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # matplotlib is for those who draw

LOGITS = "classification_images.npz"
STALLED = 0.5
"""Training that can cover less of its way is announced to stall, see `estimate_progress`."""


class PredictedConcepts(NamedTuple):
    """Which concepts n new images show.

    Attributes:
      concepts: names of the C concepts.
      shows: bool [n, C].
      probabilities: float32 [n, C], in [0, 1]; the concept is shown above 0.5.
    """

    concepts: tuple[str, ...]
    shows: np.ndarray
    probabilities: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ClassificationProbe(Probe[ClassificationSettings]):
    """Classification embeddings of a layer, with all that gives them meaning.

    Attributes:
      counts: what every head says of its concept's val images.
      thresholds: T_k of every filter, float32 [K], where binary activations are pooled; else None.
    """

    counts: ClassificationCounts
    thresholds: np.ndarray | None = None
    kind = "classification"

    def predict(
        self,
        images: Sequence[np.ndarray] | np.ndarray,
        concepts: Sequence[str | int] | str | int | None = None,
        *,
        filters: int | None = None,
        seed: int = 0,
    ) -> PredictedConcepts:
        """Which concepts new images show (behaviour 6.2).

        Args:
          images: photographs of any size, uint8 [H, W, 3] each; or float activations
            [n, h, w, K] or [n, K] computed elsewhere.
          concepts: names or label numbers; all by default.
          filters: use the embeddings of so many filters; by default of all.
          seed: which repetition's embeddings, from 0.

        Raises:
          Net2VecError: a concept is unknown, or images are of another kind.
        """
        places = self.find_places(concepts)
        rows = self.find_rows(filters, seed)[places]
        batches, _ = self._respond(images)
        logits = self.find_logits(batches, rows)
        return PredictedConcepts(
            tuple(self.concepts[place] for place in places),
            logits > 0,
            np.asarray(jax.nn.sigmoid(logits)),
        )

    def find_logits(self, batches: Iterable[np.ndarray], rows: np.ndarray) -> np.ndarray:
        """Logits [n, C] of the heads at `rows`, of activations [n, h, w, K] or [n, K]."""
        pooled = collect_pooled_activations(
            batches, pooling=self.settings.pooling, thresholds=self.thresholds
        )
        logits = score(
            jnp.asarray(self.trained.weights[rows])[None],
            jnp.asarray(self.trained.bias[rows])[None],
            jnp.asarray(pooled)[:, None],
        )
        return np.asarray(logits[0])

    def list_tensors(self, rows: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """See `Probe.export`."""
        thresholds = {} if self.thresholds is None else {"thresholds": self.thresholds}
        return {"bias": self.trained.bias[rows]} | thresholds, {"pooling": self.settings.pooling}

    def plot(self) -> Figure:
        """Val accuracy of every concept, with its interval."""
        from net2vec_jax.plots.probe_scores import plot_scores

        full = self.evaluation.filters == ALL_FILTERS
        return plot_scores(
            [self.table.names[place] for place in self.evaluation.concept[full]],
            self.evaluation.val[full],
            self.evaluation.low[full],
            self.evaluation.high[full],
            label="val accuracy",
        )

    def write(self, run: RunDirectory) -> None:
        """Write all files of a run directory."""
        if self.thresholds is not None:
            files.write_thresholds(run, self.thresholds)
        files.write_concepts(run, self.table, self.skipped)
        files.write_embeddings(run, self.table, self.trained)
        _write_evaluation(run, self.table, self.trained.heads, self.counts, self.evaluation)


def write_counts(run: RunDirectory, counts: ClassificationCounts) -> None:
    """Write classification_images.npz."""
    run.write_arrays(LOGITS, dataclasses.asdict(counts))


def read_counts(directory: Path) -> ClassificationCounts:
    """What `write_counts` wrote.

    Raises:
      Net2VecError: it is missing or damaged.
    """
    arrays = files.read_arrays(directory / LOGITS)
    with files.reading(directory / LOGITS):
        return ClassificationCounts(**arrays)


def train_classification(
    layer: LayerActivations,
    dataset: ConceptDataset,
    preset: Preset | PresetName = PAPER,
    *,
    cache_data: bool = True,
    progress: bool = False,
    **settings: Any,
) -> ClassificationProbe:
    """Train classification embeddings of all concepts at once (paper, section 3.2).

    Args:
      layer: a layer's activations on the dataset's images.
      dataset: N images with their labels.
      preset: `PAPER` or `REFERENCE_CODE`.
      cache_data: keep decoded labels beside the dataset for later.
      progress: show progress bars.
      settings: `epochs` (30), `batch_size` (64), `learning_rate` (0.1), `epochs_per_decay` (15),
        `optimizer` ("sgd", or "adam"), `pooling` ("mean", or "max"), `quantile` (1, no threshold),
        `standardize` (False), `minimum_images` (5);
        `concepts` (all), `filters` (also embeddings of so many filters; none), `seeds` (1
        repetition), `seed` (0), `bootstrap_samples` (1000): see `ClassificationSettings`.

    Raises:
      Net2VecError: settings, activations and dataset do not go together, or no concept has enough
        images.

    Examples:
      >>> import net2vec_jax as n2v
      >>> images = np.zeros((8, 32, 32, 3), np.uint8)
      >>> masks = np.zeros((8, 4, 4), np.int32)
      >>> masks[::2] = 1
      >>> val = [False] * 4 + [True] * 4
      >>> dataset = n2v.from_arrays(images, masks, {1: "sky"}, val=val)
      >>> layer = n2v.read_activations(np.random.default_rng(0).random((8, 3)))
      >>> probe = n2v.train_classification(layer, dataset, epochs=2, minimum_images=2)
      >>> probe.concepts, probe.embeddings.shape
      (('sky',), (1, 1, 3))
    """
    chosen = make_settings(ClassificationSettings, preset, layer, settings)
    masks = collect_masks(layer, dataset, chosen, cache_data=cache_data)
    origin = describe_probe(chosen, layer.origin, dataset)
    problem = Problem(lambda: layer, lambda: masks)
    probe = probe_classification(problem, chosen, origin, progress=progress)
    return equip(probe, layer, dataset)


def probe_classification(
    problem: Problem,
    settings: ClassificationSettings,
    origin: dict[str, Any],
    *,
    keep: Keep = keep_nothing,
    progress: bool = False,
) -> ClassificationProbe:
    """Train a classification probe stage by stage; what `keep` has is not computed again.

    Args and errors as of `probe_segmentation`.
    """
    return _Training(problem, settings, keep, progress).run(origin)


class _Training:
    """The stages of a training."""

    def __init__(
        self, problem: Problem, settings: ClassificationSettings, keep: Keep, progress: bool
    ) -> None:
        self._problem, self._settings = problem, settings
        self._keep, self._progress = keep, progress
        self._key = jax.random.key(settings.seed)
        self._thresholds: np.ndarray | None = None

    def run(self, origin: dict[str, Any]) -> ClassificationProbe:
        """Every stage in turn."""
        if self._settings.quantile != NO_THRESHOLD:
            self._thresholds = self._keep(
                "thresholds", self._collect_thresholds, files.write_thresholds,
                files.read_thresholds, files.THRESHOLDS,
            )  # fmt: skip
        table, skipped = keep_concepts(self._keep, self._problem, self._settings)
        trained = self._keep(
            "training", self._train,
            lambda run, trained: files.write_embeddings(run, table, trained),
            lambda path: files.read_embeddings(path, table.numbers),
            files.EMBEDDINGS,
        )  # fmt: skip
        counts, scores = self._keep(
            "evaluation", lambda: self._evaluate(trained),
            lambda run, found: _write_evaluation(run, table, trained.heads, *found),
            lambda path: (
                read_counts(path),
                files.read_scores(path, "classification", table, trained.heads),
            ),
            LOGITS, files.SCORES["classification"],
        )  # fmt: skip
        return ClassificationProbe(
            origin=origin, settings=self._settings, table=table, skipped=skipped, trained=trained,
            evaluation=scores, counts=counts, thresholds=self._thresholds,
        )  # fmt: skip

    @cached_property
    def _pooled(self) -> np.ndarray:
        return self._problem.layer.pooled(
            self._settings.pooling, thresholds=self._thresholds, progress=self._progress
        )

    @cached_property
    def _scale(self) -> FeatureScale | None:
        if not self._settings.standardize:
            return None
        return fit_scale(self._pooled, ~self._problem.masks.is_val)

    @cached_property
    def _features(self) -> np.ndarray:
        """What the heads are trained on."""
        return self._scale.standardize(self._pooled) if self._scale else self._pooled

    def _collect_thresholds(self) -> np.ndarray:
        announce_signed(self._problem.layer)
        return self._problem.layer.thresholds(
            quantile=self._settings.quantile, progress=self._progress
        )

    def _train(self) -> TrainedHeads:
        settings = self._settings
        sizes = settings.subset_sizes(self._problem.layer.filters)
        full = make_classification_heads(
            self._problem.masks, filters=self._problem.layer.filters, key=self._key,
            seeds=settings.seeds, minimum=settings.minimum_images,
        )  # fmt: skip
        self._announce_stalling(full)
        parts, results = [full], [self._train_heads(full, "embeddings")]
        if sizes:
            parts.append(make_subset_heads(full, results[0].weights, sizes))
            results.append(self._train_heads(parts[1], "filter subsets"))
        weights = np.concatenate([result.weights for result in results])
        bias = np.concatenate([result.bias for result in results])
        if self._scale:
            weights, bias = self._scale.fold(weights, bias)
        return TrainedHeads(
            join_heads(parts),
            weights,
            bias,
            np.concatenate([result.loss for result in results], axis=1),
            np.concatenate([result.accuracy for result in results], axis=1),
        )

    def _announce_stalling(self, heads: Heads) -> None:
        """Say beforehand where the activations are too small for the learning rate."""
        config, count = self._settings.training(), group_heads(heads, self._problem.masks).count
        if config.optimizer != "sgd" or not config.epochs or not len(count):
            return
        progress = estimate_progress(self._features, count, config)
        if progress < STALLED:
            announce(
                [
                    f"training can go {progress:.1%} of the way to the optimum at most: the "
                    "activations vary little for this learning rate and number of steps; give "
                    "--standardize (standardize=True) or a larger --learning-rate (learning_rate)"
                ]
            )

    def _train_heads(self, heads: Heads, name: str) -> ClassificationResult:
        groups = group_heads(heads, self._problem.masks)
        return train_classification_heads(
            heads,
            self._features,
            groups,
            lambda epoch: groups.draw_words(self._key, epoch),
            self._settings.training(),
            progress=name if self._progress else "",
        )

    def _evaluate(self, trained: TrainedHeads) -> tuple[ClassificationCounts, HeadScores]:
        settings = self._settings
        counts = evaluate_classification(
            trained.heads, trained.weights, trained.bias, self._pooled, self._problem.masks,
            key=self._key,
        )  # fmt: skip
        accuracy = trained.accuracy
        if accuracy is None or not len(accuracy):
            accuracy = np.full((1, len(trained.heads)), np.nan)
        batches = settings.find_preset().mean_over_batches
        scores = score_classification(
            trained.heads,
            accuracy[-1],
            counts,
            key=self._key,
            batch_size=settings.batch_size if batches else None,
            bootstrap_samples=settings.bootstrap_samples,
        )
        return counts, scores


def _write_evaluation(
    run: RunDirectory, table: ProbedConcepts, heads: Heads, counts: ClassificationCounts,
    scores: HeadScores,
) -> None:  # fmt: skip
    write_counts(run, counts)
    files.write_scores(run, "classification", table, heads, scores, {})
