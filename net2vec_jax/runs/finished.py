"""A finished run directory, read back: embeddings, scores and single filters by concept.

C concepts in the order of the run's table, K filters. What a run was made of (dataset, network,
activations) is opened again by `net2vec_jax.runs.sources`.
"""

from __future__ import annotations

import contextlib
import csv
import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from net2vec_jax.core.errors import Net2VecError, list_names, unknown_name_error
from net2vec_jax.core.result_files import read_table
from net2vec_jax.data.concepts import find_numbers, normalize_name
from net2vec_jax.runs.directory import RUN_FILE
from net2vec_jax.runs.embedding_store import load_tree
from net2vec_jax.runs.scores import Scores, collect_scores

Probe = Literal["segmentation", "classification"]
VAL_SCORES: dict[Probe, str] = {"segmentation": "val_iou", "classification": "val_accuracy"}
"""Column of the val score in a probe's table."""
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


class FinishedRun:
    """What a finished run of either probe found.

    Attributes:
      path: the run directory.
      record: contents of its run.json.
      probe: "segmentation" or "classification".
      network: name of the network.
      layer: name of the layer.
      seeds: repetitions of the embeddings over all filters.
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
            self.network: str = self.record["identity"]["network"]
            self.layer: str = self.record["identity"]["layer"]
            self.seeds: int = int(self.record["identity"]["seeds"])
        except OSError as error:
            raise Net2VecError(f"{self.path} is no run directory: {_suggest(self.path)}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise Net2VecError(f"{run_file} is damaged ({error!r}); run again") from error
        finished = [probe for probe in VAL_SCORES if (self.path / f"{probe}.csv").is_file()]
        if not finished:
            raise Net2VecError(
                f"the run in {self.path} is unfinished (it has neither segmentation.csv nor "
                "classification.csv); give the command that began it once more"
            )
        self.probe: Probe = finished[0]
        with self._reading(f"{self.probe}.csv"):
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
        with self._reading("concepts.csv"):
            known = {row["name"]: row for row in self.read_table("concepts.csv")}
            counts = [
                [int(known[name][column]) for column in ("number", "train_images", "val_images")]
                for name in self.concepts
            ]
        columns = np.array(counts, np.int64).reshape(-1, 3).T
        self.numbers: np.ndarray = columns[0].astype(np.int32)
        self.train_images: np.ndarray = columns[1]
        self.val_images: np.ndarray = columns[2]

    def __len__(self) -> int:
        """The number of concepts C."""
        return len(self.concepts)

    @property
    def name(self) -> str:
        """NETWORK/LAYER."""
        return f"{self.network}/{self.layer}"

    @property
    def identity(self) -> dict[str, Any]:
        """What the run's results depend on: configuration, fingerprints, seed."""
        return self.record["identity"]

    @property
    def skipped(self) -> dict[str, str]:
        """Why the run left concepts out, by their names.

        Raises:
          Net2VecError: run.json is damaged.
        """
        with self._reading(RUN_FILE):
            reasons = dict(self.record.get("skipped", {}))
        return {str(name): str(reason) for name, reason in reasons.items()}

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        """Rows of segmentation.csv or classification.csv."""
        return self.read_table(f"{self.probe}.csv")

    @property
    def filters(self) -> int:
        """K."""
        return self._tree["weights"].shape[-1]

    @cached_property
    def scores(self) -> Scores:
        """Val scores: set IoU or accuracy, with all filters and with fewer, means over seeds."""
        with self._reading(f"{self.probe}.csv"):
            return collect_scores(self.rows, VAL_SCORES[self.probe])

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
        with self._reading(name):
            return read_table(self.path / name)

    def read_column(self, name: str, column: str) -> list[str]:
        """A column of a CSV table of the run.

        Raises:
          Net2VecError: the table is missing or unreadable, or has no such column.
        """
        with self._reading(name):
            return [row[column] for row in self.read_table(name)]

    def read_arrays(self, name: str) -> dict[str, np.ndarray]:
        """Arrays of a .npz file of the run.

        Raises:
          Net2VecError: it is missing or damaged.
        """
        with (
            self._reading(name),
            (self.path / name).open("rb") as opened,  # which numpy leaves open if it is damaged
            np.load(opened, allow_pickle=False) as arrays,
        ):
            return dict(arrays)

    @cached_property
    def weights(self) -> np.ndarray:
        """Embeddings over all filters, float32 [seeds, C, K]."""
        return self._select_weights(None)

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
        return self._select_weights(size)

    @cached_property
    def single_ious(self) -> np.ndarray:
        """Set IoU of every concept with every filter, float32 [2, C, K]: train, val.

        Raises:
          Net2VecError: the run is not of the segmentation probe.
        """
        if self.probe != "segmentation":
            raise Net2VecError(
                f"{self.path} is a run of the classification probe, which has no IoU of single "
                "filters; give a run of experiments.segmentation"
            )
        arrays = self.read_arrays("single_filter.npz")
        with self._reading("single_filter.npz"):
            place = {number: place for place, number in enumerate(arrays["concept"].tolist())}
            chosen = [place[number] for number in self.numbers.tolist()]
            return np.stack([arrays["train_iou"][chosen], arrays["val_iou"][chosen]])

    @cached_property
    def _tree(self) -> dict[str, Any]:
        return load_tree(self.path / "embeddings")

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        """Turn what a missing or damaged file of the run raises into one message that names it."""
        try:
            yield
        except Net2VecError:
            raise
        except _DAMAGE as error:
            reason = f"{type(error).__name__}: {error}"
            raise Net2VecError(
                f"{self.path / name} is missing or damaged ({reason}); remove it and give the "
                "command that began the run once more"
            ) from error

    def _select_weights(self, size: int | None) -> np.ndarray:
        """Weights of a number of filters (None: all), by seed and concept."""
        with self._reading("embeddings"):
            table, weights = self._tree["heads"], self._tree["weights"]
            chosen = (
                table["is_full"] if size is None else ~table["is_full"] & (table["filters"] == size)
            )
            if self.probe == "classification":  # [groups, heads, K]
                weights = weights[:, np.flatnonzero(chosen)[0]]
                concept, seed = table["concept"], table["seed"]
            else:
                weights, concept, seed = (
                    values[chosen] for values in (weights, table["concept"], table["seed"])
                )
            place = {number: place for place, number in enumerate(self.numbers.tolist())}
            sorted_weights = np.zeros(
                (int(seed.max()) + 1, len(self), weights.shape[-1]), np.float32
            )
            sorted_weights[seed, [place[number] for number in concept.tolist()]] = weights
            return sorted_weights


def _suggest(path: Path) -> str:
    """What to give instead of a path that is no run directory."""
    if not path.is_dir():
        return "it does not exist"
    inside = sorted(found.parent.relative_to(path) for found in path.glob(f"*/**/{RUN_FILE}"))
    if inside:
        return f"it holds {', '.join(map(str, inside[:8]))}; give one of these"
    return f"it has no {RUN_FILE}"
