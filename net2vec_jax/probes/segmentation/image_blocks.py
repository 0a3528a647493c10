"""Images with the heads that look at them, laid out so that an image is read once for many heads.

A block is an image with up to `HEADS_PER_BLOCK` heads; a chunk is some blocks, as many as are
computed at a time. Heads are divided over the devices. D devices, n heads on each, Q entries.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int

from net2vec_jax.core.devices import divide_evenly, fetch, make_mesh, pad_first_axis, place_parts
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.heads import Heads
from net2vec_jax.probes.segmentation.grid_targets import bring_to_grid

HEADS_PER_BLOCK = 16
BYTES_PER_CHUNK = {"cpu": 2**21}
BYTES_PER_CHUNK_ELSEWHERE = 2**28


class Entries(NamedTuple):
    """Q (head, image) entries, and the pair of the masks that is each one's target.

    Attributes:
      head: int [Q].
      image: int [Q].
      pair: int [Q].
    """

    head: np.ndarray
    image: np.ndarray
    pair: np.ndarray

    def select(self, chosen: np.ndarray | slice) -> Entries:
        """These entries only."""
        return Entries(*(column[chosen] for column in self))


class Blocks(NamedTuple):
    """Images with their heads, in chunks; a null head has number n.

    Attributes:
      image: [.., chunks, c].
      head: number on the device, [.., chunks, c, b].
      target: row of the device's targets, [.., chunks, c, b].
    """

    image: Int[Array | np.ndarray, "*D chunks c"]
    head: Int[Array | np.ndarray, "*D chunks c b"]
    target: Int[Array | np.ndarray, "*D chunks c b"]


def train_entries(
    heads: Heads, masks: ConceptMasks, targets: Int[np.ndarray, " P"] | None = None
) -> Entries:
    """Every head with every train image of its concept, heads ascending.

    Args:
      heads: H heads.
      masks: the concepts' masks, P pairs.
      targets: the pair whose mask each pair is trained on; by default its own.

    Raises:
      Net2VecError: a head's concept has no train image.
    """
    train = np.flatnonzero(~masks.pair_is_val)
    count = np.bincount(masks.pair_concept[train], minlength=len(masks.catalog))
    first = (np.cumsum(count) - count)[heads.concept]
    count = count[heads.concept]
    if count.min(initial=1) < 1:
        concept = masks.catalog.concepts[heads.concept[count.argmin()]]
        raise Net2VecError(f"concept {concept.name!r} has no train image")
    head = np.repeat(np.arange(len(heads)), count)
    within = np.arange(len(head)) - np.repeat(np.cumsum(count) - count, count)
    pair = train[np.repeat(first, count) + within]
    return Entries(head, masks.pair_image[pair], pair if targets is None else targets[pair])


class DividedEntries:
    """Entries of H heads divided over all devices.

    Attributes:
      mesh: the devices.
      size: n, heads of a device, padded.
      blocks: on the devices.
      pairs: of the masks, that the targets of each device's blocks are.
      images: of every head, int64 [H].
    """

    def __init__(self, entries: Entries, heads: int, *, bytes_per_image: int) -> None:
        """Divide the entries so that all devices have about equally many.

        Raises:
          Net2VecError: there is no head, or one without an image.
        """
        self.images = np.bincount(entries.head, minlength=heads)
        if not heads or self.images.min() < 1:
            raise Net2VecError("there is no head, or one without an image")
        self.mesh: Mesh = make_mesh()
        self._heads = divide_evenly(self.images, self.mesh.size)
        self.size = max(max(map(len, self._heads)), 1)
        limit = BYTES_PER_CHUNK.get(jax.default_backend(), BYTES_PER_CHUNK_ELSEWHERE)
        at_once = int(np.clip(limit // bytes_per_image, 1, 64))
        laid = [self._lay(entries, place, at_once) for place in range(self.mesh.size)]
        self.pairs = [pairs for _, pairs in laid]
        chunks = max(len(blocks.image) for blocks, _ in laid)

        def place(field: str, null: int) -> Array:
            return place_parts(
                self.mesh,
                lambda d: pad_first_axis(np.asarray(getattr(laid[d][0], field)), chunks, null),
            )

        self.blocks = Blocks(place("image", 0), place("head", self.size), place("target", 0))

    def _lay(self, entries: Entries, place: int, at_once: int) -> tuple[Blocks, np.ndarray]:
        """A device's blocks; and the pairs that its targets are."""
        local = np.full(len(self.images), -1)
        local[self._heads[place]] = np.arange(len(self._heads[place]))
        mine = entries.select(local[entries.head] >= 0)
        pairs, target = np.unique(mine.pair, return_inverse=True)
        order = np.lexsort([mine.head, mine.image])
        image, first, count = np.unique(mine.image[order], return_index=True, return_counts=True)
        blocks = -(-count // HEADS_PER_BLOCK)
        within = np.arange(len(order)) - np.repeat(first, count)
        row = np.repeat(np.cumsum(blocks) - blocks, count) + within // HEADS_PER_BLOCK
        chunks = -(-int(blocks.sum()) // at_once)
        shape = (chunks * at_once, HEADS_PER_BLOCK)
        head, targets = np.full(shape, self.size, np.int32), np.zeros(shape, np.int32)
        head[row, within % HEADS_PER_BLOCK] = local[mine.head[order]]
        targets[row, within % HEADS_PER_BLOCK] = target[order]
        images = pad_first_axis(np.repeat(image, blocks).astype(np.int32), len(head))
        return Blocks(
            images.reshape(chunks, at_once),
            head.reshape(chunks, at_once, -1),
            targets.reshape(chunks, at_once, -1),
        ), pairs

    def place(self, values: np.ndarray) -> Array:
        """Values of the heads [H, ...] as float32, divided: [D, n, ...]; 1 in the padding."""
        values = np.asarray(values, np.float32)
        return place_parts(
            self.mesh, lambda d: pad_first_axis(values, self.size, 1, rows=self._heads[d])
        )

    def place_targets(self, masks: ConceptMasks, grid: tuple[int, int]) -> Array:
        """Targets of the blocks on the activation grid, divided: float32 [D, m, p]."""
        rows = max(map(len, self.pairs))
        return place_parts(
            self.mesh, lambda d: pad_first_axis(bring_to_grid(masks, self.pairs[d], grid), rows)
        )

    def bring(self, divided: Array) -> np.ndarray:
        """The inverse of `place`: a numpy array [H, ...] on every host."""
        parts = fetch(divided)
        whole = np.zeros((len(self.images), *parts.shape[2:]), parts.dtype)
        for heads, part in zip(self._heads, parts, strict=True):
            whole[heads] = part[: len(heads)]
        return whole
