"""The files of a run directory: what is in each, written and read in one place.

Writers take a `RunDirectory`, in which files appear complete or not at all; readers take a path.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from net2vec_jax.activations.responses import find_responses, name_filters
from net2vec_jax.activations.standardized import ActivationScale
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.result_files import read_table
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.heads import ALL_FILTERS, Heads, join_heads
from net2vec_jax.probes.scores import HeadScores
from net2vec_jax.probes.segmentation.rivals import Rivals
from net2vec_jax.runs.directory import RUN_FILE, RunDirectory
from net2vec_jax.stats.metrics import NO_FILTER, choose_best_filters

ProbeKind = Literal["segmentation", "classification"]
CONCEPTS = "concepts.csv"
THRESHOLDS = "thresholds.csv"
SINGLE_FILTER = "single_filter.csv"
SINGLE_IOUS = "single_filter.npz"
EMBEDDINGS = "embeddings"
SCALE = "scale.csv"
RIVALS = "rivals.npz"
SCORES: Mapping[ProbeKind, str] = {
    "segmentation": "segmentation.csv",
    "classification": "classification.csv",
}
"""The last file that a run writes."""
MEASURES: Mapping[ProbeKind, str] = {"segmentation": "iou", "classification": "accuracy"}
"""What a probe is scored by, as columns are called."""
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    csv.Error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading damaged files raises."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["numbers", "train_images", "val_images", "train_coverage"],
    meta_fields=["names", "categories"],
)
@dataclasses.dataclass(frozen=True, eq=False)
class ProbedConcepts:
    """The C concepts that a probe was asked for, trained or not; in the order of their numbers.

    Attributes:
      numbers: label numbers, int32 [C].
      names: of the concepts.
      categories: the primary category of each.
      train_images: train images with each, int64 [C].
      val_images: val images with each, int64 [C].
      train_coverage: mean fraction of marked pixels on these, float64 [C]; NaN without any.
    """

    numbers: np.ndarray
    names: tuple[str, ...]
    categories: tuple[str, ...]
    train_images: np.ndarray
    val_images: np.ndarray
    train_coverage: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    @classmethod
    def of(cls, masks: ConceptMasks) -> ProbedConcepts:
        """The concepts of `masks`."""
        train, val = masks.count_images()
        return cls(
            numbers=np.array([concept.number for concept in masks.catalog], np.int32),
            names=tuple(concept.name for concept in masks.catalog),
            categories=tuple(concept.primary_category for concept in masks.catalog),
            train_images=train,
            val_images=val,
            train_coverage=masks.train_coverage(),
        )

    def describe(self, place: int) -> list[str]:
        """Name and category of the concept at a place."""
        return [self.names[place], self.categories[place]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class TrainedHeads:
    """Trained heads of either probe.

    Attributes:
      heads: H heads; their concepts are places in the table of concepts.
      weights: float32 [H, K], the embeddings; 0 outside a head's filter mask.
      bias: float32 [H]; 0 of the segmentation probe.
      loss: float32 [epochs, H].
      accuracy: on train images, float32 [epochs, H]; only of the classification probe.
      decision: a pixel is marked where z = w·x + bias is above it, float32 [H]; 0 by default.
      loss_share: of the possible decrease of the loss, at least so much was had, float32 [H]; only
        of embeddings that were trained to their optimum.
      l2: penalty of each, float32 [H]; only of these.
    """

    heads: Heads
    weights: np.ndarray
    bias: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray | None = None
    decision: np.ndarray | None = None
    loss_share: np.ndarray | None = None
    l2: np.ndarray | None = None

    @property
    def level(self) -> np.ndarray:
        """A pixel is marked where w·x, without the bias, is above it, float32 [H]."""
        return -self.bias if self.decision is None else self.decision - self.bias


def join_trained(parts: Sequence[TrainedHeads]) -> TrainedHeads:
    """The heads of all parts, one after the other."""

    def join(name: str) -> np.ndarray | None:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else np.concatenate(values, axis=-1)

    return TrainedHeads(
        join_heads([part.heads for part in parts]),
        np.concatenate([part.weights for part in parts]),
        np.concatenate([part.bias for part in parts]),
        np.concatenate([part.loss for part in parts], axis=1),
        *(join(name) for name in ("accuracy", "decision", "loss_share", "l2")),
    )


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what a missing or damaged file of a run raises into one message that names it."""
    try:
        yield
    except Net2VecError:
        raise
    except _DAMAGE as error:
        reason = f"{type(error).__name__}: {error}"
        raise Net2VecError(
            f"{path} is missing or damaged ({reason}); remove it and give the command that began "
            "the run once more"
        ) from error


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a .npz file.

    Raises:
      Net2VecError: it is missing or damaged.
    """
    with (
        reading(path),
        path.open("rb") as opened,  # which numpy leaves open if it is damaged
        np.load(opened, allow_pickle=False) as arrays,
    ):
        return dict(arrays)


def write_concepts(run: RunDirectory, table: ProbedConcepts, skipped: Mapping[str, str]) -> None:
    """Write concepts.csv, and why concepts are left out, by their names, to run.json."""
    run.record_skipped(skipped)
    rows = [
        [table.numbers[place], table.names[place], table.categories[place],
         table.train_images[place], table.val_images[place], table.train_coverage[place]]
        for place in range(len(table))
    ]  # fmt: skip
    header = ["number", "name", "category", "train_images", "val_images", "train_coverage"]
    run.write_table(CONCEPTS, header, rows)


def read_concepts(directory: Path) -> ProbedConcepts:
    """The concepts of concepts.csv.

    Raises:
      Net2VecError: it is missing or damaged.
    """
    path = directory / CONCEPTS
    with reading(path):
        rows = read_table(path)
        return ProbedConcepts(
            numbers=np.array([int(row["number"]) for row in rows], np.int32),
            names=tuple(row["name"] for row in rows),
            categories=tuple(row["category"] for row in rows),
            train_images=np.array([int(row["train_images"]) for row in rows], np.int64),
            val_images=np.array([int(row["val_images"]) for row in rows], np.int64),
            train_coverage=np.array([float(row["train_coverage"]) for row in rows]),
        )


def read_skipped(directory: Path) -> dict[str, str]:
    """Why the run left concepts out, by their names, from run.json.

    Raises:
      Net2VecError: run.json is missing or damaged.
    """
    path = directory / RUN_FILE
    with reading(path):
        reasons = dict(json.loads(path.read_text(encoding="utf-8")).get("skipped", {}))
        return {str(name): str(reason) for name, reason in reasons.items()}


def write_thresholds(run: RunDirectory, thresholds: np.ndarray) -> None:
    """Write thresholds.csv from T_k, float32 [K]."""
    names = _name_filters(run, len(thresholds))
    rows = list(zip(names, thresholds, strict=True))
    run.write_table(THRESHOLDS, ["filter", "threshold"], rows)


def _name_filters(run: RunDirectory, count: int) -> np.ndarray:
    """What the tables of a run call its filters."""
    return name_filters(count, find_responses(run.noted("origin")))


def read_thresholds(directory: Path) -> np.ndarray:
    """T_k of every filter, float32 [K].

    Raises:
      Net2VecError: thresholds.csv is missing or damaged.
    """
    path = directory / THRESHOLDS
    with reading(path):
        return np.array([row["threshold"] for row in read_table(path)], np.float32)


def write_scale(run: RunDirectory, scale: ActivationScale) -> None:
    """Write scale.csv: mean and deviation of every filter on the train images."""
    rows = [
        [filter_, *pair] for filter_, pair in enumerate(zip(*jax.tree.leaves(scale), strict=True))
    ]
    run.write_table(SCALE, ["filter", "mean", "deviation"], rows)


def read_scale(directory: Path) -> ActivationScale:
    """What `write_scale` wrote.

    Raises:
      Net2VecError: scale.csv is missing or damaged.
    """
    path = directory / SCALE
    with reading(path):
        rows = read_table(path)
        return ActivationScale(
            *(np.array([row[name] for row in rows], np.float32) for name in ("mean", "deviation"))
        )


def write_rivals(run: RunDirectory, rivals: Rivals) -> None:
    """Write rivals.npz."""
    arrays = dataclasses.asdict(rivals)
    run.write_arrays(RIVALS, arrays | {"names": np.array(rivals.names)})


def read_rivals(directory: Path) -> Rivals:
    """What `write_rivals` wrote.

    Raises:
      Net2VecError: it is missing or damaged.
    """
    path = directory / RIVALS
    arrays = read_arrays(path)
    with reading(path):
        names = tuple(arrays.pop("names").tolist())
        return Rivals(names=names, **arrays)


def write_single_filters(
    run: RunDirectory, table: ProbedConcepts, ious: np.ndarray, concepts: np.ndarray
) -> None:
    """Write all set IoUs of single filters, and the best filter of every concept.

    Args:
      run: of the segmentation probe.
      table: C concepts.
      ious: of every concept with every filter, float64 [2, C, K]; train, val.
      concepts: places of the concepts that the table of best filters lists.
    """
    run.write_arrays(
        SINGLE_IOUS, {"concept": table.numbers, "train_iou": ious[0], "val_iou": ious[1]}
    )
    best, train, val = choose_best_filters(ious)
    names = _name_filters(run, ious.shape[-1])
    rows = [
        [*table.describe(place), "" if best[place] == NO_FILTER else names[best[place]],
         train[place], val[place]]
        for place in concepts
    ]  # fmt: skip
    header = ["concept", "category", "best_filter", "train_iou", "val_iou"]
    run.write_table(SINGLE_FILTER, header, rows)


def read_single_ious(directory: Path, numbers: np.ndarray) -> np.ndarray:
    """Set IoU of the concepts of these numbers with every filter, [2, C, K]; train, val.

    Raises:
      Net2VecError: single_filter.npz is missing or damaged.
    """
    path = directory / SINGLE_IOUS
    arrays = read_arrays(path)
    with reading(path):
        place = {number: place for place, number in enumerate(arrays["concept"].tolist())}
        chosen = [place[number] for number in numbers.tolist()]
        return np.stack([arrays["train_iou"][chosen], arrays["val_iou"][chosen]])


def write_embeddings(run: RunDirectory, table: ProbedConcepts, trained: TrainedHeads) -> None:
    """Write embeddings/: weights, biases, losses and the table of heads, with Orbax."""
    heads = trained.heads
    tree = {
        "weights": trained.weights,
        "bias": trained.bias,
        "heads": {
            "concept": table.numbers[heads.concept],
            "seed": heads.seed,
            "filters": heads.filters,
            "filter_mask": heads.filter_mask,
            "initial_weights": heads.initial_weights,
            "initial_bias": heads.initial_bias,
        },
    }
    by_epoch = {
        "loss": trained.loss,
        "train_accuracy": trained.accuracy,
        "decision": trained.decision,
        "loss_share": trained.loss_share,
        "l2": trained.l2,
    }
    # Orbax stores no empty arrays, which those of no epoch are.
    tree |= {name: v for name, v in by_epoch.items() if v is not None and len(v)}
    from orbax.checkpoint import v1 as orbax

    with run.new_folder(EMBEDDINGS) as folder:
        orbax.save(str(folder.absolute()), tree)


def read_embeddings(directory: Path, numbers: np.ndarray) -> TrainedHeads:
    """What `write_embeddings` wrote.

    Args:
      directory: of the run.
      numbers: label numbers; the heads' concepts are places in them.

    Raises:
      Net2VecError: the folder is missing or damaged.
    """
    from orbax.checkpoint import v1 as orbax

    path = directory / EMBEDDINGS
    with reading(path):
        tree: dict[str, Any] = jax.tree.map(np.asarray, orbax.load(str(path.absolute())))
        table = dict(tree["heads"])
        place = {number: place for place, number in enumerate(numbers.tolist())}
        none = np.zeros((0, len(tree["weights"])), np.float32)
        table["concept"] = np.array([place[n] for n in table["concept"].tolist()], np.int32)
        return TrainedHeads(
            Heads(**table), tree["weights"], tree["bias"], tree.get("loss", none),
            tree.get("train_accuracy"), tree.get("decision"), tree.get("loss_share"),
            tree.get("l2"),
        )  # fmt: skip


def write_scores(
    run: RunDirectory,
    kind: ProbeKind,
    table: ProbedConcepts,
    heads: Heads,
    scores: HeadScores,
    measures: Mapping[str, np.ndarray],
) -> None:
    """Write segmentation.csv or classification.csv; before it, `…_seeds.csv` of several seeds.

    Args:
      run: of the probe.
      kind: which probe.
      table: the concepts.
      heads: H heads.
      scores: of the heads, and of G embeddings.
      measures: further columns, float64 [G] each; a NaN is an empty cell.
    """
    measure = MEASURES[kind]
    header = ["concept", "category", "filters"]
    columns = [f"train_{measure}", f"val_{measure}"]

    def name(concept: int, filters: int) -> list[Any]:
        return [*table.describe(concept), "all" if filters == ALL_FILTERS else filters]

    if len(np.unique(heads.seed)) > 1:
        # All filters first; then what one repetition has, or what one number of filters has.
        order = (
            [heads.concept, heads.filters, heads.seed, heads.filters != ALL_FILTERS]
            if kind == "segmentation"
            else [heads.concept, heads.seed, heads.filters]
        )
        rows = [
            [*name(int(heads.concept[row]), int(heads.filters[row])), heads.seed[row],
             scores.head_train[row], scores.head_val[row]]
            for row in np.lexsort(order)
        ]  # fmt: skip
        run.write_table(f"{kind}_seeds.csv", [*header, "seed", *columns], rows)
    rows = [
        [*name(scores.concept[place], scores.filters[place]),
         scores.train[place], scores.val[place], scores.low[place], scores.high[place]]
        for place in range(len(scores))
    ]  # fmt: skip
    columns = [*columns, f"val_{measure}_low", f"val_{measure}_high"]
    if kind == "segmentation":
        columns.append("alpha")
        alpha = np.clip(1 - table.train_coverage[scores.concept], 0, 1)  # but for rounding inside
        rows = [[*row, value] for row, value in zip(rows, alpha, strict=True)]
    for column in measures.values():
        rows = [
            [*row, "" if np.isnan(value) else value]
            for row, value in zip(rows, column, strict=True)
        ]
    run.write_table(SCORES[kind], [*header, *columns, *measures], rows)


def read_measures(directory: Path) -> dict[str, np.ndarray]:
    """The columns of segmentation.csv behind alpha, float64 [G] each; NaN where a cell is empty.

    Raises:
      Net2VecError: the table is missing or damaged.
    """
    path = directory / SCORES["segmentation"]
    with reading(path):
        rows = read_table(path)
        names = list(rows[0])
        names = names[names.index("alpha") + 1 :]
        return {
            name: np.array([float(row[name] or "nan") for row in rows], np.float64)
            for name in names
        }


def read_scores(
    directory: Path, kind: ProbeKind, table: ProbedConcepts, heads: Heads
) -> HeadScores:
    """Scores that `write_scores` wrote.

    Raises:
      Net2VecError: a table is missing or damaged.
    """
    measure = MEASURES[kind]
    place = {name: place for place, name in enumerate(table.names)}

    def read(name: str, columns: list[str]) -> tuple[list[tuple[int, int, int]], np.ndarray]:
        path = directory / name
        with reading(path):
            rows = read_table(path)
            keys = [
                (
                    place[row["concept"]],
                    ALL_FILTERS if row["filters"] == "all" else int(row["filters"]),
                    int(row.get("seed", 0)),
                )
                for row in rows
            ]
            values = [[float(row[column]) for column in columns] for row in rows]
            return keys, np.array(values, np.float64).reshape(len(rows), len(columns))

    columns = [f"train_{measure}", f"val_{measure}"]
    several = len(np.unique(heads.seed)) > 1
    keys, values = read(SCORES[kind], [*columns, f"val_{measure}_low", f"val_{measure}_high"])
    head_keys, head_values = read(f"{kind}_seeds.csv", columns) if several else (keys, values)
    row = {key: row for row, key in enumerate(head_keys)}
    with reading(directory / SCORES[kind]):
        seeds = heads.seed if several else np.zeros(len(heads), int)
        wanted = zip(heads.concept.tolist(), heads.filters.tolist(), seeds.tolist(), strict=True)
        of_heads = head_values[[row[key] for key in wanted]]
    concept, filters, _ = np.array(keys, np.int32).reshape(-1, 3).T
    train, val, low, high = values.T
    return HeadScores(of_heads[:, 0], of_heads[:, 1], concept, filters, train, val, low, high)
