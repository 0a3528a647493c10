"""What all probes of a layer share: the run directory, what activations are kept, the labels."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from net2vec_jax.activations.condensed import open_condensed
from net2vec_jax.activations.external import ExternalActivations
from net2vec_jax.activations.layer import ActivationsOnDemand, LayerActivations
from net2vec_jax.activations.responses import note_responses
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
from net2vec_jax.networks.load import NETWORKS, LoadedNetwork
from net2vec_jax.networks.untrained import has_untrained
from net2vec_jax.runs.activations import (
    Wanted,
    choose_kept,
    collect_wanted,
    describe_origin,
    find_shape,
)
from net2vec_jax.runs.classification import ClassificationProbe, probe_classification
from net2vec_jax.runs.directory import LABELS_STAGE, RUN_FILE, SCENES_FOLDER, RunDirectory
from net2vec_jax.runs.files import CONCEPTS, MEASURES, RIVALS, SCORES, ProbeKind
from net2vec_jax.runs.flags import ClassificationFlags, SegmentationFlags
from net2vec_jax.runs.notes import describe_sources
from net2vec_jax.runs.probe import (
    Problem,
    choose_categories,
    describe_probe,
    find_skipped,
    refuse_shortage,
    untrain_on,
)
from net2vec_jax.runs.scores import Scores, collect_scores
from net2vec_jax.runs.segmentation import SegmentationProbe, probe_segmentation
from net2vec_jax.runs.settings import ClassificationSettings, SegmentationSettings


class LayerRun:
    """A probe of one layer, trained into a directory; what is there is not computed again.

    Attributes:
      flags: of the run.
      kind: "segmentation" or "classification".
      dataset: the images and their labels.
      probed: the network, or activations computed elsewhere.
      activations_origin: what made the layer's own activations.
      layer_origin: the same, and its responses.
      layer_name: the layer's name in the network.
      catalog: the chosen concepts.
      run: the run directory.
    """

    def __init__(
        self,
        flags: SegmentationFlags | ClassificationFlags,
        dataset: ConceptDataset,
        probed: LoadedNetwork | ExternalActivations,
    ) -> None:
        """Open the run directory of a single layer.

        Unknown layers and concepts, and an array of another number of images, are refused before
        any work.
        """
        flags.check()
        self.flags, self.dataset, self.probed = flags, dataset, probed
        is_segmentation = isinstance(flags, SegmentationFlags)
        self.kind: ProbeKind = "segmentation" if is_segmentation else "classification"
        self.activations_origin = describe_origin(flags, dataset, probed)
        self.layer_name = self.activations_origin["layer"]
        self.catalog: ConceptCatalog = (
            dataset.catalog.select(flags.concepts) if flags.concepts else dataset.catalog
        )
        # Where things lie and how fast they are computed does not change the results; which images
        # are left out shows in the dataset's fingerprint.
        settings = find_settings(flags)
        self.layer_origin = note_responses(self.activations_origin, flags.responses)
        self.origin = describe_probe(settings, self.layer_origin, dataset)
        self.run = RunDirectory(flags.out, self.origin)
        self.run.record("skipped_images", getattr(dataset, "left_out", {}))
        self.run.record("skipped_annotations", getattr(dataset, "skipped_annotations", {}))
        self.run.record("sources", describe_sources(flags, dataset, self._network))
        self.run.record("segmentation_size", list(dataset.segmentation_size))

    @property
    def _network(self) -> LoadedNetwork | None:
        return self.probed if isinstance(self.probed, LoadedNetwork) else None

    @property
    def table(self) -> str:
        """Name of the last file that the run writes."""
        return SCORES[self.kind]

    def finish(self) -> SegmentationProbe | ClassificationProbe:
        """Run every stage whose files are missing.

        Returns:
          The probe, as `load_probe` reads it from the directory.
        """
        arguments = {"keep": self.run.keep, "progress": True}
        settings = find_settings(self.flags)
        problem = Problem(lambda: self.layer, lambda: self.masks, self._read_untrained)
        probe = (
            probe_segmentation(problem, settings, self.origin, **arguments)
            if isinstance(settings, SegmentationSettings)
            else probe_classification(problem, settings, self.origin, **arguments)
        )
        size = None
        if isinstance(self.probed, LoadedNetwork):
            # Of a finished run the images need not be there any more.
            noted = self.run.noted("image_size") or self.dataset.image(0).shape[:2]
            size = (int(noted[0]), int(noted[1]))
        self.run.record("image_size", size)
        return dataclasses.replace(
            probe,
            network=self._network,
            image_size=size,
            segmentation_size=self.dataset.segmentation_size,
            sources=describe_sources(self.flags, self.dataset, self._network),
        )

    @property
    def needs_untrained(self) -> bool:
        """Whether the network before its training is still to be probed."""
        return (
            isinstance(self.flags, SegmentationFlags)
            and self.flags.untrained
            and not self.run.has(RIVALS)
        )

    @property
    def has_untrained(self) -> bool:
        """Whether it is known how the network began."""
        return isinstance(self.probed, LoadedNetwork) and has_untrained(self.probed)

    @cached_property
    def untrained(self) -> LoadedNetwork | None:
        """The network before its training; None where it is not known."""
        if not isinstance(self.probed, LoadedNetwork):
            return None
        preprocessing = self.flags.resolve_preprocessing()
        return untrain_on(self.probed, self.dataset, preprocessing, seed=self.flags.seed)

    def _read_untrained(self) -> LayerActivations | None:
        if self.untrained is None:
            return None
        return self._open_layer(
            "untrained activations", self.untrained, self.want_untrained(self.untrained)
        )

    @property
    def activations_directory(self) -> Path:
        """The layer's folder, see `Wanted`."""
        return (self.flags.activations or self.run / "activations") / self.layer_name

    @property
    def untrained_directory(self) -> Path:
        """Folder of the activations of the network before its training."""
        seed = f"seed_{self.flags.seed}"  # that of its weights
        return self.activations_directory.parent / "untrained" / seed / self.layer_name

    @property
    def wanted(self) -> Wanted:
        """What the run needs of its layer."""
        return self._want(self.activations_directory, self.activations_origin)

    def want_untrained(self, network: LoadedNetwork) -> Wanted:
        """What the run needs of the layer of the network before its training."""
        origin = describe_origin(self.flags, self.dataset, network)
        return self._want(self.untrained_directory, origin)

    def _want(self, folder: Path, origin: dict[str, str]) -> Wanted:
        standardizes = self.kind == "segmentation" and self.flags.find_preset().to_optimum
        stored = self.flags.keep_activations or ("float32" if standardizes else None)
        return Wanted(folder, origin, stored, choose_kept(self.kind, self.origin))

    @cached_property
    def layer(self) -> LayerActivations:
        """The layer's activations, collected if need be."""
        if isinstance(self.probed, ExternalActivations):
            return LayerActivations(self.layer_name, self.probed, self.layer_origin)
        return self._open_layer("activations", self.probed, self.wanted)

    def _open_layer(self, stage: str, network: LoadedNetwork, wanted: Wanted) -> LayerActivations:
        """Activations that are kept, or what is kept of them; collected if need be."""
        if not wanted.is_there:
            _collect_stage(stage, [self], network, [wanted])
        origin = note_responses(wanted.origin, self.flags.responses)
        if wanted.values.exists():
            store = ActivationStore(wanted.values)
            store.check_origin(wanted.origin)
            return LayerActivations(self.layer_name, store, origin, network)
        condensed = open_condensed(wanted.folder, wanted.kept, wanted.origin)
        on_demand = ActivationsOnDemand(
            lambda: (network, self.dataset),
            self.layer_name,
            preprocessing=self.flags.resolve_preprocessing(),
            dtype=self.flags.dtype,
            batch_size=self.flags.images_per_batch,
            shape=condensed[0].shape,
        )
        return LayerActivations(self.layer_name, on_demand, origin, network, condensed=condensed)

    @cached_property
    def masks(self) -> ConceptMasks:
        """Masks of the chosen concepts."""
        with self.run.stage(LABELS_STAGE):
            choice = choose_categories(self.flags)
            masks = decode_masks(self.dataset, choice, cache=self.flags.cache_data)
        return masks.select(self.catalog)

    def scores(self) -> Scores:
        """Val scores of the finished run."""
        measure = MEASURES[self.kind]
        return collect_scores(self.run.read_table(self.table), f"val_{measure}")

    @cached_property
    def shortages(self) -> dict[str, str]:
        """Concepts that are left out, and why, by name; known before anything is computed.

        Raises:
          Net2VecError: labels cannot be read, or no concept is left.
        """
        if self.run.has(CONCEPTS):
            return self.run.skipped
        notices = (*getattr(self.dataset, "notices", ()), *self.masks.notices)
        self.run.record("notices", list(notices))
        skipped = find_skipped(self.masks, self.flags)
        refuse_shortage(skipped, len(self.catalog))
        return skipped


def find_settings(
    flags: SegmentationFlags | ClassificationFlags,
) -> SegmentationSettings | ClassificationSettings:
    """The settings of the probe among the flags of a run."""
    kind = SegmentationSettings if isinstance(flags, SegmentationFlags) else ClassificationSettings
    names = [field.name for field in dataclasses.fields(kind)]
    settings = kind(**{name: getattr(flags, name) for name in names})
    return settings.resolve() if isinstance(settings, SegmentationSettings) else settings


def open_layer_runs(
    flags: SegmentationFlags | ClassificationFlags, dataset: ConceptDataset, loaded: LoadedNetwork
) -> list[LayerRun]:
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
        LayerRun(
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
        choice = choose_categories(run.flags)
        if choice in masks:
            run.masks = masks[choice]
        shortages = run.shortages
        if "masks" in run.__dict__:
            masks.setdefault(choice, run.masks)
        known = getattr(run.dataset, "notices", ())  # said when the dataset was opened
        notices = [line for line in run.run.notices if line not in known and line not in said]
        announce(notices)
        kind = f"concepts from {run.kind}"
        if (kind, shortages) not in said:
            announce_left_out(kind, shortages, of=len(run.catalog))
        said += [*notices, (kind, shortages)]
    if any(run.needs_untrained and not run.has_untrained for run in runs):
        announce(
            [
                "what is probed is no network of the zoo alone, so it is not known how it began: "
                "the columns untrained_… stay empty"
            ]
        )
    for run in runs:  # those that were prepared before, and have more to do
        if choose_categories(run.flags) in masks:
            run.masks = masks[choose_categories(run.flags)]


def collect_missing_layers(runs: Sequence[LayerRun]) -> None:
    """Collect, in one pass, the layers of those runs that still need them.

    Args:
      runs: of one network, with the same dataset and preprocessing.

    Raises:
      Net2VecError: a layer of the zoo has no spatial extent, which segmentation needs.
    """
    missing = [
        run
        for run in runs
        if not (run.run.has(run.table) and run.flags.keep_activations is None)
        and not run.wanted.is_there
    ]
    if missing:
        first = missing[0]
        assert isinstance(first.probed, LoadedNetwork)  # nothing collects an array
        for run in missing:
            if run.kind == "segmentation" and first.probed.name in NETWORKS:
                _refuse_flat(first.probed, run)
        _collect_stage("activations", missing, first.probed, [run.wanted for run in missing])
    asking = [run for run in runs if run.needs_untrained]
    if asking and (network := asking[0].untrained):
        for run in asking:
            run.untrained = network
        wanted = [run.want_untrained(network) for run in asking]
        missing = [run for run, one in zip(asking, wanted, strict=True) if not one.is_there]
        if missing:
            _collect_stage("untrained activations", missing, network, wanted)


def _refuse_flat(network: LoadedNetwork, run: LayerRun) -> None:
    if len(find_shape(network, run.layer_name, run.dataset)) != 4:
        raise Net2VecError(
            f"layer {run.layer_name} has no spatial extent, which the segmentation probe needs: "
            "leave it out, or use classification"
        )


def _collect_stage(
    name: str, runs: Sequence[LayerRun], network: LoadedNetwork, wanted: Sequence[Wanted]
) -> None:
    """Collect what is wanted of layers in one pass, as a stage of all these runs."""
    with contextlib.ExitStack() as stack:
        for run in runs:
            stack.enter_context(run.run.stage(name))
        collect_wanted(runs[0].flags, runs[0].dataset, network, wanted)


def finish_layers(flags: SegmentationFlags | ClassificationFlags) -> list[LayerRun]:
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
        announce(filter(None, [array.notice]))
        runs = [LayerRun(flags, dataset, array)]
        prepare_runs(runs)
    else:
        assert flags.network is not None  # checked above
        loaded = open_network(flags.network, weights=flags.weights, options=flags)
        runs = open_layer_runs(flags, dataset, loaded)
        prepare_runs(runs)
        collect_missing_layers(runs)
    for run in runs:
        run.finish()
        if is_first_host():
            print(f"results are in {run.run.path}")
    return runs
