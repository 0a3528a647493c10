"""The best single filter of each concept against its embedding (reference behaviour 8.1, 8.4).

Single filters are chosen on train and reported on val (behaviour B-18). C concepts, K filters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from net2vec_jax.analysis.category_means import (
    CategoryMeans,
    average_categories,
    divide,
    find_members,
    make_jsonable,
    mean_with_error,
)
from net2vec_jax.analysis.filters.filter_overlap import find_best_filters
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.stats.metrics import choose_best_filters

LEAST_SINGLE_IOU = 0.005
"""Ratios are formed above this val IoU of the single filter (behaviour 8.1)."""
SINGLE_DETECTOR_IOU = 0.04
"""From this val IoU on, a filter detects its concept (behaviour 8.1)."""
EMBEDDING_DETECTOR_IOU = 0.2
"""From this val IoU on, an embedding detects its concept (behaviour 8.1)."""
RATIO_EDGES = 2.0 ** np.arange(-3, 8)
"""Bins of the histogram of improvements, from 1/8 to 128; the outer ones take what lies beyond."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """Val scores of single filters and embeddings.

    Attributes:
      categories: category of each concept, C of them.
      single: score of the single filter, float64 [C]; NaN where there is none.
      embedding: score of the embedding, float64 [C]; NaN where there is none.
      single_means: per category.
      embedding_means: per category.
    """

    categories: tuple[str, ...]
    single: np.ndarray
    embedding: np.ndarray
    single_means: CategoryMeans
    embedding_means: CategoryMeans


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SegmentationComparison(Comparison):
    """Set IoUs on val of single filters and embeddings.

    Attributes:
      best_filter: the train-best filter of each concept, int64 [C].
      ratio: embedding / single where the single IoU is above `LEAST_SINGLE_IOU`, else NaN, [C].
      mean_ratio: mean of `ratio`, its standard error, and over how many concepts.
      histogram: concepts per bin of `RATIO_EDGES`, int64.
      single_detected: concepts that single filters detect, bool [C], as the paper has it: filters
        are chosen on val, where they are judged.
      single_chosen_on_train_detected: the same of filters that are chosen on train, bool [C].
      embedding_detected: concepts that their embeddings detect, bool [C].
    """

    best_filter: np.ndarray
    ratio: np.ndarray
    mean_ratio: tuple[float, float, int]
    histogram: np.ndarray
    single_detected: np.ndarray
    single_chosen_on_train_detected: np.ndarray
    embedding_detected: np.ndarray

    @property
    def detected(self) -> dict[str, np.ndarray]:
        """Whether each concept is detected, bool [C], by what."""
        return {
            "single": self.single_detected,
            "single_chosen_on_train": self.single_chosen_on_train_detected,
            "embedding": self.embedding_detected,
        }

    def count_detected(self) -> dict[str, np.ndarray]:
        """Concepts detected in each category of `single_means`, int64 [G], by what."""
        member = find_members(self.categories, self.single_means.categories, len(self.single))
        return {name: (member & found).sum(axis=1) for name, found in self.detected.items()}

    def summary(self) -> dict[str, Any]:
        """Numbers for a JSON file; null where there is none."""
        both = np.isfinite(self.single) & np.isfinite(self.embedding)
        names = self.single_means.categories
        sides = {"single": self.single, "embedding": self.embedding}
        detected = self.count_detected()
        ratio = dict(zip(("mean", "standard_error", "concepts"), self.mean_ratio, strict=True))
        return make_jsonable(
            {
                "concepts": len(self.single),
                "single": self.single_means.summary(),
                "embedding": self.embedding_means.summary(),
                "embedding_better": (self.embedding > self.single)[both].sum(),
                "compared": both.sum(),
                "ratio": ratio,
                "ratio_histogram": {"edges": RATIO_EDGES, "concepts": self.histogram},
                "above_0.04": {
                    side: (iou > SINGLE_DETECTOR_IOU).sum() for side, iou in sides.items()
                },
                "unique_detectors": {
                    **{side: counts.sum() for side, counts in detected.items()},
                    **{
                        f"{side}_by_category": dict(zip(names, counts, strict=True))
                        for side, counts in detected.items()
                    },
                },
            }
        )


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ClassificationComparison(Comparison):
    """Val accuracies of the top filter alone and of embeddings.

    Attributes:
      at_least_as_good: per category, the fraction of concepts whose embedding is at least as good
        as the top filter, of those that have both.
      train_images_where_single_wins: positive train images of the concepts whose top filter is
        better, [concepts]; None where they were not given.
    """

    at_least_as_good: CategoryMeans
    train_images_where_single_wins: np.ndarray | None

    def summary(self) -> dict[str, Any]:
        """Numbers for a JSON file; null where there is none."""
        images = self.train_images_where_single_wins
        return make_jsonable(
            {
                "concepts": len(self.single),
                "single": self.single_means.summary(),
                "embedding": self.embedding_means.summary(),
                "embedding_at_least_as_good": self.at_least_as_good.summary(),
                "single_better": (self.single > self.embedding).sum(),
                "median_train_images_where_single_wins": (
                    None if images is None or not len(images) else np.median(images)
                ),
            }
        )


def find_single_detectors(
    set_iou: Float[np.ndarray, "2 C K"],
    *,
    threshold: float = SINGLE_DETECTOR_IOU,
    chosen_on: Literal["train", "val"] = "val",
) -> Bool[np.ndarray, " C"]:
    """Concepts that a single filter detects (behaviour 8.1).

    Each filter votes for the concept of its best train IoU; a concept is detected when the val IoU
    of a filter that votes for it reaches the threshold. A filter without any train IoU has no vote.

    The paper takes the best on val of a concept's filters, so that the more filters vote, the
    likelier one reaches the threshold by luck: where the val IoUs of 512 filters are 0.028 ± 0.008,
    28 % of 100 concepts are called detected, by the best filters on train 7 %.

    Examples:
      >>> ious = np.array([[[0.3, 0.2]], [[0.03, 0.05]]])  # train and val, one concept, two filters
      >>> bool(find_single_detectors(ious)), bool(find_single_detectors(ious, chosen_on="train"))
      (True, False)

    Args:
      set_iou: of every filter with every concept; the first axis is train, val.
      threshold: val IoU.
      chosen_on: split on which the best of the filters that vote for a concept is chosen.
    """
    train, val = np.nan_to_num(np.asarray(set_iou, np.float64), nan=0.0)
    votes = find_best_filters(train.T).T if train.size else np.zeros(train.shape, bool)
    if chosen_on == "train":
        votes &= find_best_filters(np.where(votes, train, 0))
    return (votes & (val >= threshold)).any(axis=1)


def find_embedding_detectors(
    val_iou: Float[np.ndarray, " C"], *, threshold: float = EMBEDDING_DETECTOR_IOU
) -> Bool[np.ndarray, " C"]:
    """Concepts whose embedding reaches the threshold on val (behaviour 8.1)."""
    return np.asarray(val_iou) >= threshold


def compare_scores(
    single: Float[np.ndarray, " C"],
    embedding: Float[np.ndarray, " C"],
    categories: Sequence[str],
) -> Comparison:
    """Compare val scores that no further numbers of the paper belong to.

    Args:
      single: of single filters, NaN where there is none.
      embedding: of embeddings, NaN where there is none.
      categories: category of each concept.

    Raises:
      Net2VecError: not as many categories as concepts.
    """
    return Comparison(
        categories=tuple(categories),
        single=single,
        embedding=embedding,
        single_means=average_categories(single, categories),
        embedding_means=average_categories(embedding, categories),
    )


def compare_segmentation(
    single_iou: Float[np.ndarray, "2 C K"],
    embedding_iou: Float[np.ndarray, " C"],
    categories: Sequence[str],
) -> SegmentationComparison:
    """Compare best single filters with embeddings by set IoU.

    Examples:
      >>> ious = np.array([[[0.1, 0.3]], [[0.2, 0.25]]])  # train and val, one concept, two filters
      >>> found = compare_segmentation(ious, np.array([0.5]), ["object"])
      >>> found.best_filter.tolist(), found.ratio.tolist()
      ([1], [2.0])

    Args:
      single_iou: set IoU of every filter with every concept; the first axis is train, val.
      embedding_iou: val set IoU of the embeddings; NaN where there is none.
      categories: category of each concept.

    Raises:
      Net2VecError: shapes that do not fit.
    """
    single_iou = np.asarray(single_iou, np.float64)
    embedding = np.asarray(embedding_iou, np.float64)
    if single_iou.ndim != 3 or single_iou.shape[:2] != (2, *embedding.shape):
        raise Net2VecError(
            f"single-filter IoUs {single_iou.shape} must be [train and val, concepts, filters]; "
            f"the embeddings' are {embedding.shape}"
        )
    best_filter, _, single = choose_best_filters(single_iou)
    usable = (single > LEAST_SINGLE_IOU) & np.isfinite(embedding)
    ratio = divide(np.where(usable, embedding, np.nan), np.where(usable, single, np.nan))
    mean, error, count = mean_with_error(ratio)
    within = np.clip(ratio[usable], RATIO_EDGES[0], np.nextafter(RATIO_EDGES[-1], 0))
    return SegmentationComparison(
        categories=tuple(categories),
        best_filter=best_filter,
        single=single,
        embedding=embedding,
        single_means=average_categories(single, categories),
        embedding_means=average_categories(embedding, categories),
        ratio=ratio,
        mean_ratio=(float(mean), float(error), int(count)),
        histogram=np.histogram(within, RATIO_EDGES)[0],
        single_detected=find_single_detectors(single_iou),
        single_chosen_on_train_detected=find_single_detectors(single_iou, chosen_on="train"),
        embedding_detected=find_embedding_detectors(embedding),
    )


def compare_classification(
    single_accuracy: Float[np.ndarray, " C"],
    embedding_accuracy: Float[np.ndarray, " C"],
    categories: Sequence[str],
    *,
    train_images: np.ndarray | None = None,
) -> ClassificationComparison:
    """Compare top filters, retrained alone, with embeddings by val accuracy (behaviour 6.6, 8.4).

    Args:
      single_accuracy: of the top filter; NaN where there is none.
      embedding_accuracy: of the embedding; NaN where there is none.
      categories: category of each concept.
      train_images: positive train images of each concept, [C].

    Raises:
      Net2VecError: shapes that do not fit.
    """
    single = np.asarray(single_accuracy, np.float64)
    embedding = np.asarray(embedding_accuracy, np.float64)
    images = None if train_images is None else np.asarray(train_images)
    if single.ndim != 1 or single.shape != embedding.shape:
        raise Net2VecError(
            f"accuracies of single filters {single.shape} and embeddings {embedding.shape} must "
            "be of the same concepts"
        )
    if images is not None and images.shape != single.shape:
        raise Net2VecError(f"train images {images.shape} do not fit {len(single)} concepts")
    both = np.isfinite(single) & np.isfinite(embedding)
    at_least_as_good = np.where(both, embedding >= single, np.nan)
    return ClassificationComparison(
        categories=tuple(categories),
        single=single,
        embedding=embedding,
        single_means=average_categories(single, categories),
        embedding_means=average_categories(embedding, categories),
        at_least_as_good=average_categories(at_least_as_good, categories),
        train_images_where_single_wins=None if images is None else images[single > embedding],
    )
