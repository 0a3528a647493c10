"""What all probes of a layer share: the run directory, the stored activations, the labels."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from net2vec_jax.activations.external import ExternalActivations
from net2vec_jax.activations.store import ActivationStore
from net2vec_jax.core.console import announce, announce_left_out
from net2vec_jax.core.devices import is_first_host
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.concepts import ConceptCatalog
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.data.decoded import decode_masks
from net2vec_jax.data.masks import CategoryChoice, ConceptMasks
from net2vec_jax.data.open import open_screened_dataset, require_both_splits
from net2vec_jax.networks.choice import open_network
from net2vec_jax.networks.load import LoadedNetwork
from net2vec_jax.runs.activations import collect_layers, describe_origin
from net2vec_jax.runs.directory import LABELS_STAGE, RUN_FILE, SCENES_FOLDER, RunDirectory
from net2vec_jax.runs.layer_flags import LayerFlags
from net2vec_jax.runs.scores import Scores, collect_scores
from net2vec_jax.runs.sources import describe_sources

AnyFlags = TypeVar("AnyFlags", bound=LayerFlags)
AnyRun = TypeVar("AnyRun", bound="LayerRun")


class LayerRun(Generic[AnyFlags]):
    """A probe of one layer; a subclass has the stages.

    Attributes:
      table: name of the last file that the run writes.
      flags: of the run.
      dataset: the images and their labels.
      probed: the network, or activations computed elsewhere.
      origin: what made the layer's activations.
      layer: the layer's name in the network.
      catalog: the chosen concepts.
      run: the run directory.
    """

    table: ClassVar[str]

    def __init__(
        self,
        flags: AnyFlags,
        dataset: ConceptDataset,
        probed: LoadedNetwork | ExternalActivations,
    ) -> None:
        """Open the run directory of a single layer.

        Unknown layers and concepts, and an array of another number of images, are refused before
        any work.
        """
        flags.check()
        self.flags, self.dataset, self.probed = flags, dataset, probed
        self.origin = describe_origin(flags, dataset, probed)
        self.layer = self.origin["layer"]
        self.catalog: ConceptCatalog = (
            dataset.catalog.select(flags.concepts) if flags.concepts else dataset.catalog
        )
        identity: dict[str, Any] = {
            **dataclasses.asdict(flags),
            **self.origin,
            "dataset_name": dataset.name,
            **self.resolved(),
        }
        # Where things lie and how fast they are computed does not change the results; which images
        # are left out shows in the dataset's fingerprint.
        for name in (
            "out",
            "activations",
            "activation_array",
            "images_per_batch",
            "skip_bad_images",
            "skip_bad_annotations",
            "cache_data",
        ):
            del identity[name]
        self.run = RunDirectory(flags.out, identity)
        self.run.record("skipped_images", getattr(dataset, "left_out", {}))
        self.run.record("skipped_annotations", getattr(dataset, "skipped_annotations", {}))
        self.run.record("sources", describe_sources(flags, dataset))

    def resolved(self) -> dict[str, Any]:
        """Flags that a preset stands for, as they hold."""
        return {}

    def category_choice(self) -> CategoryChoice:
        """Which of a concept's categories its masks come from."""
        return "union"

    def find_shortages(self) -> dict[str, str]:
        """Concepts that cannot be probed, and what they lack, by name."""
        raise NotImplementedError

    def finish(self) -> None:
        """Run every stage whose files are missing."""
        raise NotImplementedError

    @property
    def activations_directory(self) -> Path:
        """Folder of the layer's stored activations."""
        return (self.flags.activations or self.run / "activations") / self.layer

    @cached_property
    def store(self) -> ActivationStore | ExternalActivations:
        """The layer's activations, collected if need be."""
        if isinstance(self.probed, ExternalActivations):
            return self.probed
        if not self.activations_directory.exists():
            with self.run.stage("activations"):
                origins = {self.activations_directory: self.origin}
                collect_layers(self.flags, self.dataset, self.probed, origins)
        store = ActivationStore(self.activations_directory)
        store.check_origin(self.origin)
        return store

    @cached_property
    def masks(self) -> ConceptMasks:
        """Masks of the chosen concepts."""
        with self.run.stage(LABELS_STAGE):
            choice = self.category_choice()
            masks = decode_masks(self.dataset, choice, cache=self.flags.cache_data)
        return masks.select(self.catalog)

    def scores(self, column: str) -> Scores:
        """Scores of the finished run, of a column of its table: "val_iou" or "val_accuracy"."""
        return collect_scores(self.run.read_table(self.table), column)

    def subset_sizes(self) -> list[int]:
        """The numbers of filters that were asked for, ascending.

        Raises:
          Net2VecError: the layer does not have so many.
        """
        filters = self.store.shape[-1]
        sizes = sorted(set(self.flags.filters))
        if sizes and not 1 <= sizes[0] <= sizes[-1] <= filters:
            raise Net2VecError(f"--filters must lie in 1 … {filters}, not {sizes}")
        return sizes

    @cached_property
    def shortages(self) -> dict[str, str]:
        """Concepts that are left out, and why, by name; known before anything is computed.

        Raises:
          Net2VecError: labels cannot be read, or no concept is left.
        """
        if self.run.has("concepts.csv"):
            return self.run.skipped
        notices = (*getattr(self.dataset, "notices", ()), *self.masks.notices)
        self.run.record("notices", list(notices))
        shortages = self.find_shortages()
        if len(shortages) == len(self.catalog):
            reason = next(iter(shortages.values()), "there are none")
            raise Net2VecError(f"no concept has enough images, so nothing can be trained: {reason}")
        return shortages

    def write_concepts(self) -> None:
        """Write concepts.csv, and record the concepts that are left out."""
        train, val = self.masks.count_images()
        self.run.record_skipped(self.shortages)
        header = ["number", "name", "category", "train_images", "val_images", "train_coverage"]
        columns = zip(self.catalog, train, val, self.masks.train_coverage(), strict=True)
        rows = [[c.number, c.name, c.primary_category, *counts] for c, *counts in columns]
        self.run.write_table("concepts.csv", header, rows)

    def describe(self, place: int) -> list[str]:
        """Name and category of the concept at a place of the catalog."""
        concept = self.catalog.concepts[place]
        return [concept.name, concept.primary_category]

    def numbers(self) -> np.ndarray:
        """The label numbers of the catalog, int32 [C]."""
        return np.array([concept.number for concept in self.catalog], np.int32)


def open_runs(
    kind: type[AnyRun], flags: LayerFlags, dataset: ConceptDataset, loaded: LoadedNetwork
) -> list[AnyRun]:
    """One run per layer: in the directory OUT if there is one layer, in OUT/LAYER if several.

    Raises:
      Net2VecError: a layer is unknown, or a directory cannot be used.
    """
    layers = tuple(dict.fromkeys(map(loaded.network.resolve_layer, flags.layer)))
    if len(layers) > 1 and (flags.out / RUN_FILE).exists():
        raise Net2VecError(
            f"{flags.out} is the run directory of a single layer; choose another for several"
        )
    return [
        kind(
            dataclasses.replace(
                flags, layer=(layer,), out=flags.out / layer if len(layers) > 1 else flags.out
            ),
            dataset,
            loaded,
        )
        for layer in layers
    ]


def prepare_runs(
    runs: Sequence[LayerRun], masks: dict[CategoryChoice, ConceptMasks] | None = None
) -> None:
    """Read labels, once for all runs, and say what is left out before anything is computed.

    Args:
      runs: of the same concepts of one dataset.
      masks: what was read before, by the choice of categories; what is read now is added.

    Raises:
      Net2VecError: labels cannot be read, or a run has no concept that can be probed.
    """
    masks = {} if masks is None else masks
    said: list[object] = []
    for run in runs:
        choice = run.category_choice()
        if choice in masks:
            run.masks = masks[choice]
        shortages = run.shortages
        if "masks" in run.__dict__:
            masks.setdefault(choice, run.masks)
        known = getattr(run.dataset, "notices", ())  # said when the dataset was opened
        notices = [line for line in run.run.notices if line not in known and line not in said]
        announce(notices)
        kind = f"concepts from {run.table.removesuffix('.csv')}"
        if (kind, shortages) not in said:
            announce_left_out(kind, shortages, of=len(run.catalog))
        said += [*notices, (kind, shortages)]
    for run in runs:  # those that were prepared before, and have more to do
        if run.category_choice() in masks:
            run.masks = masks[run.category_choice()]


def collect_missing_layers(runs: Sequence[LayerRun]) -> None:
    """Collect, in one pass, the layers of those runs that still need them.

    Args:
      runs: of one network, with the same dataset and preprocessing.
    """
    missing = [
        run for run in runs if not run.run.has(run.table) and not run.activations_directory.exists()
    ]
    if missing:
        first = missing[0]
        with contextlib.ExitStack() as stack:
            for run in missing:
                stack.enter_context(run.run.stage("activations"))
            origins = {run.activations_directory: run.origin for run in missing}
            collect_layers(first.flags, first.dataset, first.probed, origins)


def finish_layers(kind: type[AnyRun], flags: LayerFlags) -> Sequence[AnyRun]:
    """Run a probe on all layers that the flags name, after one pass over the images.

    Raises:
      Net2VecError: flags or data are wrong.
    """
    flags.check()
    dataset = open_screened_dataset(
        flags.dataset,
        scenes_directory=flags.out / SCENES_FOLDER,
        skip_bad_images=flags.skip_bad_images,
        skip_bad_annotations=flags.skip_bad_annotations,
        may_skip=flags.activation_array is None,
    )
    require_both_splits(dataset)
    if flags.activation_array is not None:
        array = ExternalActivations(flags.activation_array, channels_first=flags.channels_first)
        runs = [kind(flags, dataset, array)]
        prepare_runs(runs)
    else:
        runs = open_runs(kind, flags, dataset, open_network(flags.network, weights=flags.weights))
        prepare_runs(runs)
        collect_missing_layers(runs)
    for run in runs:
        run.finish()
        if is_first_host():
            print(f"results are in {run.run.path}")
    return runs
