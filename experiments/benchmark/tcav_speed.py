"""How long do TCAV scores of many concepts and classes take, here and by captum?

  python -m experiments.benchmark.tcav_speed --concepts 100 --classes 20

Both sides have EfficientNet-Lite0's weights, the same images, layer and directions, which are
given, so that nothing is trained; captum takes them as a classifier that returns them. Ours
measures the layer's gradients once for all classes, and derivatives along all directions by one
product; captum goes through the network for every class. Sign counts must agree, but for
derivatives near 0.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import torch

from experiments.benchmark.measurement import describe_machine, timed
from experiments.torch_reference.networks import build_torch_network, state_arrays
from experiments.torch_reference.tcav import count_signs
from net2vec_jax.analysis.use.directions import draw_directions
from net2vec_jax.analysis.use.sensitivity import differentiate_classes
from net2vec_jax.core.console import run_script
from net2vec_jax.networks.load import NETWORKS, port_network
from net2vec_jax.networks.network import Network

NAME, LAYER, TORCH_LAYER, CHANNELS = "efficientnet_lite0", "block10", "_blocks.10", 112


@dataclasses.dataclass(frozen=True)
class TcavSpeedFlags:
    """Flags of the comparison.

    Attributes:
      concepts: how many directions.
      classes: how many classes.
      images: on which derivatives are taken.
      side: of the images, pixels.
      rounds: how often ours is timed; captum once.
    """

    concepts: int = 100
    classes: int = 20
    images: int = 32
    side: int = 224
    rounds: int = 3


@functools.partial(jax.jit, static_argnames=("classes",))
def _derive(
    network: Network, images: jax.Array, directions: jax.Array, *, classes: int
) -> jax.Array:
    response = network.activations(images, [LAYER])[LAYER]
    members = jnp.arange(classes)[:, None] == jnp.arange(1000)
    _, gradients = differentiate_classes(network, response, images, members, layer=LAYER)
    return jnp.einsum("nyk,ck->ncy", gradients, directions)


def main(flags: TcavSpeedFlags) -> None:
    """Time both sides and compare their sign counts."""
    torch.set_num_threads(int(describe_machine()["cores"]))
    module = build_torch_network(NAME)
    network = port_network(NETWORKS[NAME], state_arrays(NAME, module), origin="torch's weights")
    size = (flags.images, flags.side, flags.side, 3)
    images = np.random.default_rng(0).standard_normal(size, np.float32)
    directions = draw_directions(jax.random.key(0), flags.concepts, CHANNELS).astype(np.float32)
    mesh = jax.make_mesh((jax.device_count(),), ("images",))
    placed = jax.device_put(images, jax.NamedSharding(mesh, jax.P("images")))
    derive = functools.partial(
        _derive, network, placed, jnp.asarray(directions), classes=flags.classes
    )
    first = timed(lambda: jax.block_until_ready(derive()))[1]
    runs = [timed(lambda: jax.block_until_ready(derive())) for _ in range(flags.rounds)]
    ours = float(np.median([seconds for _, seconds in runs]))
    pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    (signs, _), theirs = timed(
        lambda: count_signs(module, TORCH_LAYER, pixels, directions, range(flags.classes))
    )
    differ = np.abs((np.asarray(runs[0][0]) > 0).sum(0) - signs)
    print(f"{flags.concepts} concepts × {flags.classes} classes × {flags.images} images; "
          f"{describe_machine()}")  # fmt: skip
    print(f"ours {ours:.2f} s (first call {first:.2f} s), captum {theirs:.2f} s: "
          f"{theirs / ours:.1f} times as long")  # fmt: skip
    print(f"sign counts differ by {differ.max()} of {flags.images} images at most, "
          f"in {np.mean(differ > 0):.2%} of the pairs")  # fmt: skip


if __name__ == "__main__":
    run_script(main)
