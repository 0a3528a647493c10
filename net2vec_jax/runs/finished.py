"""A finished run directory, read back: embeddings, scores and single filters by concept.

C concepts in the order of the run's table, K filters. What a run was made of (dataset, network,
activations) is opened again by `net2vec_jax.runs.sources`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from net2vec_jax.activations.responses import Responses, find_responses, name_filters
from net2vec_jax.activations.standardized import ActivationScale
from net2vec_jax.core.errors import Net2VecError, list_names, unknown_name_error
from net2vec_jax.core.result_files import read_table
from net2vec_jax.data.concepts import find_numbers, normalize_name
from net2vec_jax.probes.heads import ALL_FILTERS
from net2vec_jax.probes.segmentation.scores import ImageOverlaps
from net2vec_jax.runs import files
from net2vec_jax.runs.classification import ClassificationProbe, read_counts
from net2vec_jax.runs.directory import RUN_FILE, check_format
from net2vec_jax.runs.files import (
    MEASURES,
    SCORES,
    ProbedConcepts,
    ProbeKind,
    TrainedHeads,
    reading,
)
from net2vec_jax.runs.notes import fix_paths
from net2vec_jax.runs.scores import Scores, collect_scores
from net2vec_jax.runs.segmentation import SegmentationProbe, read_overlaps
from net2vec_jax.runs.settings import ClassificationSettings, SegmentationSettings


class FinishedRun:
    """What a finished run of either probe found.

    Attributes:
      path: the run directory.
      record: contents of its run.json.
      origin: everything that its results depend on: configuration, fingerprints, seed.
      kind: "segmentation" or "classification".
      network: name of the network.
      layer: name of the layer.
      responses: which side of the activations its filters respond with.
      seeds: repetitions of the embeddings over all filters.
      table: the concepts that the run was asked for.
      concepts: names of the C concepts that have embeddings.
      categories: primary category of each.
      numbers: label number of each, int32 [C].
      train_images: train images with each, int64 [C].
      val_images: val images with each, int64 [C].
    """

    def __init__(self, path: str | Path) -> None:
        """Read the tables of the run directory `path`.

        Raises:
          Net2VecError: it is no run directory, the run is unfinished, or a file is damaged.
        """
        self.path = Path(path)
        run_file = self.path / RUN_FILE
        try:
            self.record: dict[str, Any] = json.loads(run_file.read_text(encoding="utf-8"))
            check_format(self.path, self.record)
            self.origin: dict[str, Any] = self.record["origin"]
            self.network: str = self.origin["network"]
            self.layer: str = self.origin["layer"]
            self.responses: Responses = find_responses(self.origin)
            self.seeds: int = int(self.origin["seeds"])
        except OSError as error:
            raise Net2VecError(f"{self.path} is no run directory: {_suggest(self.path)}") from error
        except Net2VecError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Net2VecError(f"{run_file} is damaged ({error!r}); run again") from error
        finished: list[ProbeKind] = [
            kind for kind, name in SCORES.items() if (self.path / name).is_file()
        ]
        if not finished:
            raise Net2VecError(
                f"the run in {self.path} is unfinished (it has neither segmentation.csv nor "
                "classification.csv); give the command that began it once more"
            )
        self.kind: ProbeKind = finished[0]
        with reading(self.path / SCORES[self.kind]):
            full = [row for row in self.rows if row["filters"] == "all"]
            self.concepts: tuple[str, ...] = tuple(row["concept"] for row in full)
            self.categories: tuple[str, ...] = tuple(row["category"] for row in full)
            if not full:
                raise ValueError("it has no row of all filters")
        twice = sorted({name for name in self.concepts if self.concepts.count(name) > 1})
        if twice:
            raise Net2VecError(
                f"the tables of the run in {self.path} have several concepts called "
                f"{list_names(twice)} and do not tell them apart; run the probe again, which now "
                f"writes their numbers behind such names"
            )
        self.table: ProbedConcepts = files.read_concepts(self.path)
        with reading(self.path / files.CONCEPTS):
            known = {name: place for place, name in enumerate(self.table.names)}
            places = [known[name] for name in self.concepts]
        self.numbers: np.ndarray = self.table.numbers[places]
        self.train_images: np.ndarray = self.table.train_images[places]
        self.val_images: np.ndarray = self.table.val_images[places]

    def __repr__(self) -> str:
        return f"FinishedRun({self.path}: {self.kind} of {len(self)} concepts, {self.name})"

    def __len__(self) -> int:
        """The number of concepts C."""
        return len(self.concepts)

    @property
    def name(self) -> str:
        """NETWORK/LAYER."""
        return f"{self.network}/{self.layer}"

    @property
    def skipped(self) -> dict[str, str]:
        """Why the run left concepts out, by their names.

        Raises:
          Net2VecError: run.json is damaged.
        """
        return files.read_skipped(self.path)

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        """Rows of segmentation.csv or classification.csv."""
        return self.read_table(SCORES[self.kind])

    @property
    def filters(self) -> int:
        """K."""
        return self.trained.weights.shape[-1]

    @cached_property
    def filter_names(self) -> np.ndarray:
        """What tables call the K filters, see `name_filters`."""
        return name_filters(self.filters, self.responses)

    @cached_property
    def scores(self) -> Scores:
        """Val scores: set IoU or accuracy, with all filters and with fewer, means over seeds."""
        with reading(self.path / SCORES[self.kind]):
            return collect_scores(self.rows, f"val_{MEASURES[self.kind]}")

    @cached_property
    def probe(self) -> SegmentationProbe | ClassificationProbe:
        """The probe itself, without its network; see `net2vec_jax.load_probe`.

        Raises:
          Net2VecError: a file is missing or damaged.
        """
        trained = files.read_embeddings(self.path, self.table.numbers)
        scores = files.read_scores(self.path, self.kind, self.table, trained.heads)
        with reading(self.path / RUN_FILE):
            size = self.record.get("image_size")
            y, x = self.record["segmentation_size"]
            common: dict[str, Any] = {
                "origin": self.origin,
                "table": self.table,
                "skipped": self.skipped,
                "trained": trained,
                "evaluation": scores,
                "image_size": (int(size[0]), int(size[1])) if size else None,
                "segmentation_size": (int(y), int(x)),
                "sources": fix_paths(self.record.get("sources", {}), self.path),
            }
        if self.kind == "classification":
            return ClassificationProbe(
                **common,
                settings=_read_settings(ClassificationSettings, self.origin),
                counts=read_counts(self.path),
                thresholds=files.read_thresholds(self.path) if self.has(files.THRESHOLDS) else None,
            )
        return SegmentationProbe(
            **common,
            settings=_read_settings(SegmentationSettings, self.origin),
            thresholds=files.read_thresholds(self.path),
            single_ious=files.read_single_ious(self.path, self.table.numbers),
            overlaps=self.overlaps,
            rivals=files.read_rivals(self.path),
            measures=files.read_measures(self.path),
            scale=self.scale,
        )

    def find_concepts(self, names: Sequence[str]) -> list[int]:
        """Places of the concepts of these names or label numbers, each once.

        A name that several concepts share means all of them, see `find_numbers`.

        Raises:
          Net2VecError: the run has no such concept, and why it left it out, or the nearest names.
        """
        numbers = self.numbers.tolist()
        known = dict(zip(numbers, self.concepts, strict=True))
        places: list[int] = []
        for name in names:
            found = find_numbers(name, known)
            if not found:
                reason = self.skipped.get(normalize_name(name))
                if reason is not None:
                    raise Net2VecError(f"the run in {self.path} left out {name!r}: {reason}")
                raise unknown_name_error("concept", name, self.concepts)
            places += map(numbers.index, found)
        return list(dict.fromkeys(places))

    def has(self, name: str) -> bool:
        """Whether the directory has a file or folder of this name."""
        return (self.path / name).exists()

    def read_table(self, name: str) -> list[dict[str, str]]:
        """Rows of a CSV table of the run.

        Raises:
          Net2VecError: it is missing or unreadable.
        """
        with reading(self.path / name):
            return read_table(self.path / name)

    def read_column(self, name: str, column: str) -> list[str]:
        """A column of a CSV table of the run.

        Raises:
          Net2VecError: the table is missing or unreadable, or has no such column.
        """
        with reading(self.path / name):
            return [row[column] for row in self.read_table(name)]

    def read_arrays(self, name: str) -> dict[str, np.ndarray]:
        """Arrays of a .npz file of the run.

        Raises:
          Net2VecError: it is missing or damaged.
        """
        return files.read_arrays(self.path / name)

    @cached_property
    def trained(self) -> TrainedHeads:
        """The heads; their concepts are places in `concepts`."""
        return files.read_embeddings(self.path, self.numbers)

    @cached_property
    def weights(self) -> np.ndarray:
        """Embeddings over all filters, float32 [seeds, C, K]."""
        return self._arrange(self.trained.weights, ALL_FILTERS)

    @cached_property
    def levels(self) -> np.ndarray:
        """A pixel is marked where Σ_k w_k x_k of an embedding is above it, float32 [seeds, C]."""
        return self._arrange(self.trained.level, ALL_FILTERS)

    @cached_property
    def scale(self) -> ActivationScale | None:
        """Of the standardised activations that embeddings weigh; None where these are others."""
        return files.read_scale(self.path) if self.has(files.SCALE) else None

    @cached_property
    def directions(self) -> np.ndarray:
        """Embeddings as weights of the layer's activations, float32 [seeds, C, K].

        Weights w_k of standardised activations (A_k − μ_k) / σ_k are w_k / σ_k of the activations.
        """
        return self.weights if self.scale is None else self.weights / self.scale.deviation

    def subset_weights(self, size: int) -> np.ndarray:
        """Embeddings of `size` filters, float32 [seeds, C, K], 0 at the others.

        Raises:
          Net2VecError: the run has no embeddings of so many filters.
        """
        if size not in self.scores.sizes:
            sizes = ", ".join(map(str, self.scores.sizes.tolist())) or "none"
            raise Net2VecError(
                f"{self.path} has no embeddings of {size} filters (it has: {sizes}); run the probe "
                f"with --filters {size}"
            )
        return self._arrange(self.trained.weights, size)

    @cached_property
    def single_ious(self) -> np.ndarray:
        """Set IoU of every concept with every filter, float64 [2, C, K]: train, val.

        Raises:
          Net2VecError: the run is not of the segmentation probe.
        """
        if self.kind != "segmentation":
            raise Net2VecError(
                f"{self.path} is a run of the classification probe, which has no IoU of single "
                "filters; give a run of experiments.segmentation"
            )
        return files.read_single_ious(self.path, self.numbers)

    @cached_property
    def overlaps(self) -> ImageOverlaps:
        """Overlap of every head's prediction with its concept, image by image.

        Raises:
          Net2VecError: the file is missing or damaged.
        """
        return read_overlaps(self.path)

    def full_overlaps(self, seed: int) -> tuple[np.ndarray, ImageOverlaps]:
        """Overlaps of a repetition's embeddings over all filters, and the place of their concepts.

        Args:
          seed: which repetition, from 0.

        Returns:
          (places in `concepts`, int64 [Q]; the Q entries).
        """
        heads, overlaps = self.trained.heads, self.overlaps
        wanted = (heads.filters == ALL_FILTERS) & (heads.seed == seed)
        kept = overlaps.select_entries(wanted[overlaps.head])
        return heads.concept[kept.head].astype(np.int64), kept

    def _arrange(self, values: np.ndarray, filters: int) -> np.ndarray:
        """Values [H, …] of the heads of a number of filters, by seed and concept."""
        with reading(self.path / files.EMBEDDINGS):
            heads = self.trained.heads
            chosen = np.flatnonzero(heads.filters == filters)
            seed, concept = heads.seed[chosen], heads.concept[chosen]
            shape = (int(seed.max()) + 1, len(self), *values.shape[1:])
            by_seed = np.zeros(shape, np.float32)
            by_seed[seed, concept] = values[chosen]
            return by_seed


def open_run(directory: str | Path) -> FinishedRun:
    """A finished run directory, to read tables, scores and embeddings from.

    Raises:
      Net2VecError: it is no run directory, the run is unfinished, or a file is damaged.

    Examples:
      >>> run = open_run("runs/dog")  # doctest: +SKIP
      >>> run.concepts, run.weights.shape  # doctest: +SKIP
    """
    return FinishedRun(directory)


def _read_settings(kind: type[Any], origin: dict[str, Any]) -> Any:
    """The settings among what run.json says of a run's origin; lists become tuples again."""
    names = {field.name for field in dataclasses.fields(kind)}
    return kind(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in origin.items()
            if name in names
        }
    )


def _suggest(path: Path) -> str:
    """What to give instead of a path that is no run directory."""
    if not path.is_dir():
        return "it does not exist"
    inside = sorted(found.parent.relative_to(path) for found in path.glob(f"*/**/{RUN_FILE}"))
    if inside:
        return f"it holds {', '.join(map(str, inside[:8]))}; give one of these"
    return f"it has no {RUN_FILE}"
