"""Activations of one layer on disk: a chunked array (zarr, by tensorstore) and what made it.

A store appears complete or not at all: it is written beside its place and then renamed. It knows
the network, weights, preprocessing, layer and dataset that it came from, so that activations of
another model are never reused by accident.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import tensorstore

from net2vec_jax.core.devices import is_first_host, share_of_host, wait_for_hosts
from net2vec_jax.core.errors import Net2VecError

StoredType = Literal["float32", "bfloat16", "float16"]
"""Of values on disk; those of fewer bits are what everything reads."""
ORIGIN_FILE = "origin.json"
CHUNK_IMAGES = 64
"""Images per file; hosts' shares of the images begin at multiples of it."""


class ActivationStore:
    """Activations [N, h, w, K] (or [N, K]) of N images in a finished store, read as float32.

    Attributes:
      directory: where it lies.
      origin: what made it, strings by name.
      shape: of the whole array.
    """

    def __init__(self, directory: str | Path) -> None:
        """Open the finished store in `directory`.

        Raises:
          Net2VecError: it is missing or damaged.
        """
        self.directory = Path(directory)
        try:
            self.origin: dict[str, str] = json.loads((self.directory / ORIGIN_FILE).read_text())
            self._array = tensorstore.open(_spec(self.directory), open=True, read=True).result()
        except (OSError, ValueError) as error:
            raise Net2VecError(
                f"{self.directory} holds no complete activations ({error}); remove it and collect "
                "them again"
            ) from error
        self.shape: tuple[int, ...] = tuple(self._array.shape)

    def __len__(self) -> int:
        """The number of images N."""
        return self.shape[0]

    @property
    def values_per_filter(self) -> int:
        """N·h·w."""
        return int(np.prod(self.shape[:-1]))

    def batches(self, size: int = 4 * CHUNK_IMAGES) -> Iterator[np.ndarray]:
        """The activations of consecutive images, `size` at a time; the next ones are read ahead.

        Raises:
          Net2VecError: the files are damaged.
        """
        starts = range(0, len(self), size)
        reads = [self._array[start : min(start + size, len(self))].read for start in starts]
        ahead = None
        for read in [*reads, None]:
            current, ahead = ahead, read() if read else None
            if current is None:
                continue
            try:
                yield current.result().astype(np.float32, copy=False)
            except (OSError, ValueError) as error:
                raise Net2VecError(
                    f"{self.directory} is damaged ({error}); remove it and collect again"
                ) from error

    def read(self, images: Sequence[int] | np.ndarray) -> np.ndarray:
        """The activations of these images only, in their order, float32 [n, h, w, K] (or [n, K]).

        Args:
          images: indices in 0 … N-1; a file that holds several of them is read once.

        Raises:
          Net2VecError: an image is not there, or the files are damaged.
        """
        chosen = check_indices(images, len(self), str(self.directory))
        try:
            return self._array.oindex[chosen].read().result().astype(np.float32, copy=False)
        except (OSError, ValueError) as error:
            raise Net2VecError(
                f"{self.directory} is damaged ({error}); remove it and collect again"
            ) from error

    def check_origin(self, origin: Mapping[str, str]) -> None:
        """Refuse a store that was made by something else.

        Raises:
          Net2VecError: names what differs.
        """
        check_origin(self.directory, self.origin, origin)


class ActivationWriter:
    """Writes a store batch by batch; `finish` makes it appear.

    On several hosts, which share the file system, each writes its `share_of_host` of the images.
    """

    def __init__(
        self,
        directory: str | Path,
        shape: tuple[int, ...],
        origin: Mapping[str, str],
        dtype: StoredType = "float32",
    ) -> None:
        """Begin a store of activations of `shape` [N, h, w, K] or [N, K] in `directory`."""
        self._directory = Path(directory)
        self._partial = self._directory.with_name(self._directory.name + ".partial")
        self._share = share_of_host(shape[0], multiple=CHUNK_IMAGES)
        if is_first_host():
            if self._partial.exists():  # left by a run that was killed
                shutil.rmtree(self._partial)
            self._partial.mkdir(parents=True)
        wait_for_hosts(f"begin {self._directory.name}")
        self._origin = dict(origin)
        chunk = (min(CHUNK_IMAGES, shape[0]), *shape[1:])
        grid = {"name": "regular", "configuration": {"chunk_shape": chunk}}
        metadata = {"shape": shape, "data_type": dtype, "chunk_grid": grid}
        spec = _spec(self._partial) | {"metadata": metadata}
        self._array = tensorstore.open(spec, create=True, open=True).result()
        self._written = 0
        self._pending: list = []

    def write(self, batch: np.ndarray) -> None:
        """Append the activations of the next images; copied at once, written in the background."""
        end = self._written + len(batch)
        first = self._share.start
        with np.errstate(over="ignore"):
            values = np.asarray(batch, self._array.dtype.numpy_dtype)
        if values.dtype == np.float16 and not np.isfinite(values).all():
            raise Net2VecError(
                f"{self._directory}: an activation is beyond float16, which ends at 65,504; keep "
                "bfloat16 or float32"
            )
        future = self._array[first + self._written : first + end].write(values)
        future.copy.result()
        self._pending = [write for write in self._pending if not write.done()] + [future]
        self._written = end

    def abandon(self) -> None:
        """Give up: wait for writes under way, so that none lands later, and remove all."""
        for write in self._pending:
            write.exception()
        if is_first_host():
            shutil.rmtree(self._partial)

    def finish(self) -> ActivationStore:
        """Wait for all writes and move the store to its place.

        Raises:
          Net2VecError: not all images were written.
        """
        for write in self._pending:
            write.result()
        if self._written != len(self._share):
            raise Net2VecError(
                f"{self._directory}: {self._written} of {len(self._share)} images were written"
            )
        wait_for_hosts(f"written {self._directory.name}")
        if is_first_host():
            text = json.dumps(self._origin, indent=2, sort_keys=True)
            (self._partial / ORIGIN_FILE).write_text(text + "\n")
            os.replace(self._partial, self._directory)
        wait_for_hosts(f"finish {self._directory.name}")
        return ActivationStore(self._directory)


def check_origin(directory: Path, found: Mapping[str, str], origin: Mapping[str, str]) -> None:
    """Refuse activations that something else has made, see `ActivationStore.check_origin`."""
    for name, value in origin.items():
        if found.get(name) != value:
            raise Net2VecError(
                f"{directory} holds activations of another {name}: {found.get(name)!r}, not "
                f"{value!r}; choose another directory or remove this one"
            )


def check_indices(images: Sequence[int] | np.ndarray, count: int, name: str) -> np.ndarray:
    """Indices of images as int64 [n].

    Raises:
      Net2VecError: one is not in 0 … count-1; `name` says of what.
    """
    chosen = np.asarray(images, np.int64).reshape(-1)
    outside = chosen[(chosen < 0) | (chosen >= count)]
    if len(outside):
        raise Net2VecError(
            f"{name} holds the activations of {count} images, counted from 0; there is no image "
            f"{outside[0]}"
        )
    return chosen


def _spec(directory: Path) -> dict:
    # The array lies in a folder of its own, so that nothing else is below it.
    path = os.path.join(os.path.abspath(directory), "values")  # tensorstore takes no ".."
    return {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}
