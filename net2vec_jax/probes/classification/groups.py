"""What the classification probe trains: heads by concept and repetition, and their images."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, UInt32

from net2vec_jax.core.devices import (
    COPIED,
    DIVIDED,
    fetch,
    make_mesh,
    place_copies,
    place_parts,
)
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.classification.model import score
from net2vec_jax.probes.classification.sampling import (
    BalancedSampler,
    Sampler,
    count_positives,
    draw_words,
    make_sampler,
)
from net2vec_jax.probes.heads import Heads, draw_initial_weights, fill_up

VAL_DRAW = 2**31
"""In place of an epoch's number: the val images, drawn once, the same for every seed."""


@dataclasses.dataclass(frozen=True, eq=False)
class HeadGroups:
    """Heads in G groups of up to R: those of a concept and a repetition see the same images.

    Attributes:
      concept: int32 [G], position of the concept in the catalog.
      seed: int32 [G], the repetition.
      number: int64 [G], the concept's label number.
      name: the concept's name, G of them.
      rows: int32 [G, R], rows of the group's heads in the table; -1 where it has fewer than R.
      sampler: of the train images.
      count: int64 [G], train images per epoch.
    """

    concept: np.ndarray
    seed: np.ndarray
    number: np.ndarray
    name: tuple[str, ...]
    rows: np.ndarray
    sampler: Sampler
    count: np.ndarray

    def __len__(self) -> int:
        return len(self.concept)

    def draw_words(self, key: Array, epoch: int) -> Array:
        """Random words of an epoch's images, uint32 [G, 6]."""
        return draw_words(key, self.number, self.seed, epoch)

    def lay(self, values: np.ndarray) -> np.ndarray:
        """Values of the heads [H, ...] by group, [G, R, ...]; 0 where a group has fewer heads."""
        there = (self.rows >= 0).reshape(*self.rows.shape, *(1,) * (np.ndim(values) - 1))
        return np.where(there, np.asarray(values)[self.rows], 0)

    def bring(self, laid: np.ndarray) -> np.ndarray:
        """The inverse of `lay`: values [G, R, ...] as those of the heads [H, ...]."""
        there = self.rows >= 0
        values = np.zeros((int(there.sum()), *laid.shape[2:]), laid.dtype)
        values[self.rows[there]] = laid[there]
        return values


def find_shortages(masks: ConceptMasks, minimum: int) -> dict[int, str]:
    """Concepts with too few images with or without them, and what they lack.

    Args:
      masks: the concepts and their images.
      minimum: images that a concept must have of each kind, in either split; at least 1.

    Returns:
      {position in the catalog: "2 val images without it, at least 5 are needed"}.

    Raises:
      Net2VecError: `minimum` is below 1.
    """
    if minimum < 1:
        raise Net2VecError(f"the minimum of images must be at least 1, not {minimum}")
    kinds = zip(("with", "without"), count_positives(masks), strict=True)
    counts = [
        (values[split], f"{name} images {kind} it")
        for kind, values in kinds
        for split, name in enumerate(("train", "val"))
    ]
    reasons = {}
    for place in range(len(masks.catalog)):
        few = [f"{values[place]} {name}" for values, name in counts if values[place] < minimum]
        if few:
            reasons[place] = f"{', '.join(few)}; at least {minimum} are needed"
    return reasons


def make_classification_heads(
    masks: ConceptMasks, *, filters: int, key: Array, seeds: int = 1, minimum: int = 1
) -> Heads:
    """One head over all filters per repetition and concept that has enough images (behaviour 6.2).

    Weights are uniform in ±1/√K, the bias in 0 … 1, from the concept's number and the seed alone.

    Args:
      masks: the concepts and their images.
      filters: K.
      key: PRNG key of the run.
      seeds: repetitions, which differ in initial weights and images.
      minimum: see `find_shortages`.

    Raises:
      Net2VecError: `seeds` or `minimum` is below 1.
    """
    if seeds < 1:
        raise Net2VecError(f"seeds must be at least 1, not {seeds}")
    short = find_shortages(masks, minimum)
    kept = np.array([c for c in range(len(masks.catalog)) if c not in short], np.int32)
    concept = np.tile(kept, seeds)
    seed = np.repeat(np.arange(seeds, dtype=np.int32), len(kept))

    numbers = masks.catalog.numbers[concept]
    drawn = _draw_weights(key, fill_up(numbers), fill_up(seed), filters=filters)
    weights, bias = (np.asarray(each)[: len(concept)] for each in drawn)
    return Heads.of(concept, weights, initial_bias=bias, seed=seed)


@partial(jax.jit, static_argnames=("filters",))
def _draw_weights(
    key: Array, numbers: UInt32[Array, " H"], seeds: UInt32[Array, " H"], *, filters: int
) -> tuple[Float[Array, "H K"], Float[Array, " H"]]:
    def fold(number: Array, seed: Array) -> Array:
        return jax.random.split(jax.random.fold_in(jax.random.fold_in(key, seed), number))

    keys = jax.vmap(fold)(numbers, seeds)
    return draw_initial_weights(keys[:, 0], filters), jax.vmap(jax.random.uniform)(keys[:, 1])


def group_heads(heads: Heads, masks: ConceptMasks) -> HeadGroups:
    """The heads by concept and repetition, and which train images each group sees.

    Args:
      heads: H heads.
      masks: the concepts and their images.
    """
    pairs = np.stack([heads.concept, heads.seed], axis=1)
    unique, group = np.unique(pairs, axis=0, return_inverse=True)
    order = np.lexsort([heads.filters, group])
    sizes = np.bincount(group, minlength=len(unique))
    rows = np.full((len(unique), int(sizes.max(initial=0))), -1, np.int32)
    place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rows[group[order], place] = order
    concept, seed = unique.T.astype(np.int32)
    positives, negatives = count_positives(masks)
    return HeadGroups(
        concept=concept,
        seed=seed,
        number=masks.catalog.numbers[concept],
        name=tuple(masks.catalog.concepts[place].name for place in concept),
        rows=rows,
        sampler=make_sampler(masks, concept, val=False, shuffled=True),
        count=2 * np.minimum(positives[0], negatives[0])[concept],
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class ClassificationCounts:
    """What every head says of its concept's val images, Q (head, image) entries.

    Attributes:
      head: int32 [Q], ascending; row of the heads.
      image: int32 [Q], position in the dataset; in the same order for all heads of a concept.
      shows: bool [Q], whether the image shows the concept.
      logit: float32 [Q].
    """

    head: np.ndarray
    image: np.ndarray
    shows: np.ndarray
    logit: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """bool [Q]: on the right side of 0; 0 itself is wrong (behaviour 6.4)."""
        return np.where(self.shows, self.logit > 0, self.logit < 0)


def evaluate_classification(
    heads: Heads,
    weights: Float[np.ndarray, "H K"],
    bias: Float[np.ndarray, " H"],
    pooled: Float[np.ndarray, "P N K"],
    masks: ConceptMasks,
    *,
    key: Array,
    chunk_size: int = 512,
) -> ClassificationCounts:
    """Score every concept's balanced val images, the same for all its heads (behaviour 6.3).

    Images are divided over all devices.

    Args:
      heads: H heads.
      weights: of the heads.
      bias: of the heads.
      pooled: pooled activations of all N images.
      masks: the concepts and their images.
      key: PRNG key of the run; the same as in training.
      chunk_size: images scored at a time on a device.
    """
    # All heads of a concept in a group, so that an image's activations are read once for them.
    groups = group_heads(dataclasses.replace(heads, seed=np.zeros_like(heads.seed)), masks)
    concept = groups.concept
    positives, negatives = count_positives(masks)
    count = 2 * np.minimum(positives[1], negatives[1])[concept]
    item = np.repeat(np.arange(len(concept)), count)
    place = np.arange(len(item)) - np.repeat(np.cumsum(count) - count, count)
    sampler = make_sampler(masks, concept, val=True, shuffled=False)
    words = draw_words(key, groups.number, np.zeros(len(concept), int), VAL_DRAW)
    mesh = make_mesh()
    padding = -len(item) % (chunk_size * mesh.size)

    def place_chunks(values: np.ndarray) -> Array:
        chunks = np.pad(values.astype(np.int32), (0, padding)).reshape(mesh.size, -1, chunk_size)
        return place_parts(mesh, chunks.__getitem__)

    values = (groups.lay(weights), groups.lay(bias), pooled)
    copies = (sampler, words, *(np.asarray(value, np.float32) for value in values))
    image, shows, logits = fetch(
        _score_chunks(
            place_chunks(item), place_chunks(place), *place_copies(mesh, copies), mesh=mesh
        )
    )
    kept = slice(None, len(item))
    head = groups.rows[item]  # [items, R]
    entry, column = np.nonzero(head >= 0)
    order = np.argsort(head[entry, column], kind="stable")  # an entry's place stays within a head
    entry, column = entry[order], column[order]
    return ClassificationCounts(
        head=head[entry, column],
        image=image.reshape(-1)[kept][entry],
        shows=shows.reshape(-1)[kept][entry],
        logit=logits.reshape(-1, head.shape[1])[kept][entry, column],
    )


@partial(jax.jit, static_argnames=("mesh",))
def _score_chunks(
    item: Int[Array, "D chunks size"],
    place: Int[Array, "D chunks size"],
    sampler: BalancedSampler,
    words: Array,
    weights: Float[Array, "C H K"],
    bias: Float[Array, "C H"],
    pooled: Float[Array, "P N K"],
    *,
    mesh: Mesh,
) -> tuple[Array, Array, Array]:
    """Images, whether they show the concept, and logits; devices come first."""

    def on_device(
        item: Array, place: Array, sampler: BalancedSampler, words: Array, weights: Array,
        bias: Array, pooled: Array,
    ) -> tuple[Array, Array, Array]:  # fmt: skip
        def chunk(indices: tuple[Array, Array]) -> tuple[Array, Array, Array]:
            item, place = indices
            image, shows = sampler.draw(item, words[item], place)
            logits = score(weights[item], bias[item], pooled[:, image][:, :, None])
            return image, shows, logits[:, 0]

        return jax.tree.map(lambda x: x[None], jax.lax.map(chunk, (item[0], place[0])))

    every_device = jax.shard_map(
        on_device,
        mesh=mesh,
        in_specs=(DIVIDED, DIVIDED, COPIED, COPIED, COPIED, COPIED, COPIED),
        out_specs=DIVIDED,
        check_vma=False,
    )
    return every_device(item, place, sampler, words, weights, bias, pooled)
