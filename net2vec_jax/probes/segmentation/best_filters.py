"""The best single filter of a concept under the embeddings' own decision rule.

A filter with the freedom that an embedding has after training: its sign, and the level above which
it marks. Chosen on train images by set IoU on the activation grid, see `grid_targets`.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from net2vec_jax.activations.standardized import StandardizedActivations
from net2vec_jax.core.devices import COPIED, DIVIDED, place_copies
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.probes.segmentation.grid_targets import mass_of_positions
from net2vec_jax.probes.segmentation.image_blocks import Blocks, DividedEntries, Entries
from net2vec_jax.probes.segmentation.model import geometry_of

LEVELS = 32
SMALLEST_PART = 0.002
"""The extreme levels leave such a part of a filter's positions above, or below, them."""
SAMPLED_IMAGES = 512
"""Images from whose activations the levels are taken."""


def choose_signed_filters(
    activations: StandardizedActivations, masks: ConceptMasks, entries: Entries, heads: int
) -> tuple[Int[np.ndarray, " H"], Float[np.ndarray, " H"]]:
    """The filter, and its sign, that overlaps best with each concept on train images.

    A filter marks what is above a level, or with sign −1 what is below one.

    Args:
      activations: of all N images.
      masks: the concepts' masks.
      entries: train images of each head, see `image_blocks.train_entries`.
      heads: H, one for each concept.

    Returns:
      (filter; sign, 1 or -1).

    Raises:
      Net2VecError: activations and masks are not of the same images, or a head has no image.
    """
    geometry = geometry_of(activations, masks)
    mass = mass_of_positions(geometry.grid, geometry.segmentation_size)
    images = np.unique(entries.image)
    sample = images[:: -(-len(images) // SAMPLED_IMAGES)]
    half = np.geomspace(SMALLEST_PART, 0.5, LEVELS // 2)
    levels = np.quantile(
        activations.values[sample].reshape(-1, activations.filters),
        np.concatenate([half, 1 - half]),
        axis=0,
    ).astype(np.float32)
    divided = DividedEntries(
        entries, heads, bytes_per_image=8 * geometry.positions * activations.filters
    )
    on_grid = divided.place_targets(masks, geometry.grid)
    area = np.zeros(heads)
    np.add.at(area, entries.head, masks.area[entries.pair])
    total = divided.images * float(mass.sum(dtype=np.float64))
    shared, size = (
        divided.bring(part).astype(np.float64)
        for part in _count_levels(
            divided.blocks, on_grid,
            *place_copies(divided.mesh, (activations.values, levels, mass)),
            mesh=divided.mesh, heads=divided.size,
        )
    )  # fmt: skip  # [H, L, K] each
    area, total = area[:, None, None], total[:, None, None]
    above = shared / np.maximum(area + size - shared, 1e-20)
    below_shared, below_size = area - shared, total - size
    below = below_shared / np.maximum(area + below_size - below_shared, 1e-20)
    best = np.stack([above.max(axis=1), below.max(axis=1)], axis=1).reshape(heads, -1)
    chosen = best.argmax(axis=1)
    return (
        (chosen % activations.filters).astype(np.int32),
        np.where(chosen < activations.filters, 1, -1).astype(np.float32),
    )


@partial(jax.jit, static_argnames=("mesh", "heads"))
def _count_levels(
    blocks: Blocks,
    on_grid: Float[Array, "D m p"],
    values: Float[Array, "N p K"],
    levels: Float[Array, "L K"],
    mass: Float[Array, " p"],
    *,
    mesh: Mesh,
    heads: int,
) -> tuple[Float[Array, "D n L K"], Float[Array, "D n L K"]]:
    """Pixels of the concept above every level of every filter, and all pixels above it."""

    def on_device(
        blocks: Blocks, on_grid: Array, values: Array, levels: Array, mass: Array
    ) -> tuple[Array, Array]:
        blocks = jax.tree.map(lambda x: x[0], blocks)
        zeros = jnp.zeros((heads + 1, *levels.shape))

        def add_chunk(sums: tuple[Array, Array], chunk: Blocks) -> tuple[tuple[Array, Array], None]:
            x, target = values[jnp.asarray(chunk.image)], on_grid[0][chunk.target]

            def count(level: Array) -> tuple[Array, Array]:
                marked = (x > level[None, None, :]).astype(jnp.float32)
                return (
                    jnp.einsum("cbp,cpk->cbk", target, marked, precision="highest"),
                    jnp.einsum("p,cpk->ck", mass, marked, precision="highest"),
                )

            shared, size = jax.lax.map(count, levels)
            shared = shared.transpose(1, 2, 0, 3)
            size = jnp.broadcast_to(size.transpose(1, 0, 2)[:, None], shared.shape)
            return (sums[0].at[chunk.head].add(shared), sums[1].at[chunk.head].add(size)), None

        sums, _ = jax.lax.scan(add_chunk, (zeros, zeros), blocks)
        return jax.tree.map(lambda x: x[None, :-1], sums)

    return jax.shard_map(
        on_device,
        mesh=mesh,
        in_specs=(DIVIDED, DIVIDED, COPIED, COPIED, COPIED),
        out_specs=DIVIDED,
        check_vma=False,
    )(blocks, on_grid, values, levels, mass)
