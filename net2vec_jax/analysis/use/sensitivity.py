"""Does a class's logit rise along a concept's direction? (Kim et al. 2018, TCAV)

The direction v is added at every place of the layer, so that the derivative of a logit along it is
Σ_places ∇·v = G·v, G [K] the gradient summed over places. One backward pass per image and class
gives G, and a product with all directions at once everything else. n images, Y classes, K channels,
P places.

Two things could be mistaken for use. Noise: v is measured on some images; `compare_exchanged` gives
every image the score of another image of the concept. And luck: any direction has some derivative;
`compare_random` asks how often a random one has as large a one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.stats import beta

from net2vec_jax.networks.network import Network


def pool_classes(
    logits: Float[Array, "n L"], members: Bool[Array | np.ndarray, "Y L"]
) -> Float[Array, "n Y"]:
    """Logit of each class, log Σ exp over its members; of a single member its own.

    Examples:
      >>> members = np.array([[True, True, False], [False, False, True]])
      >>> pool_classes(jnp.array([[0.0, 0.0, 5.0]]), members).round(2).tolist()
      [[0.6899999976158142, 5.0]]
    """
    shown = jnp.where(jnp.asarray(members)[None], logits[:, None], -jnp.inf)
    return jax.nn.logsumexp(shown, axis=2)


def sum_gradients(
    go_on: Callable[..., Float[Array, "1 Y"]],
    response: Float[Array, "n *places K"],
    *given: Float[Array, "n ..."],
) -> tuple[Float[Array, "n Y"], Float[Array, "n Y K"]]:
    """Every class's logit, and its gradient by the response, summed over places.

    On CPUs one image at a time: the gradients of all classes of more do not fit in the cache.

    Args:
      go_on: makes the logits of images, each by itself, of their responses and what is given.
      response: [n, h, w, K] or [n, K].
      given: what else `go_on` takes of each image.

    Examples:
      >>> go_on = lambda response: response.sum((1, 2)) @ jnp.array([[1.0, 0.0], [2.0, 3.0]])
      >>> sum_gradients(go_on, jnp.ones((1, 2, 2, 2)))[1].tolist()
      [[[4.0, 8.0], [0.0, 12.0]]]
    """

    def differentiate(taken: tuple[Array, ...]) -> tuple[Array, Array]:
        response, *given = taken
        logits, pull = jax.vjp(lambda response: go_on(response, *given), response)
        classes = logits.shape[1]
        one_hot = jnp.eye(classes, dtype=logits.dtype)[:, None]
        (gradients,) = jax.vmap(pull)(jnp.broadcast_to(one_hot, (classes, *logits.shape)))
        summed = gradients.reshape(classes, len(response), -1, response.shape[-1]).sum(2)
        return logits, summed.transpose(1, 0, 2)

    if jax.default_backend() != "cpu":
        return differentiate((response, *given))
    apart = tuple(values[:, None] for values in (response, *given))
    logits, gradients = jax.lax.map(differentiate, apart)
    return logits[:, 0], gradients[:, 0]


@jax.jit(static_argnames=("layer",))
def differentiate_classes(
    network: Network,
    response: Float[Array, "n *places K"],
    images: Float[Array, "n H W 3"],
    members: Bool[Array, "Y L"],
    *,
    layer: str,
) -> tuple[Float[Array, "n Y"], Float[Array, "n Y K"]]:
    """`sum_gradients` of classes of a network, from a layer's response on.

    This host's devices share the images, if their number divides n.

    Args:
      network: which goes on from the layer to L logits.
      response: of the layer to the images.
      images: as the network takes them.
      members: the logits that make each class, see `pool_classes`.
      layer: its name.
    """

    def go_on(response: Array, image: Array) -> Array:
        return pool_classes(network.continue_from(layer, response, image), members)

    devices = jax.local_devices()
    devices = devices if len(response) % len(devices) == 0 else devices[:1]
    mesh = jax.sharding.Mesh(np.array(devices), ("images",))
    divided = jax.sharding.PartitionSpec("images")
    share = jax.shard_map(
        partial(sum_gradients, go_on), mesh=mesh, in_specs=divided, out_specs=divided,
        check_vma=False,
    )  # fmt: skip
    return share(response, images)


def compare_random(
    gradient: Float[np.ndarray, "*#axes K"], direction: Float[np.ndarray, "*#axes K"]
) -> np.ndarray:
    """P-value: how often a random direction of the same length has as large a derivative.

    The squared cosine of a fixed and a random direction in K dimensions is Beta(1/2, (K − 1)/2)
    distributed; nothing is drawn. Of a gradient that is 0 the p-value is 1.

    Args:
      gradient: mean over images; axes are broadcast.
      direction: of any length but 0.

    Examples:
      >>> compare_random(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([1.0, 0.0])).round(2).tolist()
      [0.0, 0.5]
    """
    product = (gradient * direction).sum(-1)
    lengths = np.linalg.norm(gradient, axis=-1) * np.linalg.norm(direction, axis=-1)
    square = np.divide(product, lengths, out=np.zeros_like(product), where=lengths > 0) ** 2
    channels = np.shape(direction)[-1]
    return np.asarray(beta.sf(square.clip(0, 1), 0.5, max(channels - 1, 1e-9) / 2))


def compare_exchanged(
    along: Float[np.ndarray, "n P Y"],
    score: Float[np.ndarray, "n P"],
    *,
    key: Array,
    draws: int = 2000,
) -> Float[np.ndarray, " Y"]:
    """P-value: how often scores (or masks) of other images give as large a derivative.

    A direction that is a covariance with a score has the derivative Cov(A·G, s): a permutation test
    of whether the score belongs to its own image. Where a concept mostly is, the exchanged scores
    know too. Two-sided, around the mean of all permutations.

    Args:
      along: responses of the concept's images along each class's mean gradient, A·G.
      score: of the same images.
      key: PRNG key.
      draws: permutations; no p-value lies below 1 / (draws + 1).
    """
    centred = score - score.mean()
    # By pairs of an image's responses and an image's scores, less what all permutations share.
    pairs = np.einsum("npy,mp->ynm", along, centred, optimize=True)
    pairs -= pairs.mean((1, 2), keepdims=True)
    rows = np.arange(len(score))
    own = np.abs(pairs[:, rows, rows].sum(1))
    keys = jax.random.split(key, draws)
    orders = np.asarray(jax.vmap(lambda key: jax.random.permutation(key, len(score)))(keys))
    drawn = np.abs(pairs[:, rows, orders].sum(2))  # [Y, draws]
    at_least = (drawn >= own[:, None] * (1 - 1e-9)).sum(1)
    return (1 + at_least) / (draws + 1)
