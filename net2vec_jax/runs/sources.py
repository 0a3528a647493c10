"""What a run was made of, opened again: dataset, network, activations and masks.

run.json notes under "sources" what the flags named. A report on a finished run opens it from there;
what has moved since is given by hand. Fingerprints must agree with the run's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from net2vec_jax.activations.condensed import Condensed, open_condensed
from net2vec_jax.activations.external import ExternalActivations
from net2vec_jax.activations.layer import (
    ActivationsOnDemand,
    LayerActivations,
    StoredActivations,
)
from net2vec_jax.activations.store import ActivationStore
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.concepts import ConceptCatalog
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.data.decoded import decode_masks
from net2vec_jax.data.masks import CategoryChoice, ConceptMasks
from net2vec_jax.data.open import open_screened_dataset
from net2vec_jax.networks.choice import open_network
from net2vec_jax.networks.load import LoadedNetwork
from net2vec_jax.networks.options import read_options
from net2vec_jax.probes.presets import PRESETS
from net2vec_jax.runs.activations import choose_kept, place_values
from net2vec_jax.runs.classification import ClassificationProbe
from net2vec_jax.runs.directory import SCENES_FOLDER
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.segmentation import SegmentationProbe


@dataclasses.dataclass(frozen=True)
class SourceFlags:
    """Where a run's sources are now, if they are no longer where it found them.

    Attributes:
      dataset: as the run's --dataset; by default what the run was given.
      network: as the run's --network; by default what the run was given.
      weights: as the run's --weights; by default what the run was given.
      sae: as the run's --sae; by default what the run was given.
      activations: as the run's --activations; by default where the run stored them.
      cache_data: keep decoded images and labels beside the dataset, as the run did.
    """

    dataset: str | None = None
    network: str | None = None
    weights: str | None = None
    sae: tuple[str, ...] = ()
    activations: Path | None = None
    cache_data: bool = True


class RunSources:
    """The sources of a finished run, each opened when first asked for.

    Attributes:
      run: the run.
    """

    def __init__(
        self,
        run: FinishedRun,
        flags: SourceFlags | None = None,
        *,
        dataset: ConceptDataset | None = None,
        network: LoadedNetwork | None = None,
    ) -> None:
        """Of `run`, with `flags` for what has moved; or dataset and network themselves."""
        self.run = run
        self._flags = flags or SourceFlags()
        self._given = (dataset, network)
        self._noted: dict[str, Any] = run.record.get("sources", {})

    @cached_property
    def dataset(self) -> ConceptDataset:
        """The dataset, with decoded images if they are kept.

        Raises:
          Net2VecError: it is not where it was, or has changed.
        """
        if self._given[0] is not None:
            return self._check_dataset(self._given[0], "the dataset given")
        name = self._flags.dataset or self._find("dataset")
        if name == "scenes" and not self._flags.dataset and not Path(name).exists():
            raise Net2VecError(
                f"run.json of {self.run.path} does not say where the scenes are; give their "
                "directory with --dataset"
            )
        with self._explaining("dataset"):
            dataset = open_screened_dataset(
                name,
                scenes_directory=self.run.path / SCENES_FOLDER,
                skip_bad_images=bool(self._noted.get("skip_bad_images", False)),
                skip_bad_annotations=bool(self._noted.get("skip_bad_annotations", False)),
            )
        return self._check_dataset(dataset, name)

    def _check_dataset(self, dataset: ConceptDataset, name: str) -> ConceptDataset:
        if dataset.fingerprint != self.run.origin["dataset"]:
            raise Net2VecError(
                f"{name} is not the dataset of the run in {self.run.path}: it has another "
                "fingerprint; give the run's with --dataset, or run the probe again"
            )
        return dataset

    @cached_property
    def network(self) -> LoadedNetwork:
        """The network with the run's weights.

        A function that returns a network is called only if the flags name it: what a run
        directory says may come from anybody.

        Raises:
          Net2VecError: it cannot be loaded, has other weights, is a function that only the run
            names, or the run had activations of an array and no network.
        """
        if self.run.origin.get("array"):
            raise Net2VecError(
                f"the run in {self.run.path} has the activations of an array and no network"
            )
        if self._given[1] is not None:
            return self._check_network(self._given[1], "the network given")
        name = self._flags.network or self._find("network")
        if ":" in name and not self._flags.network:
            raise Net2VecError(
                f"the network of the run in {self.run.path} came from the function {name}; its "
                f"code is run only if you say so: --network {name}"
            )
        weights = self._flags.weights or (self._noted.get("weights") and self._find("weights"))
        with self._explaining("network", "--network, --weights and --sae"):
            noted = self._noted if weights or not self._flags.network else {}
            options = read_options(noted)
            options = dataclasses.replace(options, sae=self._flags.sae or options.sae)
            loaded = open_network(name, weights=weights, options=options)
        return self._check_network(loaded, name)

    def _check_network(self, loaded: LoadedNetwork, name: str) -> LoadedNetwork:
        if loaded.fingerprint != self.run.origin["weights"]:
            raise Net2VecError(
                f"{name} has other weights than in the run in {self.run.path}; give the run's with "
                "--weights"
            )
        return loaded

    @cached_property
    def activations(self) -> LayerActivations:
        """The layer's activations: stored, or computed anew where they are asked for.

        Raises:
          Net2VecError: they are not where they were, or of something else.
        """
        stored, condensed = self._open_activations()
        return LayerActivations(self.run.layer, stored, self.run.origin, condensed=condensed)

    def _open_activations(self) -> tuple[StoredActivations, tuple[Condensed, ...]]:
        if self.run.origin.get("array"):
            path = self._flags.activations or self._find("activation_array", "activations")
            with self._explaining("activations", "--activations (and --dataset)"):
                array = ExternalActivations(path, channels_first=self._noted["channels_first"])
            if array.fingerprint != self.run.origin["array"]:
                raise Net2VecError(f"{path} is not the array of the run in {self.run.path}")
            return array, ()
        in_memory = not self._noted.get("activations")
        if in_memory and not self._flags.activations:
            return self._compute_on_demand(), ()
        folder = Path(self._flags.activations or self._find("activations")) / self.run.layer
        names = ("network", "layer", "weights", "preprocessing", "dtype", "dataset")
        origin = {name: self.run.origin[name] for name in names}
        values = place_values(folder, self.run.origin)
        condensed = ()
        if not values.exists():
            kept = choose_kept(self.run.kind, self.run.origin)
            condensed = open_condensed(folder, kept, origin)
        if condensed:
            return self._compute_on_demand(condensed[0].shape), condensed
        with self._explaining("activations", "--activations (and --dataset)"):
            store = ActivationStore(values)
        store.check_origin(origin)
        return store, ()

    def _compute_on_demand(self, shape: tuple[int, ...] | None = None) -> ActivationsOnDemand:
        origin = self.run.origin
        return ActivationsOnDemand(
            lambda: (self.network, self.dataset), self.run.layer,
            preprocessing=origin["preprocessing"], dtype=origin["dtype"], shape=shape,
        )  # fmt: skip

    @cached_property
    def masks(self) -> ConceptMasks:
        """Masks of the run's C concepts, in their order, made as the run made them."""
        choice: CategoryChoice = "union"
        if self.run.kind == "segmentation":
            choice = PRESETS[self.run.origin["preset"]].category_choice
        numbers = set(self.run.numbers.tolist())
        catalog, concepts = self.dataset.catalog, self.run.origin.get("concepts")
        catalog = catalog.select(concepts) if concepts else catalog
        catalog = ConceptCatalog(tuple(concept for concept in catalog if concept.number in numbers))
        return decode_masks(self.dataset, choice, cache=self._flags.cache_data).select(catalog)

    @contextlib.contextmanager
    def _explaining(self, what: str, flags: str | None = None) -> Iterator[None]:
        """Say in errors that a source of the run is opened, and how to name it if it has moved."""
        try:
            yield
        except Net2VecError as error:
            raise Net2VecError(
                f"the {what} of the run in {self.run.path} cannot be opened: {error}. Name what "
                f"has moved with {flags or '--' + what}"
            ) from error

    def _find(self, name: str, flag: str | None = None) -> str:
        """Where a source was: seen from the run directory, then as it was called."""
        noted = self._noted.get(name)
        if not noted:
            raise Net2VecError(
                f"run.json of {self.run.path} does not say what its {name.replace('_', ' ')} was; "
                f"give it with --{flag or name}"
            )
        if noted["from_here"]:
            path = os.path.abspath(self.run.path / noted["from_here"])
            if os.path.exists(path):
                return path
        return noted["name"]


def load_probe(
    directory: str | Path, *, network: LoadedNetwork | None = None
) -> SegmentationProbe | ClassificationProbe:
    """The probe that a run or `probe.save` wrote; the same object as when it was trained.

    Args:
      directory: of the run.
      network: what computed its activations, where it cannot be opened from where it was: a model
        of your own. By default it is opened when `predict` first needs it.

    Raises:
      Net2VecError: it is no finished run directory, a file is damaged, or the network is another.

    Examples:
      >>> probe = load_probe("runs/dog")  # doctest: +SKIP
      >>> probe.scores()  # doctest: +SKIP
    """
    probe = FinishedRun(directory).probe
    if network is not None:
        return probe.with_network(network)
    if probe.image_size is None:
        return probe
    return dataclasses.replace(probe, reopen=partial(_reopen_network, Path(directory).absolute()))


def _reopen_network(directory: Path) -> LoadedNetwork:
    try:
        return RunSources(FinishedRun(directory)).network
    except Net2VecError as error:
        raise Net2VecError(
            f"the network of {directory} is not at hand ({error}); give it with "
            "load_probe(directory, network=…)"
        ) from error
