"""Activations computed elsewhere: a .npy file or a zarr or N5 array, read batch by batch.

The array is [N, h, w, K], or [N, K, h, w] as the original Net2Vec stores it, in the order of the
dataset's images. It is used where it lies and never wholly in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import tensorstore

from net2vec_jax.activations.finite import require_finite
from net2vec_jax.activations.store import check_indices
from net2vec_jax.core.errors import Net2VecError, list_names

BATCH_BYTES = 64 * 2**20
BATCH_IMAGES = 256
CACHE_BYTES = 256 * 2**20
"""Chunks that reach over several batches are decoded once, as long as they fit."""
_OTHER_AXES = {
    2: "; if it is [images, filters], it was taken behind the pooling: save the layer before it, "
    "or, for classification, array[:, None, None]",
    3: "; if it is [images, tokens, filters], leave out class and register tokens and save "
    "array.reshape(images, h, w, filters)",
}
_OTHER_FILES = {
    b"\x89HDF": "an HDF5 file",
    b"\x80": "a pickled Python object, which is not loaded",
    b"version https://git-lfs": "a Git LFS pointer, not the file (git lfs pull brings it)",
    b"MATLAB": "a MATLAB file",
    b"<": "a web page",
}
"""What other files begin with."""
_DRIVERS = {"zarr.json": "zarr3", ".zarray": "zarr", "attributes.json": "n5"}


class ExternalActivations:
    """A layer's activations in an array that was computed elsewhere.

    It is used as an `ActivationStore` is.

    Attributes:
      path: where the array lies.
      shape: [N, h, w, K], whichever way it lies in memory.
      fingerprint: SHA-256 of the file, or of the zarr or N5 array's contents.
    """

    def __init__(self, path: str | Path, *, channels_first: bool = False) -> None:
        """Open the array and compute its fingerprint, which reads all of it once.

        Args:
          path: a .npy file of float16, bfloat16, float32 or float64, or the directory of a zarr
            (version 2 or 3) or N5 array.
          channels_first: the array is [N, K, h, w], not [N, h, w, K].

        Raises:
          Net2VecError: there is no such array, it cannot be read, it has another number of axes,
            or it does not hold floating-point numbers.
        """
        self.path = Path(path)
        self._channels_first = channels_first
        array, self._read = _open(self.path)
        self._stored_shape: tuple[int, ...] = tuple(array.shape)
        if not jnp.issubdtype(_dtype(array), jnp.floating):
            raise Net2VecError(
                f"{self.path} holds {_dtype(array)}; activations are floating-point numbers: save "
                "the array as float32"
            )
        if len(self._stored_shape) != 4 or 0 in self._stored_shape:
            axes = "[N, K, h, w]" if channels_first else "[N, h, w, K]"
            hint = _OTHER_AXES.get(len(self._stored_shape), "")
            raise Net2VecError(f"{self.path} has shape {self._stored_shape}, not {axes}{hint}")
        count, *rest = self._stored_shape
        self.shape = (count, *rest[1:], rest[0]) if channels_first else self._stored_shape
        self._batch = max(1, min(BATCH_IMAGES, BATCH_BYTES // (4 * int(np.prod(rest)))))
        self.fingerprint = self._compute_fingerprint(_dtype(array))

    def __len__(self) -> int:
        """The number of images N."""
        return self.shape[0]

    @property
    def notice(self) -> str:
        """Why the axes seem to be in another order than was said; empty where they do not.

        Maps are square more often than not, and have another number of filters than rows.
        """
        _, first, second, third = self._stored_shape
        is_odd = first == second != third if self._channels_first else first != second == third
        if not is_odd:
            return ""
        found = "[images, h, w, filters]" if self._channels_first else "[images, filters, h, w]"
        advice = "leave out" if self._channels_first else "give"
        return (
            f"{self.path} has shape {self._stored_shape}, which looks like {found}; if it is, "
            f"{advice} --channels-first"
        )

    @property
    def values_per_filter(self) -> int:
        """N·h·w."""
        return int(np.prod(self.shape[:-1]))

    def batches(self, size: int | None = None) -> Iterator[np.ndarray]:
        """The activations of consecutive images, float32 [n, h, w, K].

        Args:
          size: images in a batch; by default at most 256 images and about 64 MiB.

        Raises:
          Net2VecError: a value is not finite, or the files are damaged.
        """
        size = size or self._batch
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            yield self._arrange(self._read_checked(slice(start, stop)), np.arange(start, stop))

    def read(self, images: Sequence[int] | np.ndarray) -> np.ndarray:
        """The activations of these images only, in their order, float32 [n, h, w, K].

        Args:
          images: indices in 0 … N-1.

        Raises:
          Net2VecError: an image is not there, a value is not finite, or the files are damaged.
        """
        chosen = check_indices(images, len(self), str(self.path))
        return self._arrange(self._read_checked(chosen), chosen)

    def check_images(self, images: int) -> None:
        """Refuse a dataset of another number of images.

        Raises:
          Net2VecError: names both numbers.
        """
        if images != len(self):
            raise Net2VecError(
                f"{self.path} holds the activations of {len(self)} images, but the dataset has "
                f"{images}; the array needs one entry per image, in the order of the dataset"
            )

    def check_origin(self, origin: Mapping[str, str]) -> None:
        """Nothing: nobody but the user knows what made the array."""

    def _read_checked(self, images: slice | np.ndarray) -> np.ndarray:
        try:
            return self._read(images)
        except (OSError, ValueError) as error:
            raise Net2VecError(f"{self.path} is damaged ({error})") from error

    def _arrange(self, stored: np.ndarray, images: np.ndarray) -> np.ndarray:
        """What was read of these images as float32 [n, h, w, K], if it is finite."""
        values = stored.transpose(0, 2, 3, 1) if self._channels_first else stored
        return require_finite(values, images, str(self.path))

    def _compute_fingerprint(self, dtype: np.dtype) -> str:
        if self.path.is_file():
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256(f"{self._stored_shape} {dtype}\n".encode())
        for start in range(0, len(self), self._batch):
            batch = self._read_checked(slice(start, min(start + self._batch, len(self))))
            digest.update(batch.tobytes())  # in the order of the axes, whatever the chunks
        return digest.hexdigest()


def _dtype(array: np.ndarray | tensorstore.TensorStore) -> np.dtype:
    return array.dtype if isinstance(array, np.ndarray) else array.dtype.numpy_dtype


def _open(
    path: Path,
) -> tuple[np.ndarray | tensorstore.TensorStore, Callable[[slice | np.ndarray], np.ndarray]]:
    """The array, and what reads entries of it: those of a slice, or of indices."""
    if path.is_dir():
        store = _open_directory(path)
        return store, lambda images: store.oindex[images].read().result()
    if not path.exists():
        raise Net2VecError(f"there is no array {path}")
    with path.open("rb") as file:
        kind = _name_kind(file.read(64), path)
    if kind:
        raise Net2VecError(
            f"{path} is {kind}; save the layer's activations as one array with numpy.save"
        )
    try:
        mapped = np.lib.format.open_memmap(path, mode="r")  # refuses pickled objects
    except (OSError, ValueError, EOFError) as error:
        hint = "; numpy.stack a list of arrays before numpy.save" if "object" in str(error) else ""
        raise Net2VecError(f"{path} is no .npy file that can be read ({error}){hint}") from error
    if mapped.dtype == np.dtype("V2"):  # what numpy.save makes of bfloat16, and of nothing else
        mapped = mapped.view(jnp.bfloat16)
    return mapped, lambda images: np.asarray(mapped[images])


def _name_kind(start: bytes, path: Path) -> str:
    """What a file is that begins so, if it is known to be something else than .npy."""
    if zipfile.is_zipfile(path) or start.startswith(b"PK"):
        with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if any(name.endswith("data.pkl") for name in names):
                return "a PyTorch file"
            if names and all(name.endswith(".npy") for name in names):
                return f"an .npz archive of {list_names(name[:-4] for name in names)}"
        return {".pt": "a PyTorch file", ".npz": "an .npz archive"}.get(
            path.suffix, "a zip archive"
        )
    return next((kind for magic, kind in _OTHER_FILES.items() if start.startswith(magic)), "")


def _open_directory(path: Path) -> tensorstore.TensorStore:
    drivers = [driver for file, driver in _DRIVERS.items() if (path / file).is_file()]
    if not drivers:
        raise Net2VecError(
            f"{path} is neither a zarr nor an N5 array: it has none of {', '.join(_DRIVERS)}; give "
            "the directory of the array itself, not that of its group"
        )
    spec = {
        "driver": drivers[0],
        "kvstore": {"driver": "file", "path": str(path.absolute())},
        "context": {"cache_pool": {"total_bytes_limit": CACHE_BYTES}},
    }
    try:
        return tensorstore.open(spec, open=True, read=True).result()
    except (OSError, ValueError) as error:
        raise Net2VecError(f"{path} cannot be opened as a {drivers[0]} array ({error})") from error
