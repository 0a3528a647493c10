"""A layer's activations with what made them: what probes are trained on."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Float, Int, Num, UInt8

from net2vec_jax.activations.binary import BinaryActivations, collect_binary_activations
from net2vec_jax.activations.compute import ComputeType, compute_activations, store_activations
from net2vec_jax.activations.condensed import SIGNED_IMAGES, Condensed
from net2vec_jax.activations.external import ExternalActivations
from net2vec_jax.activations.finite import require_finite
from net2vec_jax.activations.pooled import Pooling, collect_pooled_activations
from net2vec_jax.activations.responses import (
    Responses,
    apply_responses,
    check_responses,
    count_filters,
    count_signed,
    find_responses,
    note_responses,
)
from net2vec_jax.activations.store import ActivationStore, check_indices
from net2vec_jax.activations.thresholds import QuantileMethod, collect_thresholds
from net2vec_jax.core.console import track
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.arrays import find_images_fingerprint, fingerprint_images
from net2vec_jax.data.dataset import ConceptDataset
from net2vec_jax.data.images.resized import read_resized_image
from net2vec_jax.networks.load import LoadedNetwork
from net2vec_jax.networks.preprocessing import PreprocessingName

BATCH = 256
"""Images read at a time from an array in memory."""
IMAGES_PER_READ = 128
"""Of chosen ones."""
VALUES_PER_READ = 2**24
"""Of binary activations."""


@runtime_checkable
class StoredActivations(Protocol):
    """Where a layer's activations lie: in memory, on disk, or in an array of the user's own."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, h, w, K), or (N, K) of a layer without spatial extent."""
        ...

    def batches(self) -> Iterator[np.ndarray]:
        """The activations of consecutive images, float32 [n, h, w, K] or [n, K]."""
        ...

    def read(self, images: Sequence[int] | np.ndarray) -> np.ndarray:
        """The activations of these images only, in their order."""
        ...


class ActivationsInMemory:
    """A layer's activations as one array.

    Attributes:
      shape: (N, h, w, K) or (N, K).
    """

    def __init__(self, values: Float[np.ndarray, "N ..."], name: str = "activations") -> None:
        """Of `values`, which errors call `name`.

        Raises:
          Net2VecError: the array has another number of axes, or a value is not finite.
        """
        if np.ndim(values) not in (2, 4) or 0 in np.shape(values):
            raise Net2VecError(
                f"{name} have shape {np.shape(values)}; expected [N, h, w, K] or [N, K]"
            )
        self._values, self._name = require_finite(values, range(len(values)), name), name
        self.shape: tuple[int, ...] = self._values.shape

    def batches(self) -> Iterator[np.ndarray]:
        """See `StoredActivations`."""
        for start in range(0, len(self._values), BATCH):
            yield self._values[start : start + BATCH]

    def read(self, images: Sequence[int] | np.ndarray) -> np.ndarray:
        """See `StoredActivations`."""
        return self._values[check_indices(images, len(self._values), self._name)]


class ActivationsOnDemand:
    """Activations that are computed anew whenever they are read; nothing is kept."""

    def __init__(
        self,
        open_sources: Callable[[], tuple[LoadedNetwork, ConceptDataset]],
        layer: str,
        *,
        preprocessing: PreprocessingName,
        dtype: ComputeType,
        batch_size: int = 32,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        """Of a layer on a dataset's images, both opened when values are first asked for."""
        self._open_sources, self._layer = open_sources, layer
        self._preprocessing: PreprocessingName = preprocessing
        self._dtype: ComputeType = dtype
        self._batch_size, self._shape = batch_size, shape

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, h, w, K) or (N, K)."""
        if self._shape is None:
            self._shape = (len(self._sources[1]), *self.read([0]).shape[1:])
        return self._shape

    @cached_property
    def _sources(self) -> tuple[LoadedNetwork, ConceptDataset]:
        try:
            return self._open_sources()
        except Net2VecError as error:
            raise Net2VecError(
                f"activations of {self._layer} are computed again, since the run did not keep them "
                f"(--keep-activations float32 does), but {error}"
            ) from error

    def batches(self) -> Iterator[np.ndarray]:
        """See `StoredActivations`."""
        yield from self._compute(range(len(self._sources[1])))

    def read(self, images: Sequence[int] | np.ndarray) -> np.ndarray:
        """See `StoredActivations`."""
        dataset = self._sources[1]
        chosen = check_indices(images, len(dataset), dataset.name)
        return np.concatenate(list(self._compute(chosen.tolist())))

    def _compute(self, images: Sequence[int]) -> Iterator[np.ndarray]:
        network, dataset = self._sources
        batches = compute_activations(
            network.network,
            dataset,
            [self._layer],
            preprocess=network.preprocessing(self._preprocessing),
            batch_size=self._batch_size,
            dtype=self._dtype,
            images=images,
        )
        for batch in batches:
            yield batch[self._layer]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LayerActivations:
    """Activations of one layer on N images, with what made them.

    Its K filters are those of its responses, see `net2vec_jax.activations.responses`.

    Attributes:
      layer: name of the layer.
      stored: where the layer's own activations lie.
      origin: everything they depend on: network, layer, weights, preprocessing, dtype, dataset; and
        responses, where these are not the positive ones.
      network: what computed them; None of activations computed elsewhere.
      image_size: (H, W) of the images; None of activations computed elsewhere.
      condensed: what was kept of them in one pass, which is then not looked for again.
    """

    layer: str
    stored: StoredActivations
    origin: Mapping[str, str]
    network: LoadedNetwork | None = None
    image_size: tuple[int, int] | None = None
    condensed: tuple[Condensed, ...] = ()

    def __repr__(self) -> str:
        made_by = self.network.name if self.network else "computed elsewhere"
        size = " × ".join(map(str, self.shape))
        return f"LayerActivations({made_by}, layer {self.layer}: {size})"

    def __len__(self) -> int:
        """The number of images N."""
        return self.shape[0]

    @property
    def responses(self) -> Responses:
        """Which side of the activations counts: "positive", "negative" or "both"."""
        return find_responses(self.origin)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, h, w, K), or (N, K) of a layer without spatial extent."""
        *rest, channels = self.stored.shape
        return (*rest, count_filters(channels, self.responses))

    @property
    def filters(self) -> int:
        """K."""
        return self.shape[-1]

    def batches(
        self, images: Int[np.ndarray, " n"] | None = None
    ) -> Iterator[Float[np.ndarray, "m ..."]]:
        """The activations of consecutive images, or of these, float32 [m, h, w, K] or [m, K]."""
        responses = self.responses
        if images is None:
            return (apply_responses(batch, responses) for batch in self.stored.batches())
        parts = np.split(images, range(IMAGES_PER_READ, len(images), IMAGES_PER_READ))
        return (self.read(part) for part in parts)

    def read(self, images: Sequence[int] | np.ndarray) -> np.ndarray:
        """The activations of these images only, in their order."""
        return apply_responses(self.stored.read(images), self.responses)

    def thresholds(
        self, *, quantile: float = 0.005, method: QuantileMethod = "hazen", progress: bool = False
    ) -> Float[np.ndarray, " K"]:
        """Threshold T_k of every filter: a filter is active above it, strictly (behaviour 3.3).

        Args:
          quantile: fraction of a filter's activations above its threshold, in (0, 1); or 1 for
            no threshold, T_k = 0.
          method: how a quantile between two values is read, by numpy's names.
          progress: show a progress bar.

        Raises:
          Net2VecError: the quantile is out of range, or an activation is not finite.
        """
        for found in self.condensed:
            if (found.kept.quantile, found.kept.method) == (quantile, method):
                return found.thresholds
        batches = track(self.batches(), "thresholds" if progress else None, unit="batch")
        values = int(np.prod(self.shape[:-1]))
        return collect_thresholds(batches, values, quantile=quantile, method=method)

    def binary(
        self,
        thresholds: Float[np.ndarray, " K"] | None = None,
        images: Int[np.ndarray, " n"] | None = None,
    ) -> BinaryActivations:
        """Binary activations 1[A_k > T_k].

        Args:
          thresholds: of the filters; the default ones if none are given.
          images: of these images only.
        """
        chosen = self.thresholds() if thresholds is None else thresholds
        kept = self._find_binary(chosen) if len(self.shape) == 4 else None
        if kept is None:
            return collect_binary_activations(self.batches(images), chosen)
        return kept if images is None else kept.select(images)

    def _find_binary(self, thresholds: np.ndarray) -> BinaryActivations | None:
        for found in self.condensed:
            if found.kept.quantile is not None and np.array_equal(found.thresholds, thresholds):
                return found.read_binary()
        return None

    def pooled(
        self,
        pooling: Pooling = "mean",
        *,
        thresholds: Float[np.ndarray, " K"] | None = None,
        progress: bool = False,
    ) -> Float[np.ndarray, "P N K"]:
        """One number per image and filter, see `collect_pooled_activations`."""
        if thresholds is None:
            for found in self.condensed:
                if (found.kept.quantile, found.kept.pooling) == (None, pooling):
                    return found.pooled
        elif (kept := self._find_binary(thresholds)) is not None:
            shape, size = self.shape, max(1, VALUES_PER_READ // math.prod(self.shape[1:]))
            bits = (kept.unpack(slice(n, n + size)) for n in range(0, len(kept), size))
            parts = (part.reshape(-1, *shape[1:]).astype(np.float32) for part in bits)
            return collect_pooled_activations(parts, pooling=pooling)
        batches = track(self.batches(), "pooling" if progress else None, unit="batch")
        return collect_pooled_activations(batches, pooling=pooling, thresholds=thresholds)

    def count_signed(self) -> int:
        """How many filters of the first images are signed, see `responses.count_signed`."""
        for found in self.condensed:
            if found.signed is not None:
                return found.signed
        return count_signed(self.read(np.arange(min(len(self), SIGNED_IMAGES))))


class ArrayImages:
    """Images in memory or in files, as `compute_activations` reads those of a dataset."""

    def __init__(
        self, images: Sequence[str | Path] | UInt8[np.ndarray, "N H W 3"], size: int
    ) -> None:
        self._images = images
        if isinstance(images, np.ndarray):
            self.fingerprint = fingerprint_images(images)
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
                raise Net2VecError(
                    f"images are {images.dtype} {images.shape}; expected uint8 [N, H, W, 3], RGB"
                )
            self.image_names = [f"{index} of the array" for index in range(len(images))]
        else:
            self.image_names = [str(path) for path in images]
            digest = hashlib.sha256()
            for path in images:
                digest.update(hashlib.sha256(_read(path)).digest())
            self.fingerprint = digest.hexdigest()
        if not len(images):
            raise Net2VecError("there are no images")
        self._size = size

    def __len__(self) -> int:
        return len(self._images)

    def image(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3], RGB, of the image at `index`."""
        found = self._images[index]
        if isinstance(found, np.ndarray):
            return found
        return read_resized_image(Path(found), self._size)


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Net2VecError(f"image {path} cannot be read: {error}") from error


Images = ConceptDataset | UInt8[np.ndarray, "N H W 3"] | Sequence[str | Path]


def collect_activations(
    network: LoadedNetwork,
    images: Images,
    layer: str,
    *,
    preprocessing: PreprocessingName = "own",
    batch_size: int = 32,
    dtype: ComputeType = "float32",
    responses: Responses = "positive",
    directory: str | Path | None = None,
    progress: bool = False,
) -> LayerActivations:
    """Activations of one layer on images: what probes are trained on.

    Args:
      network: from `load_network` or one of the `wrap_…` functions.
      images: a dataset; or uint8 [N, H, W, 3], RGB; or files, which are resized to the network's
        input size.
      layer: its name or torch module path.
      preprocessing: of the images: the network's "own", "imagenet" or "reference_code".
      batch_size: images per forward pass.
      dtype: what the network computes in, "float32" or "bfloat16".
      responses: what counts as a filter's response: its activation ("positive"), the negative of it
        ("negative"), or "both", as 2K filters. For layers without a rectifier.
      directory: where to store the activations; those that lie there, of the same origin, are
        used. In memory by default.
      progress: show a progress bar.

    Raises:
      Net2VecError: there is no such layer, an image cannot be read, or an activation is not finite.

    Examples:
      >>> import net2vec_jax as n2v
      >>> images = np.zeros((2, 64, 64, 3), np.uint8)
      >>> network = n2v.load_network("efficientnet_lite0")
      >>> n2v.collect_activations(network, images, "block4")
      LayerActivations(efficientnet_lite0, layer block4: 2 × 8 × 8 × 40)
    """
    name = network.network.resolve_layer(layer)
    where = None if directory is None else {name: Path(directory)}
    return collect_layers(
        network, images, [name], preprocessing=preprocessing, batch_size=batch_size, dtype=dtype,
        responses=responses, directories=where, progress=progress,
    )[name]  # fmt: skip


def collect_layers(
    network: LoadedNetwork,
    images: Images,
    layers: Sequence[str],
    *,
    preprocessing: PreprocessingName = "own",
    batch_size: int = 32,
    dtype: ComputeType = "float32",
    responses: Responses = "positive",
    directories: Mapping[str, str | Path] | None = None,
    progress: bool = False,
) -> dict[str, LayerActivations]:
    """Activations of several layers, by their names, in one pass over the images.

    Args and errors as of `collect_activations`; `directories` says where each layer is stored.

    Examples:
      >>> import net2vec_jax as n2v
      >>> images = np.zeros((2, 64, 64, 3), np.uint8)
      >>> network = n2v.load_network("efficientnet_lite0")
      >>> for layer in n2v.collect_layers(network, images, ["block2", "block4"]).values():
      ...     print(layer)
      LayerActivations(efficientnet_lite0, layer block2: 2 × 16 × 16 × 24)
      LayerActivations(efficientnet_lite0, layer block4: 2 × 8 × 8 × 40)
    """
    if not isinstance(network, LoadedNetwork):
        raise Net2VecError(
            f"the network is a {type(network).__name__}; give what load_network or a wrap_… returns"
        )
    if isinstance(layers, str):
        raise Net2VecError(f"layers is a sequence of names; write [{layers!r}]")
    check_responses(responses)
    dataset = _open_images(images, network.input_size)
    names = tuple(dict.fromkeys(map(network.network.resolve_layer, layers)))
    origins = {
        name: describe_activations(
            network, name, find_images_fingerprint(dataset), preprocessing, dtype
        )
        for name in names
    }
    stored: dict[str, StoredActivations] = {}
    for name, path in (directories or {}).items():
        if Path(path).exists():
            store = ActivationStore(path)
            store.check_origin(origins[name])
            stored[name] = store
    missing = [name for name in names if name not in stored]
    if missing:
        batches = compute_activations(
            network.network,
            dataset,
            missing,
            preprocess=network.preprocessing(preprocessing),
            batch_size=batch_size,
            dtype=dtype,
            progress=progress,
        )
        if directories is None:
            parts = list(batches)
            for name in missing:
                stored[name] = ActivationsInMemory(np.concatenate([part[name] for part in parts]))
        else:
            where = {name: directories[name] for name in missing}
            stored |= store_activations(batches, where, len(dataset), origins)
    size = dataset.image(0).shape[:2]
    return {
        name: LayerActivations(
            name, stored[name], note_responses(origins[name], responses), network,
            (size[0], size[1]),
        )
        for name in names
    }  # fmt: skip


def _open_images(images: Images, size: int) -> ConceptDataset | ArrayImages:
    if isinstance(images, str | Path):
        raise Net2VecError(
            f"images is {str(images)!r}: open a dataset with open_dataset, or give a list of files"
        )
    if isinstance(images, ConceptDataset):
        return images
    if isinstance(images, Sequence) and all(isinstance(path, str | Path) for path in images):
        return ArrayImages(images, size)
    if hasattr(images, "__array__") or isinstance(images, Sequence):
        return ArrayImages(np.asarray(images), size)
    raise Net2VecError(
        f"images are a {type(images).__name__}; give a dataset, uint8 [N, H, W, 3], or files"
    )


def describe_activations(
    network: LoadedNetwork,
    layer: str,
    images: str,
    preprocessing: PreprocessingName,
    dtype: ComputeType,
) -> dict[str, str]:
    """What a layer's activations depend on; `images` is the dataset's fingerprint."""
    return {
        "network": network.name,
        "layer": layer,
        "weights": network.fingerprint,
        "preprocessing": preprocessing,
        "dtype": dtype,
        "dataset": images,
    }


def read_activations(
    source: str | Path | Num[Array | np.ndarray, "N ..."],
    *,
    network: str = "array",
    layer: str | None = None,
    channels_first: bool = False,
    responses: Responses = "positive",
) -> LayerActivations:
    """Activations computed elsewhere.

    Args:
      source: an array [N, h, w, K] or [N, K], in the order of the dataset's images; or a .npy file
        or the directory of a zarr or N5 array, [N, h, w, K].
      network: a name for the tables.
      layer: a name for the tables; by default the file's, or "layer".
      channels_first: the array is [N, K, h, w].
      responses: what counts as a filter's response, see `collect_activations`.

    Raises:
      Net2VecError: it cannot be read, or holds something else.

    Examples:
      >>> read_activations(np.zeros((10, 7, 7, 512), np.float32))
      LayerActivations(computed elsewhere, layer layer: 10 × 7 × 7 × 512)
    """
    if isinstance(source, str | Path):
        external = ExternalActivations(source, channels_first=channels_first)
        stored: StoredActivations = external
        fingerprint, name = external.fingerprint, layer or external.path.stem
    else:
        array = np.asarray(source)
        array = np.moveaxis(array, 1, -1) if channels_first and array.ndim == 4 else array
        stored = ActivationsInMemory(array)
        content = np.ascontiguousarray(array, np.float32)
        fingerprint, name = hashlib.sha256(content.data).hexdigest(), layer or "layer"
    origin = {"network": network, "layer": name, "array": fingerprint}
    origin["channels_first"] = str(channels_first)
    return LayerActivations(name, stored, note_responses(origin, check_responses(responses)))
