"""Probes: what is trained, with all that gives it meaning; what a user holds.

A probe is the same thing whether it was trained in a notebook or read from a run directory.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Float
from PIL import Image

from net2vec_jax.activations.compute import NamedImages, compute_activations
from net2vec_jax.activations.layer import LayerActivations
from net2vec_jax.activations.responses import (
    Responses,
    apply_responses,
    count_filters,
    find_responses,
    name_filters,
)
from net2vec_jax.core.console import announce
from net2vec_jax.core.errors import Net2VecError, unknown_name_error
from net2vec_jax.data.arrays import find_images_fingerprint
from net2vec_jax.data.concepts import WHOLE_IMAGE_CATEGORIES, find_numbers
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.data.decoded import decode_masks
from net2vec_jax.data.images.resized import resize_image
from net2vec_jax.data.masks import CategoryChoice, ConceptMasks
from net2vec_jax.data.open import require_both_splits
from net2vec_jax.networks.load import LoadedNetwork
from net2vec_jax.networks.preprocessing import PreprocessingName
from net2vec_jax.networks.untrained import has_untrained, untrain
from net2vec_jax.probes.classification.groups import find_shortages
from net2vec_jax.probes.heads import ALL_FILTERS
from net2vec_jax.probes.presets import Preset, PresetName, find_preset
from net2vec_jax.probes.scores import HeadScores
from net2vec_jax.runs import files
from net2vec_jax.runs.directory import RUN_FILE, RunDirectory
from net2vec_jax.runs.export import write_export
from net2vec_jax.runs.files import MEASURES, ProbedConcepts, ProbeKind, TrainedHeads
from net2vec_jax.runs.notes import note_sources
from net2vec_jax.runs.settings import (
    ClassificationSettings,
    ProbeSettings,
    SegmentationSettings,
    refuse_responses,
)

UNTRAINED_IMAGES = 64
"""Train images, at most, that the normalisations of an untrained network fit."""
SIGNED_PART = 0.2
"""Of the filters; those of a layer with so many that are signed are announced."""
Settings = TypeVar("Settings", bound=ProbeSettings)
T = TypeVar("T")
AnyProbe = TypeVar("AnyProbe", bound="Probe")


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """What a probe is trained on; read only where a stage needs it.

    Attributes:
      read_layer: gives a layer's activations on N images.
      read_masks: gives the masks of the chosen concepts on the same images.
      read_untrained: gives the activations of the same layer before its network was trained, or
        None where it is not known how that began.
    """

    read_layer: Callable[[], LayerActivations]
    read_masks: Callable[[], ConceptMasks]
    read_untrained: Callable[[], LayerActivations | None] = lambda: None

    @property
    def layer(self) -> LayerActivations:
        """The layer's activations."""
        return self.read_layer()

    @property
    def masks(self) -> ConceptMasks:
        """The concepts' masks."""
        return self.read_masks()


@dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Probe(Generic[Settings]):
    """What both probes hold.

    Attributes:
      origin: everything that the results depend on: network, layer, weights, preprocessing, dtype,
        dataset, and the settings.
      settings: of the training.
      table: the concepts that were asked for, trained or not.
      skipped: why concepts were left out, by name.
      trained: the heads and their embeddings.
      evaluation: their scores.
      network: what computed the activations; None of activations computed elsewhere.
      image_size: (H, W) that images are brought to before the network sees them.
      segmentation_size: (Y, X) of the dataset's masks.
      sources: where dataset and network are found again, as run.json notes it.
      reopen: opens the network from its origin, where the probe was read from a directory.
    """

    origin: Mapping[str, Any]
    settings: Settings
    table: ProbedConcepts
    skipped: Mapping[str, str]
    trained: TrainedHeads
    evaluation: HeadScores
    network: LoadedNetwork | None = None
    image_size: tuple[int, int] | None = None
    segmentation_size: tuple[int, int] = (0, 0)
    sources: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    reopen: Callable[[], LoadedNetwork] | None = None

    kind: ClassVar[ProbeKind]

    def __repr__(self) -> str:
        measure = {"iou": "set IoU", "accuracy": "accuracy"}[MEASURES[self.kind]]
        shown = self.evaluation.filters == ALL_FILTERS
        if self.kind == "segmentation":  # masks of whole images are no segmentation
            categories = np.array(self.table.categories)[self.evaluation.concept]
            shown = shown & ~np.isin(categories, WHOLE_IMAGE_CATEGORIES)
        mean = float(np.mean(self.evaluation.val[shown])) if shown.any() else float("nan")
        sizes = sorted({*self.evaluation.filters.tolist()} - {ALL_FILTERS})
        lines = [
            f"{type(self).__name__}: {len(self.concepts)} concepts, {self.filters} filters of "
            f"{self.origin['network']}/{self.origin['layer']}",
            f"  mean val {measure} {mean:.3f} ({shown.sum()} concepts), "
            f"preset {self.settings.preset}, repetitions: {self.settings.seeds}",
        ]
        if sizes:
            lines.append(f"  also with {', '.join(map(str, sizes))} filters")
        if self.skipped:
            lines.append(f"  left out: {len(self.skipped)} concepts, see .skipped")
        return "\n".join(lines)

    @property
    def filters(self) -> int:
        """K, filters of the layer; 2K of both responses."""
        return self.trained.weights.shape[1]

    @property
    def responses(self) -> Responses:
        """Which side of the activations filters respond with: "positive", "negative", "both"."""
        return find_responses(self.origin)

    @property
    def filter_names(self) -> np.ndarray:
        """What tables call the filters, see `name_filters`."""
        return name_filters(self.filters, self.responses)

    @cached_property
    def places(self) -> np.ndarray:
        """Places in the table of the concepts that have embeddings, int64 [C]."""
        return np.unique(self.trained.heads.concept).astype(np.int64)

    @property
    def concepts(self) -> tuple[str, ...]:
        """Names of the C concepts that have embeddings."""
        return tuple(self.table.names[place] for place in self.places)

    @property
    def categories(self) -> tuple[str, ...]:
        """Primary category of each."""
        return tuple(self.table.categories[place] for place in self.places)

    @property
    def embeddings(self) -> Float[np.ndarray, "S C K"]:
        """Embeddings over all filters of every repetition."""
        return np.stack([self.select_embeddings(seed=seed) for seed in range(self.settings.seeds)])

    def select_embeddings(
        self, *, filters: int | None = None, seed: int = 0
    ) -> Float[np.ndarray, "C K"]:
        """Embeddings of one repetition, in the order of `concepts`.

        Args:
          filters: of so many filters, 0 at the others; by default over all filters.
          seed: which repetition, from 0.

        Raises:
          Net2VecError: the probe has none of so many filters, or no such repetition.
        """
        return self.trained.weights[self.find_rows(filters, seed)]

    def scores(self) -> pd.DataFrame:
        """A row per embedding: a concept with a number of filters; means over repetitions.

        Returns:
          Columns concept, category, filters (pandas' missing value for all of them), train_images,
          val_images, and the train and val score in [0, 1] with the 95 % interval of the latter:
          train_iou, val_iou, val_iou_low, val_iou_high, or …_accuracy….
        """
        scored, measure = self.evaluation, MEASURES[self.kind]
        filters = pd.Series(scored.filters, dtype="Int64")
        return pd.DataFrame(
            {
                "concept": [self.table.names[place] for place in scored.concept],
                "category": [self.table.categories[place] for place in scored.concept],
                "filters": filters.mask(filters == ALL_FILTERS),
                "train_images": self.table.train_images[scored.concept],
                "val_images": self.table.val_images[scored.concept],
                f"train_{measure}": scored.train,
                f"val_{measure}": scored.val,
                f"val_{measure}_low": scored.low,
                f"val_{measure}_high": scored.high,
            }
        )

    def find_places(self, concepts: Sequence[str | int] | str | int | None) -> list[int]:
        """Places of concepts in `concepts`, by name or label number; of all by default.

        Raises:
          Net2VecError: the probe has no such concept, and why it left it out, or the nearest names.
        """
        if concepts is None:
            return list(range(len(self.places)))
        numbers = self.table.numbers[self.places].tolist()
        known = dict(zip(numbers, self.concepts, strict=True))
        found: list[int] = []
        for given in [concepts] if isinstance(concepts, str | int) else concepts:
            name = str(given)
            matching = find_numbers(name, known)
            if not matching:
                if name in self.skipped:
                    raise Net2VecError(f"the probe left out {name!r}: {self.skipped[name]}")
                raise unknown_name_error("concept", name, self.concepts)
            found += map(numbers.index, matching)
        if not found:
            raise Net2VecError("no concept was asked for")
        return list(dict.fromkeys(found))

    def save(self, directory: str | Path) -> Path:
        """Write a run directory, which `load_probe`, studies and the report read.

        Args:
          directory: a new or empty directory; or one where this very training was saved before.

        Raises:
          Net2VecError: it has other contents, or cannot be written.
        """
        path = Path(directory)
        if (path / RUN_FILE).exists() and not (path / files.SCORES[self.kind]).exists():
            raise Net2VecError(
                f"{path} holds another, or an unfinished run; choose a new directory"
            )
        run = RunDirectory(path, self.origin)
        if run.has(files.SCORES[self.kind]):
            return path  # the same training gave the same results
        run.record("sources", dict(self.sources))
        run.record("image_size", self.image_size)
        run.record("segmentation_size", self.segmentation_size)
        self.write(run)
        return run.path

    def export(self, path: str | Path, *, filters: int | None = None, seed: int = 0) -> Path:
        """Write the embeddings as one safetensors file, with a card (README.md) beside it.

        What the numbers mean stands in the file's header: concepts, scores, network, layer,
        preprocessing, sizes (docs/apply.md applies such a file with NumPy alone).

        Args:
          path: of the file, `.safetensors`; its folder is made.
          filters: the embeddings of so many filters; by default of all.
          seed: which repetition's, from 0.

        Returns:
          The path. Tensors of the segmentation probe: weights [C, K]; level [C], above which a
          pixel is marked; thresholds [K], or mean and deviation [K] of the preset `converged`. Of
          the classification probe: weights [C, K], bias [C], and thresholds [K] where binary
          activations are pooled. All are float32.

        Raises:
          Net2VecError: there are no such embeddings, the path has another ending, or the folder
            has a README.md of something else.
        """
        rows, measure = self.find_rows(filters, seed), MEASURES[self.kind]
        size = ALL_FILTERS if filters is None else filters
        scored = dict(zip(self.evaluation.concept[self.evaluation.filters == size].tolist(),
                          self.evaluation.val[self.evaluation.filters == size].tolist(),
                          strict=True))  # fmt: skip
        about = {
            "kind": self.kind,
            "network": str(self.origin["network"]),
            "layer": str(self.origin["layer"]),
            "weights": self.origin.get("weights"),
            "responses": self.responses,
            "preprocessing": self._describe_preprocessing(),
            "image_size": self.image_size,
            "segmentation_size": self.segmentation_size,
            "dataset": self.origin["dataset_name"],
            "preset": self.settings.preset,
            "quantile": self.origin["quantile"],
            "filters": filters,
            "measure": {"iou": "set IoU on val", "accuracy": "accuracy on val"}[measure],
            "concepts": list(self.concepts),
            "categories": list(self.categories),
            "numbers": self.table.numbers[self.places].tolist(),
            "scores": [scored[place] for place in self.places.tolist()],
        }
        tensors, more = self.list_tensors(rows)
        write_export(Path(path), {"weights": self.trained.weights[rows]} | tensors, about | more)
        return Path(path)

    def list_tensors(self, rows: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What embeddings need besides their weights: tensors, and entries of the header."""
        raise NotImplementedError

    def _describe_preprocessing(self) -> dict[str, Any] | None:
        """How images become network input, as far as the network is at hand."""
        if self.image_size is None:
            return None
        named = {"name": self.origin["preprocessing"]}
        try:
            network = self._network
        except Net2VecError:
            return named
        if network is None:
            return named
        used = network.preprocessing(named["name"])
        return named | {"mean": used.mean, "deviation": used.deviation}

    def write(self, run: RunDirectory) -> None:
        """Write all files of a run directory."""
        raise NotImplementedError

    def with_network(self, network: LoadedNetwork) -> Self:
        """The same probe with its network at hand, for `predict`.

        Raises:
          Net2VecError: it is a network of other weights.
        """
        expected = self.origin.get("weights")
        if expected != network.fingerprint:
            raise Net2VecError(
                f"{network!r} has other weights than the probe was trained on: fingerprint "
                f"{network.fingerprint}, not {expected}"
            )
        return dataclasses.replace(self, network=network)

    @cached_property
    def _network(self) -> LoadedNetwork | None:
        """What sees new photographs, opened when first needed."""
        return self.network if self.network or not self.reopen else self.reopen()

    def find_rows(self, filters: int | None, seed: int) -> np.ndarray:
        """Rows of the heads of all concepts."""
        heads = self.trained.heads
        size = ALL_FILTERS if filters is None else filters
        rows = np.flatnonzero((heads.filters == size) & (heads.seed == seed))
        if len(rows) != len(self.places):
            sizes = sorted({*heads.filters.tolist()} - {ALL_FILTERS})
            raise Net2VecError(
                f"the probe has no embeddings of {filters or 'all'} filters in repetition {seed}; "
                f"it has {self.settings.seeds} repetitions and the sizes {sizes or 'all only'}"
            )
        return rows[np.argsort(heads.concept[rows])]

    def _respond(
        self, images: Sequence[np.ndarray] | np.ndarray
    ) -> tuple[Iterator[np.ndarray], list[tuple[int, int]] | None]:
        """Activations of new images in batches, and the images' sizes if they are photographs.

        Args:
          images: photographs, uint8 [H, W, 3] each; or the layer's activations [n, …, K].
        """
        if not len(images):
            raise Net2VecError("there are no images")
        values = None if isinstance(images, list | tuple) else np.asarray(images)
        channels = self.filters // count_filters(1, self.responses)
        if values is not None and np.issubdtype(values.dtype, np.floating):
            if values.shape[-1] != channels:
                raise Net2VecError(
                    f"floats {values.shape} are activations of {values.shape[-1]} filters, but the "
                    f"probe's layer has {channels}; photographs are uint8, 0 … 255"
                )
            return iter([apply_responses(values, self.responses)]), None
        if values is not None and values.ndim == 3:
            raise Net2VecError("a single photograph is given as a list: [image]")
        photographs = [_check_photograph(image) for image in images]
        sizes = [(image.shape[0], image.shape[1]) for image in photographs]
        return self.respond(Photographs(photographs, self.require_image_size())), sizes

    def require_image_size(self) -> tuple[int, int]:
        """(H, W) of the photographs that the probe's network sees.

        Raises:
          Net2VecError: the probe was trained on activations computed elsewhere.
        """
        if self.image_size is None:
            channels = self.filters // count_filters(1, self.responses)
            raise Net2VecError(
                "the probe was trained on activations computed elsewhere and has no network to see "
                f"photographs with: give activations, float [n, h, w, {channels}]"
            )
        return self.image_size

    def respond(self, photographs: NamedImages) -> Iterator[np.ndarray]:
        """The layer's activations on photographs of `image_size`, in batches.

        Yields:
          float32 [n, h, w, K] or [n, K] of consecutive photographs.

        Raises:
          Net2VecError: the network is not at hand, or a response is not finite.
        """
        network = self._network
        if network is None:
            raise Net2VecError(
                "the probe's network is not at hand: give it with probe.with_network(network)"
            )
        batches = compute_activations(
            network.network,
            photographs,
            [self.origin["layer"]],
            preprocess=network.preprocessing(self.origin["preprocessing"]),
            dtype=self.origin["dtype"],
        )
        for batch in batches:
            for values in batch.values():
                yield apply_responses(values, self.responses)


class Photographs:
    """Photographs of any size in memory, each brought to one size when it is read."""

    def __init__(self, images: Sequence[np.ndarray], size: tuple[int, int]) -> None:
        self._images, self._size = images, size
        self.image_names = [f"image {index}" for index in range(len(images))]

    def __len__(self) -> int:
        return len(self._images)

    def image(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3], RGB, of the image at `index`."""
        image = self._images[index]
        if image.shape[:2] == self._size:
            return image
        return resize_image(Image.fromarray(image), self._size)


def _check_photograph(image: object) -> np.ndarray:
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise Net2VecError(
            f"a photograph is uint8 [H, W, 3], RGB, 0 … 255, not {pixels.dtype} {pixels.shape}; of "
            'a file: numpy.asarray(PIL.Image.open(path).convert("RGB"))'
        )
    return pixels


class Keep(Protocol):
    """What keeps the products of a training's stages: a run directory, or nothing."""

    def __call__(
        self,
        stage: str,
        produce: Callable[[], T],
        write: Callable[[RunDirectory, T], None],
        read: Callable[[Path], T],
        *files: str,
    ) -> T:
        """See `RunDirectory.keep`."""
        ...


def keep_nothing(
    stage: str,
    produce: Callable[[], T],
    write: Callable[[RunDirectory, T], None],
    read: Callable[[Path], T],
    *files: str,
) -> T:
    """What a training in memory does, see `Keep`."""
    return produce()


def collect_masks(
    layer: LayerActivations, dataset: ConceptDataset, settings: ProbeSettings, *, cache_data: bool
) -> ConceptMasks:
    """Masks of the concepts that the settings choose, on the images of the activations.

    Raises:
      Net2VecError: the activations are of other images, a split is empty, a concept is unknown, or
        labels cannot be read.
    """
    if not isinstance(dataset, ConceptDataset):
        raise Net2VecError(
            f"the dataset is a {type(dataset).__name__}; give what open_dataset or from_arrays "
            "returns"
        )
    if len(layer) != len(dataset):
        raise Net2VecError(
            f"activations of {len(layer)} images, but {dataset.name} has {len(dataset)}"
        )
    images = (dataset.fingerprint, find_images_fingerprint(dataset))
    if layer.origin.get("dataset", dataset.fingerprint) not in images:
        raise Net2VecError(
            f"the activations are of another dataset than {dataset.name}, or it has changed since: "
            "collect them from it again"
        )
    require_both_splits(dataset)
    catalog = dataset.catalog
    chosen = catalog.select(settings.concepts) if settings.concepts else catalog
    choice = choose_categories(settings)
    cache = cache_data and hasattr(dataset, "source_files")
    return decode_masks(dataset, choice, cache=cache).select(chosen)


def untrain_on(
    network: LoadedNetwork | None,
    dataset: ConceptDataset,
    preprocessing: PreprocessingName,
    *,
    seed: int,
) -> LoadedNetwork | None:
    """The network before its training, see `untrain`; None if it is no network of the zoo."""
    if network is None or not has_untrained(network):
        return None
    train = np.flatnonzero(~dataset.is_val)
    chosen = train[:: -(-len(train) // UNTRAINED_IMAGES)]
    images = np.stack([dataset.image(int(index)) for index in chosen])
    return untrain(network, images, preprocessing=preprocessing, seed=seed)


def announce_signed(layer: LayerActivations) -> None:
    """Say that thresholds leave out the negative side of a layer, if it has one."""
    if layer.responses != "positive" or len(layer.shape) != 4:
        return
    signed = layer.count_signed()
    if signed >= SIGNED_PART * layer.filters:
        announce(
            [
                f"layer {layer.layer} is signed: {signed:,} of its {layer.filters:,} filters go at "
                "least half as far below 0 as above it, and a threshold sees only what is above; "
                "--responses both (responses='both') gives each side a filter"
            ]
        )


def make_settings(
    kind: type[Settings],
    preset: Preset | PresetName,
    layer: LayerActivations,
    given: dict[str, Any],
) -> Settings:
    """The settings of a training from its arguments.

    Raises:
      Net2VecError: an argument is unknown, or the activations are not preprocessed as the preset
        `REFERENCE_CODE` has it.
    """
    if not isinstance(layer, LayerActivations):
        raise Net2VecError(
            f"the activations are a {type(layer).__name__}; give what collect_activations or "
            "read_activations returns"
        )
    found = find_preset(preset)
    refuse_responses(layer.responses, found)
    names = [field.name for field in dataclasses.fields(kind) if field.name != "preset"]
    for name in given:
        if name not in names:
            raise unknown_name_error("setting", name, names)
    expected = found.preprocessing
    if layer.network is not None and expected not in ("own", layer.origin["preprocessing"]):
        raise Net2VecError(
            f"the preset {found.name!r} preprocesses images as {expected!r}, but these activations "
            f"are of {layer.origin['preprocessing']!r}: collect them with "
            f"collect_activations(…, preprocessing={expected!r})"
        )
    settings = kind(preset=found.name, **given)
    settings.check()
    return settings


def choose_categories(settings: ProbeSettings) -> CategoryChoice:
    """Which of a concept's categories its masks come from; whole images need no choice."""
    if isinstance(settings, SegmentationSettings):
        return settings.find_preset().category_choice
    return "union"


def find_skipped(masks: ConceptMasks, settings: ProbeSettings) -> dict[str, str]:
    """Concepts that a probe leaves out, and what they lack, by name."""
    if not isinstance(settings, ClassificationSettings):
        return masks.find_missing()
    short = find_shortages(masks, settings.minimum_images)
    return {masks.catalog.concepts[place].name: why for place, why in short.items()}


def keep_concepts(
    keep: Keep, problem: Problem, settings: ProbeSettings
) -> tuple[ProbedConcepts, dict[str, str]]:
    """The stage that lists the concepts, and why some are left out, by name.

    Raises:
      Net2VecError: no concept is left.
    """

    def produce() -> tuple[ProbedConcepts, dict[str, str]]:
        return ProbedConcepts.of(problem.masks), find_skipped(problem.masks, settings)

    table, skipped = keep(
        "",
        produce,
        lambda run, listed: files.write_concepts(run, *listed),
        lambda path: (files.read_concepts(path), files.read_skipped(path)),
        files.CONCEPTS,
    )
    refuse_shortage(skipped, len(table))
    return table, skipped


def refuse_shortage(skipped: Mapping[str, str], concepts: int) -> None:
    """Refuse a problem that leaves out all of its concepts.

    Raises:
      Net2VecError: says why the first one is left out.
    """
    if len(skipped) == concepts:
        reason = next(iter(skipped.values()), "there are none")
        raise Net2VecError(f"no concept has enough images, so nothing can be trained: {reason}")


def describe_probe(
    settings: ProbeSettings, layer: Mapping[str, str], dataset: ConceptDataset
) -> dict[str, Any]:
    """Everything that a probe's results depend on: its settings, and what made the activations."""
    origin = {
        **dataclasses.asdict(settings),
        **layer,
        "dataset": dataset.fingerprint,
        "dataset_name": dataset.name,
    }
    return json.loads(json.dumps(origin))  # as it is read back


def equip(probe: AnyProbe, layer: LayerActivations, dataset: ConceptDataset) -> AnyProbe:
    """A probe that was trained in memory, with what `predict` and `save` need besides."""
    directory = getattr(dataset, "directory", None)
    return dataclasses.replace(
        probe,
        network=layer.network,
        image_size=layer.image_size,
        segmentation_size=dataset.segmentation_size,
        sources=note_sources(getattr(dataset, "opened_as", directory), layer),
    )
