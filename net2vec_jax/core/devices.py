"""Work divided over all devices of all hosts: arrays with a part for every device, and back.

A divided array has the axes [D devices, ...], and each entry of the first axis lies on a device of
its own; a copied array is whole on every device. Every host (JAX process) holds the same numpy
arrays and runs the same program; parts go only to its own devices. With one host, nothing is
communicated at all.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import math
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "devices"
ALIGNMENT = 64
"""Bytes; JAX adopts arrays that begin at multiples of it."""
DIVIDED, COPIED = PartitionSpec(AXIS), PartitionSpec()

LONGEST_WAIT_SECONDS = 24 * 3600
"""For a host that works alone; one that fails is missed within two minutes."""
_BARRIERS = itertools.count()

Tree = TypeVar("Tree")


def count_cores() -> int:
    """Cores of the CPU that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_mesh() -> Mesh:
    """All devices of all hosts, in one row."""
    return Mesh(np.array(jax.devices()), (AXIS,))


def divide_evenly(sizes: Sequence[int] | np.ndarray, parts: int) -> list[np.ndarray]:
    """Items in so many parts of about equal sums: the largest first, to the part with least so far.

    No part exceeds the mean by more than the largest item.

    Args:
      sizes: of each item, numbers [n] that are not negative.
      parts: how many there are.

    Returns:
      For each part the indices of its items, ascending, int64.
    """
    sizes = np.asarray(sizes)
    filled = [(0, part) for part in range(parts)]
    part_of = np.zeros(len(sizes), np.int64)
    for item in np.argsort(-sizes, kind="stable"):
        total, part = heapq.heappop(filled)
        part_of[item] = part
        heapq.heappush(filled, (total + int(sizes[item]), part))
    return [np.flatnonzero(part_of == part) for part in range(parts)]


def share_of_host(items: int, *, multiple: int = 1) -> range:
    """The consecutive items that fall to this host, of all hosts' about equal shares.

    Args:
      items: how many there are.
      multiple: shares begin at multiples of it.
    """
    hosts, host = jax.process_count(), jax.process_index()
    blocks = -(-items // multiple)
    bounds = [min(blocks * place // hosts * multiple, items) for place in (host, host + 1)]
    return range(*bounds)


def place_parts(mesh: Mesh, part: Callable[[int], np.ndarray]) -> jax.Array:
    """A divided array [D, ...].

    Args:
      mesh: the devices.
      part: the array [...] of a device from its place in the mesh; of the same shape and type for
        all. It is called only for this host's devices.
    """
    devices = list(mesh.devices.flat)
    placed = [
        jax.device_put(np.asarray(part(place))[None], device)
        for place, device in enumerate(devices)
        if device.process_index == jax.process_index()
    ]
    shape = (len(devices), *placed[0].shape[1:])
    return jax.make_array_from_single_device_arrays(shape, NamedSharding(mesh, DIVIDED), placed)


def pad_first_axis(
    values: np.ndarray,
    size: int,
    value: float = 0,
    *,
    rows: np.ndarray | slice = slice(None),
    dtype: type | None = None,
) -> np.ndarray:
    """Some rows of `values`, all by default, followed by rows of `value` up to `size` rows.

    The result is aligned so that JAX uses it on a CPU as it is, without another copy.
    """
    kind = np.dtype(dtype or values.dtype)
    shape = (size, *values.shape[1:])
    length = math.prod(shape) * kind.itemsize
    buffer = np.empty(length + ALIGNMENT, np.uint8)
    first = -buffer.ctypes.data % ALIGNMENT
    padded = buffer[first : first + length].view(kind).reshape(shape)
    count = len(values[rows]) if isinstance(rows, slice) else len(rows)
    if isinstance(rows, slice) or kind != values.dtype:
        padded[:count] = values[rows]
    else:
        np.take(values, rows, axis=0, out=padded[:count], mode="clip")  # "raise" makes a copy
    padded[count:] = value
    return padded


def place_copies(mesh: Mesh, tree: Tree) -> Tree:
    """A copy of every array of `tree` on each device."""

    def place(values: np.ndarray) -> jax.Array:
        values = np.asarray(values)
        if values.ndim:
            values = pad_first_axis(values, len(values))  # aligned: all devices of a CPU share it
        placed = [jax.device_put(values, device) for device in mesh.local_mesh.devices.flat]
        return jax.make_array_from_single_device_arrays(
            values.shape, NamedSharding(mesh, COPIED), placed
        )

    return jax.tree.map(place, tree)


def fetch(tree: Tree) -> Tree:
    """The arrays of `tree` as numpy arrays, whole on every host."""

    def bring(values: jax.Array) -> np.ndarray:
        if values.is_fully_addressable or values.is_fully_replicated:
            return np.asarray(values)
        wait_for_hosts("fetch")
        return np.asarray(multihost_utils.process_allgather(values, tiled=True))

    return jax.tree.map(bring, tree)


@dataclasses.dataclass(frozen=True, eq=False)
class Division:
    """Items divided over the devices.

    Attributes:
      mesh: the D devices.
      parts: int64 [n], each device's items.
      size: items of a device, padded.
    """

    mesh: Mesh
    parts: list[np.ndarray]
    size: int

    def place(self, values: np.ndarray) -> jax.Array:
        """Values of the items [n, ...], divided: [D, size, ...], 0 in the padding."""
        values = np.asarray(values)
        return place_parts(
            self.mesh, lambda place: pad_first_axis(values, self.size, rows=self.parts[place])
        )

    def bring(self, divided: jax.Array) -> np.ndarray:
        """The inverse of `place`: a numpy array [n, ...] on every host."""
        fetched = fetch(divided)
        whole = np.zeros((sum(map(len, self.parts)), *fetched.shape[2:]), fetched.dtype)
        for items, part in zip(self.parts, fetched, strict=True):
            whole[items] = part[: len(items)]
        return whole


def is_first_host() -> bool:
    """Whether this host is the one that writes what all have computed."""
    return jax.process_index() == 0


def wait_for_hosts(name: str) -> None:
    """Return when all hosts have come here, however long one works alone before.

    Not a collective operation of the devices: on CPUs those give up after 30 seconds.

    Args:
      name: for messages; all hosts come to the same places in the same order.
    """
    if jax.process_count() > 1:
        from orbax.checkpoint.multihost import get_barrier_sync_fn

        key = f"net2vec_jax {next(_BARRIERS)}: {name}"
        get_barrier_sync_fn()(key=key, timeout_ms=1000 * LONGEST_WAIT_SECONDS)
