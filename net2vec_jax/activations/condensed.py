"""What probes need of a layer, kept from one pass over its activations: a few per cent of them.

A `Kept` says what: the entries above the thresholds of a quantile, with these thresholds, or pooled
values. A folder holds one, and appears complete or not at all. Until then what was seen is noted
beside it now and then, so that a pass that was stopped goes on. Several hosts each see their share
of the images; the first one joins what they found.

Of N·h·w values of each filter a pass holds the top `quantile` and a quarter of that once more, at 8
bytes: 0.6 GB of 63,305 images on AlexNet's conv1 (55 × 55, 64 filters). Lists take 4 bytes of each
active entry on disk; where that exceeds packed bits, these are written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shutil
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from jaxtyping import Float
from numpy.typing import DTypeLike

from net2vec_jax.activations.binary import (
    ActiveEntries,
    BinaryActivations,
    count_first,
    entry_type,
    pad_entries,
)
from net2vec_jax.activations.pooled import Pooling, pool
from net2vec_jax.activations.responses import (
    Responses,
    apply_responses,
    count_filters,
    count_signed,
)
from net2vec_jax.activations.store import ORIGIN_FILE, check_origin
from net2vec_jax.activations.thresholds import (
    NO_THRESHOLD,
    QuantileMethod,
    TopValues,
    threshold_position,
)
from net2vec_jax.core.devices import is_first_host, wait_for_hosts
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.core.locks import complete_folder, replacing

SECONDS_PER_NOTE = 60
"""What was seen is noted that often,"""
SHARE_OF_TIME = 0.05
"""or so seldom that noting it takes no larger share of the time."""
BITS_PER_ENTRY = 32
"""Of a position and a filter in lists."""
ENTRIES_AT_ONCE = 2**22
"""That many are sorted, or packed, at a time."""
SIGNED_IMAGES = 16
"""Images, at most, that say whether a layer is signed."""


@dataclasses.dataclass(frozen=True)
class Kept:
    """What is kept of a layer.

    Attributes:
      quantile: keep the entries above the thresholds of this quantile; None for pooled values.
      method: of the quantile.
      pooling: of pooled values, "mean" or "max".
      responses: of the filters.
    """

    quantile: float | None = None
    method: QuantileMethod = "hazen"
    pooling: Pooling = "mean"
    responses: Responses = "positive"

    def place(self, layer: Path) -> Path:
        """The folder beside a layer's own: its name tells all that `Kept` does."""
        named = (
            self.pooling if self.quantile is None else f"top_{float(self.quantile)}_{self.method}"
        )
        side = "" if self.responses == "positive" else f"_{self.responses}"
        return layer.with_name(f"{layer.name}.{named}{side}")


class Condensed:
    """What is kept of a layer, in a finished folder.

    Attributes:
      directory: where it lies.
      origin: what made the activations, strings by name.
      kept: what is kept.
      shape: of the layer's activations, (N, h, w, K) or (N, K), before responses are made of them.
    """

    def __init__(self, directory: str | Path) -> None:
        """Open a finished folder.

        Raises:
          Net2VecError: it is missing or damaged.
        """
        self.directory = Path(directory)
        try:
            noted = json.loads((self.directory / ORIGIN_FILE).read_text())
            self.origin: dict[str, str] = noted["origin"]
            self.kept = Kept(**noted["kept"])
            self.shape: tuple[int, ...] = tuple(noted["shape"])
            self._signed: int | None = noted["signed"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> Net2VecError:
        return Net2VecError(
            f"{self.directory} holds no complete activations ({error}); remove it and collect "
            "them again"
        )

    def _load(self, name: str) -> np.ndarray:
        """An array, of which only what is read comes into memory."""
        try:
            return np.asarray(np.load(self.directory / f"{name}.npy", mmap_mode="r"))
        except (OSError, ValueError, EOFError) as error:
            raise self._damaged(error) from error

    def check_origin(self, origin: Mapping[str, str]) -> None:
        """Refuse what was made by something else, see `ActivationStore.check_origin`."""
        check_origin(self.directory, self.origin, origin)

    @property
    def signed(self) -> int | None:
        """`count_signed` of the first images; None of pooled values."""
        return self._signed

    @cached_property
    def thresholds(self) -> Float[np.ndarray, " F"]:
        """T_k of every filter."""
        return self._load("thresholds")

    @cached_property
    def pooled(self) -> Float[np.ndarray, "P N F"]:
        """Pooled values, see `collect_pooled_activations`."""
        return self._load("pooled")

    def read_binary(self) -> BinaryActivations:
        """1[A_k > T_k], as lists or packed; of a layer without a grid, on one position."""
        (grid, filters) = _grid(self.shape), len(self.thresholds)
        if (self.directory / "packed.npy").exists():
            return BinaryActivations(self._load("packed"), grid, filters)
        count = self._load("count")
        entries = ActiveEntries(
            self._load("position"), self._load("filter"), count_first(count), count
        )
        return BinaryActivations(None, grid, filters, entries)


def open_condensed(
    layer: str | Path, kept: Sequence[Kept], origin: Mapping[str, str]
) -> tuple[Condensed, ...]:
    """What is kept of a layer, in the order of `kept`; nothing, if one of them is not there.

    Args:
      layer: the layer's folder, see `Kept.place`.
      kept: of the layer.
      origin: what made the activations.

    Raises:
      Net2VecError: they are of something else, or damaged.
    """
    places = [one.place(Path(layer)) for one in kept]
    if not all(place.exists() for place in places):
        return ()
    found = tuple(Condensed(place) for place in places)
    for one in found:
        one.check_origin(origin)
    return found


class CondensedWriter:
    """Keeps what is asked for of a layer while batches of its activations go by.

    Attributes:
      seen: the images before it are done with, among all N.
    """

    def __init__(
        self,
        layer: str | Path,
        origin: Mapping[str, str],
        kept: Kept,
        images: int,
        share: range | None = None,
        batches: str = "",
    ) -> None:
        """Begin, or go on with what a pass that was stopped has noted.

        Args:
          layer: the layer's folder; what is kept lies beside it, see `Kept.place`.
          origin: what makes the activations.
          kept: what to keep.
          images: N.
          share: this host's images; all by default.
          batches: how images are divided into batches, on which the last bits may depend; a pass
            with other batches begins anew.
        """
        self.directory = kept.place(Path(layer))
        self._origin, self._kept, self._images = dict(origin), kept, images
        self._share = range(images) if share is None else share
        self._notes = self.directory.with_name(self.directory.name + ".unfinished")
        self._content: _Content | None = None
        self._shape: tuple[int, ...] = ()
        self.seen = self._share.start
        self._identity = json.dumps(
            [self._origin, dataclasses.asdict(kept), images, jax.process_count(), batches]
        )
        noted = self._read_notes(jax.process_index())
        if noted is not None:
            self._begin(tuple(noted["shape"].tolist()))
            assert self._content is not None  # begun
            self._content.merge(noted)
            self.seen = int(noted["next"])
        self._next_note = time.monotonic() + SECONDS_PER_NOTE

    def _begin(self, shape: tuple[int, ...]) -> None:
        if len(shape) not in (1, 3):
            raise Net2VecError(
                f"activations of shape {(self._images, *shape)}; expected [N, h, w, K] or [N, K]"
            )
        self._shape = shape
        if self._kept.quantile in (None, NO_THRESHOLD):
            self._content = _PerImage(self._kept, self._images)
        else:
            self._content = _Active(self._kept, self._images, self._count(shape))

    def _count(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], count_filters(shape[-1], self._kept.responses))

    def add(self, batch: Float[np.ndarray, "n ..."], first: int) -> None:
        """Take in the activations of consecutive images, of which some may be known already.

        Args:
          batch: of the layer itself, finite; float32 [n, h, w, K] or [n, K].
          first: place of the first image among all N.
        """
        batch = batch[max(self.seen - first, 0) :]
        if not len(batch):
            return
        if self._content is None:
            self._begin(batch.shape[1:])
        assert self._content is not None  # begun
        self._content.add(apply_responses(batch, self._kept.responses), self.seen)
        self.seen += len(batch)
        if time.monotonic() >= self._next_note and self.seen < self._share.stop:
            self.note()

    def note(self) -> None:
        """Write down what was seen so far."""
        start = time.monotonic()
        assert self._content is not None  # something was added
        self._notes.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {
            **self._content.dump(), "identity": np.array(self._identity),
            "shape": np.array(self._shape), "next": np.array(self.seen),
        }  # fmt: skip
        with (
            replacing(self._notes / f"{jax.process_index()}.npz") as path,
            path.open("wb") as file,
        ):
            np.savez(file, **arrays)
        now = time.monotonic()
        self._next_note = now + max(SECONDS_PER_NOTE, (now - start) / SHARE_OF_TIME)

    def _read_notes(self, host: int) -> Mapping[str, np.ndarray] | None:
        """What a host noted of the same pass; None if nothing."""
        with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            noted = np.load(self._notes / f"{host}.npz")
            if str(noted["identity"]) == self._identity:
                return noted
        return None

    def finish(self) -> Condensed:
        """Write the folder; the first host, with what all have seen.

        Raises:
          Net2VecError: not all images were added.
        """
        if self.seen != self._share.stop:
            raise Net2VecError(
                f"{self.directory}: {self.seen - self._share.start} of {len(self._share)} images "
                "were collected"
            )
        if not is_first_host():
            self.note()
        wait_for_hosts(f"collected {self.directory.name}")
        if is_first_host():
            assert self._content is not None  # there are images
            for host in range(1, jax.process_count()):
                noted = self._read_notes(host)
                if noted is None:
                    raise Net2VecError(f"{self._notes} lacks what host {host} has collected")
                self._content.merge(noted)
            self._write()
        self._content = None  # the memory is free for the other layers
        wait_for_hosts(f"finish {self.directory.name}")
        return Condensed(self.directory)

    def _write(self) -> None:
        assert self._content is not None
        with complete_folder(self.directory) as folder:
            folder.mkdir(parents=True)
            signed = self._content.write(folder)
            noted = {
                "origin": self._origin,
                "kept": dataclasses.asdict(self._kept),
                "shape": [self._images, *self._shape],
                "signed": signed,
            }
            if self._kept.quantile == NO_THRESHOLD:
                filters = self._count(self._shape)[-1]
                np.save(folder / "thresholds.npy", np.zeros(filters, np.float32))
            text = json.dumps(noted, indent=2, sort_keys=True)
            (folder / ORIGIN_FILE).write_text(text + "\n")
        shutil.rmtree(self._notes, ignore_errors=True)


def _grid(shape: tuple[int, ...]) -> tuple[int, int]:
    """Of activations [N, h, w, K]; those of [N, K] have one position."""
    return (shape[1], shape[2]) if len(shape) == 4 else (1, 1)


class _Content(Protocol):
    """What is kept of the images seen so far."""

    def add(self, batch: np.ndarray, first: int) -> None:
        """Take in the responses of consecutive images, the first of which is at `first`."""
        ...

    def dump(self) -> dict[str, np.ndarray]:
        """What was seen so far."""
        ...

    def merge(self, noted: Mapping[str, np.ndarray]) -> None:
        """Take in what another one has seen."""
        ...

    def write(self, folder: Path) -> int | None:
        """Write what is kept; the number of signed filters, where it is known."""
        ...


class _PerImage:
    """Something of every image: pooled values, or where the responses are above 0, packed."""

    def __init__(self, kept: Kept, images: int) -> None:
        self._kept, self._images, self._rows = kept, images, range(0)
        self._values: np.ndarray | None = None

    def add(self, batch: np.ndarray, first: int) -> None:
        if self._kept.quantile is None:
            values = np.moveaxis(pool(batch, self._kept.pooling), 0, 1)  # [n, P, F]
        else:
            active = batch.reshape(len(batch), -1, batch.shape[-1]) > 0
            values = np.packbits(active, axis=-1, bitorder="little")
        self._fill(values, first)

    def _fill(self, values: np.ndarray, first: int) -> None:
        if self._values is None:
            dtype = np.float32 if self._kept.quantile is None else np.uint8
            self._values = np.zeros((self._images, *values.shape[1:]), dtype)
            self._rows = range(first, first)
        self._values[first : first + len(values)] = values
        self._rows = range(self._rows.start, first + len(values))

    def dump(self) -> dict[str, np.ndarray]:
        """See `_Content`."""
        assert self._values is not None  # something was added
        rows = self._rows
        return {"values": self._values[rows.start : rows.stop], "first": np.array(rows.start)}

    def merge(self, noted: Mapping[str, np.ndarray]) -> None:
        self._fill(noted["values"], int(noted["first"]))

    def write(self, folder: Path) -> None:
        assert self._values is not None
        if self._kept.quantile is None:
            np.save(folder / "pooled.npy", np.moveaxis(self._values, 1, 0))
        else:
            np.save(folder / "packed.npy", self._values)


class _Active:
    """The largest values of each filter and their places; and the first images' responses."""

    def __init__(self, kept: Kept, images: int, shape: tuple[int, ...]) -> None:
        assert kept.quantile is not None
        self._images, self._positions = images, math.prod(shape[:-1])
        position = threshold_position(kept.quantile)
        self._top = TopValues(images * self._positions, position, kept.method)
        self._first = np.zeros((0, *shape), np.float32)

    def add(self, batch: np.ndarray, first: int) -> None:
        self._top.add(batch.reshape(-1, batch.shape[-1]), first * self._positions)
        if first < SIGNED_IMAGES:
            several = [self._first, batch] if first else [batch]
            self._first = np.concatenate(several)[:SIGNED_IMAGES]

    def dump(self) -> dict[str, np.ndarray]:
        return {**self._top.dump(), "first": self._first}

    def merge(self, noted: Mapping[str, np.ndarray]) -> None:
        self._top.merge(noted)
        if len(noted["first"]):
            self._first = noted["first"]

    def write(self, folder: Path) -> int:
        thresholds = self._top.read()
        np.save(folder / "thresholds.npy", thresholds)
        places = self._top.take_places(thresholds)
        filters, positions = len(places), self._positions
        total = sum(map(len, places))
        is_packed = BITS_PER_ENTRY * total > self._images * positions * filters
        per_image = max(total // self._images, positions * filters if is_packed else 1)
        at_once = max(1, ENTRIES_AT_ONCE // per_image)
        bounds = np.arange(0, self._images + at_once, at_once) * positions
        cuts = np.array([np.searchsorted(of_filter, bounds) for of_filter in places])

        def entries() -> Iterator[np.ndarray]:
            """Place · K + filter of the active entries of so many images at a time, ascending."""
            for start, stop in zip(cuts[:, :-1].T, cuts[:, 1:].T, strict=True):
                parts = [
                    of_filter[a:b].astype(np.int64) * filters + k
                    for k, (of_filter, a, b) in enumerate(zip(places, start, stop, strict=True))
                ]
                yield np.sort(np.concatenate(parts))

        if is_packed:
            self._write_packed(folder, entries(), at_once, filters)
        else:
            self._write_lists(folder, entries(), total, filters)
        return count_signed(self._first) if self._first.ndim == 4 else 0

    def _write_packed(
        self, folder: Path, entries: Iterator[np.ndarray], at_once: int, filters: int
    ) -> None:
        shape = (self._images, self._positions, -(-filters // 8))
        packed = _create(folder / "packed.npy", np.uint8, shape)
        for start, flat in zip(range(0, self._images, at_once), entries, strict=True):
            part = packed[start : start + at_once]
            bits = np.zeros((len(part), self._positions, filters), bool)
            bits.reshape(-1)[flat - start * self._positions * filters] = True
            part[:] = np.packbits(bits, axis=-1, bitorder="little")
        packed.flush()

    def _write_lists(
        self, folder: Path, entries: Iterator[np.ndarray], total: int, filters: int
    ) -> None:
        dtype = entry_type(self._positions, filters)
        position, filter_ = (
            _create(folder / f"{name}.npy", dtype, (pad_entries(total),))
            for name in ("position", "filter")
        )
        count, end = np.zeros(self._images, np.int64), 0
        for flat in entries:
            part = slice(end, end + len(flat))
            place, filter_[part] = np.divmod(flat, filters)
            position[part] = place % self._positions
            count += np.bincount(place // self._positions, minlength=self._images)
            end = part.stop
        position.flush()
        filter_.flush()
        np.save(folder / "count.npy", count.astype(np.int32))


def _create(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap:
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
