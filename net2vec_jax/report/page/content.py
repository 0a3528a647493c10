"""What the page of a run shows: arrays and texts, nothing of files or HTML.

C concepts, K filters, F numbers of filters, N images of H × W pixels, masks of Y × X pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from net2vec_jax.plots.pictures import ConceptPicture, FilterPicture


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """Images and what is drawn over them.

    Attributes:
      images: index → uint8 [H, W, 3], RGB, of all images that are shown.
      names: index → name.
      concepts: position of a concept → its pictures.
      filters: filter → its pictures.
    """

    images: Mapping[int, np.ndarray]
    names: Mapping[int, str]
    concepts: Mapping[int, Sequence[ConceptPicture]]
    filters: Mapping[int, Sequence[FilterPicture]]


@dataclasses.dataclass(frozen=True, eq=False)
class SingleFilters:
    """What single filters reach.

    Attributes:
      best: the filter of each concept, int64 [C]; `NO_FILTER` if there is none, or not one alone.
      score: its val score, float64 [C]; without a filter that of none, or a mean of several.
      every: val score of every filter with every concept, [C, K]; None if it is not known.
    """

    best: np.ndarray
    score: np.ndarray
    every: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Curves:
    """Val scores against the number of filters.

    Attributes:
      sizes: numbers of filters, ascending, the last is K; int64 [F].
      score: float64 [C, F], means over seeds.
      low: lower end of the 95 % interval, float64 [C, F].
      high: its upper end, float64 [C, F].
      sufficient: fraction of the full score above chance → smallest sufficient number, int64 [C].
    """

    sizes: np.ndarray
    score: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sufficient: Mapping[float, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Geometry:
    """Where embeddings lie.

    Attributes:
      vectors: embeddings of length 1, [C, K]; zeros for concepts without one.
      is_valid: concepts that have one, bool [C].
      positions: on the two-dimensional map, float [C, 2]; NaN for concepts without one.
      axes: what the map's axes are.
    """

    vectors: np.ndarray
    is_valid: np.ndarray
    positions: np.ndarray
    axes: tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Fact:
    """One figure of the summary: what it is of, the figure itself, and a remark."""

    label: str
    value: str
    note: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class ReportContent:
    """All that the page of a run shows.

    Attributes:
      probe: of the run.
      network: its name.
      layer: its name.
      dataset: its name.
      headline: the figures at the top.
      settings: groups of settings, versions and fingerprints: (title, facts).
      concepts: names of the C concepts.
      categories: primary category of each.
      whole_image: categories whose masks are whole images, left out of a segmentation's means.
      numbers: label number of each concept, int [C], unique.
      train_images: int [C].
      val_images: int [C].
      curves: val scores; the last column is the embedding's over all filters.
      single: single filters, if any were scored.
      weights: embeddings, float32 [C, K], finite.
      unit_weights: whether they have length 1, as the mean direction over seeds has.
      thresholds: of the filters, [K]; None if the probe has none.
      geometry: of the embeddings.
      pictures: None if there are none.
      remarks: what a reader should know of this page.
    """

    probe: Literal["segmentation", "classification"]
    network: str
    layer: str
    dataset: str
    headline: Sequence[Fact]
    settings: Sequence[tuple[str, Sequence[Fact]]]
    concepts: Sequence[str]
    categories: Sequence[str]
    whole_image: Sequence[str]
    numbers: np.ndarray
    train_images: np.ndarray
    val_images: np.ndarray
    curves: Curves
    single: SingleFilters | None
    weights: np.ndarray
    thresholds: np.ndarray | None
    geometry: Geometry
    pictures: Pictures | None = None
    unit_weights: bool = False
    remarks: Sequence[str] = ()

    @property
    def score_name(self) -> str:
        """What is scored."""
        return "IoU" if self.probe == "segmentation" else "accuracy"

    @property
    def chance(self) -> float:
        """Score of a guess."""
        return 0.0 if self.probe == "segmentation" else 0.5
