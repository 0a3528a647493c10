"""What the page of a run shows: arrays and texts, nothing of files or HTML.

C concepts, K filters, F numbers of filters, N images of H × W pixels, masks of Y × X pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.plots.pictures import ConceptPicture, FilterPicture


class Pictures(NamedTuple):
    """Images and what is drawn over them."""

    images: Mapping[int, np.ndarray]  # index → uint8 [H, W, 3], RGB, of all images shown
    names: Mapping[int, str]  # index → name
    concepts: Mapping[int, Sequence[ConceptPicture]]  # by position of the concept
    filters: Mapping[int, Sequence[FilterPicture]]


class SingleFilters(NamedTuple):
    """What single filters reach."""

    best: np.ndarray  # int64 [C]; `NO_FILTER` if a concept has none, or not one alone
    score: np.ndarray  # its val score, float64 [C]; without a filter that of none, or a mean
    every: np.ndarray | None = None  # val score of every filter with every concept, [C, K]


class Curves(NamedTuple):
    """Val scores against the number of filters."""

    sizes: np.ndarray  # numbers of filters, ascending, the last is K; int64 [F]
    score: np.ndarray  # float64 [C, F], means over seeds
    low: np.ndarray  # lower end of the 95 % interval, float64 [C, F]
    high: np.ndarray  # its upper end, float64 [C, F]
    sufficient: Mapping[float, np.ndarray]  # fraction of the full score above chance → int64 [C]


class EmbeddingGeometry(NamedTuple):
    """Where embeddings lie."""

    vectors: np.ndarray  # of length 1, [C, K]; zeros for concepts without an embedding
    is_valid: np.ndarray  # concepts that have one, bool [C]
    positions: np.ndarray  # on the map, float [C, 2]; NaN for concepts without one
    axes: tuple[str, str]  # what the map's axes are


class Fact(NamedTuple):
    """One figure of the summary."""

    label: str
    value: str
    note: str = ""


class Cell(NamedTuple):
    """How a class's logit changes along a concept."""

    text: str
    level: int  # of the colour, -4 … 4
    used: bool


class UsedPair(NamedTuple):
    """A concept that a class uses."""

    concept: str
    class_name: str
    derivative: str  # with its interval
    positive: str  # part of the images on which it is positive
    chance: str  # what random directions give
    images: Sequence[str]  # WebP as base64


class RemovedConcept(NamedTuple):
    """What a class's logit loses without a concept, and without as much of random directions."""

    concept: str
    class_name: str
    change: str  # with its interval
    random: str
    top: str  # how often the class is the highest, before and after
    random_top: str
    differs: bool


class UsedConcepts(NamedTuple):
    """What `experiments.does_it_matter` found."""

    direction: str
    summary: str
    classes: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    pairs: Sequence[UsedPair]
    removed: Sequence[RemovedConcept]


class LocalEmbeddings(NamedTuple):
    """What `experiments.local_embeddings` found."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]  # of the concepts
    figures: Mapping[str, str]  # by what they show, WebP as base64


class MarkedFormula(NamedTuple):
    """What a filter or an embedding marks, by `experiments.formulas`."""

    formula: str
    score: float  # its val IoU
    concept: str  # the best one alone
    concept_score: float


@dataclasses.dataclass(frozen=True, eq=False)
class ReportContent:
    """All that the page of a run shows."""

    probe: Literal["segmentation", "classification"]
    network: str
    layer: str
    dataset: str
    headline: Sequence[Fact]  # at the top
    settings: Sequence[tuple[str, Sequence[Fact]]]  # groups with their titles
    concepts: Sequence[str]
    categories: Sequence[str]  # primary category of each concept
    whole_image: Sequence[str]  # categories left out of a segmentation's means
    numbers: np.ndarray  # label number of each concept, int [C], unique
    train_images: np.ndarray  # int [C]
    val_images: np.ndarray  # int [C]
    curves: Curves
    single: SingleFilters | None
    weights: np.ndarray  # embeddings, float32 [C, K], finite
    thresholds: np.ndarray | None  # of the filters, [K]; None if the probe has none
    geometry: EmbeddingGeometry
    filter_names: Sequence[str] = ()  # of the K filters, where these are not their numbers
    pictures: Pictures | None = None
    unit_weights: bool = False  # weights have length 1, as the mean direction over seeds has
    use: UsedConcepts | None = None  # None where it was not measured
    local: LocalEmbeddings | None = None  # likewise
    formulas: Mapping[tuple[str, int], MarkedFormula] = dataclasses.field(default_factory=dict)
    # by "filter" or "embedding", and its place
    remarks: Sequence[str] = ()  # what a reader should know of this page
    rule: str = ""  # where embeddings, and filters under the same rule, mark pixels
    comparison: Sequence[Fact] = ()  # embeddings and what they are compared with, means
    measures: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    # of the concepts, beside the scores, by column of segmentation.csv: float64 [C] each

    def __post_init__(self) -> None:
        concepts, filters = self.weights.shape
        expected = {
            "concepts": (len(self.concepts), concepts),
            "categories": (len(self.categories), concepts),
            "numbers": (len(set(self.numbers.tolist())), concepts),
            "scores": (self.curves.score.shape, (concepts, len(self.curves.sizes))),
            **{name: (len(values), concepts) for name, values in self.measures.items()},
            "vectors": (self.geometry.vectors.shape, (concepts, filters)),
        }
        for name, (found, wanted) in expected.items():
            if found != wanted:
                raise Net2VecError(f"the report's {name} are {found}, not {wanted}")

    @property
    def score_name(self) -> str:
        """What is scored."""
        return "IoU" if self.probe == "segmentation" else "accuracy"

    @property
    def chance(self) -> float:
        """Score of a guess."""
        return 0.0 if self.probe == "segmentation" else 0.5
