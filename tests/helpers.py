"""Builders of small problems, shared by all tests.

Everything is drawn from an explicit seed and small enough to be checked by brute force.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from matplotlib.figure import Figure

from net2vec_jax.activations.binary import BinaryActivations
from net2vec_jax.activations.standardized import StandardizedActivations
from net2vec_jax.data.concepts import Concept, ConceptCatalog
from net2vec_jax.data.dataset import ImageLabels
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.networks.network import Network
from net2vec_jax.probes.segmentation.model import ProbeData
from net2vec_jax.probes.segmentation.score_maps import (
    ArrangedActivations,
    Form,
    arrange_activations,
)

jit_once = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
"""For programs of whole networks that run once: compiled in a fifth of the time."""


@functools.partial(jit_once, static_argnames="layers")
def respond(network: Network, images: Array, layers: tuple[str, ...]) -> dict[str, Array]:
    """Activations of the layers, computed as one program."""
    return network.activations(images, layers)


def draw_weights(network: Network, seed: int = 0) -> Network:
    """The network, of which only shapes need be known, with random weights, biases included.

    They are drawn by numpy, which needs no compilation, uniformly, which is quick.
    """
    rng = np.random.default_rng(seed)

    def draw(leaf: jax.ShapeDtypeStruct) -> Array:
        deviation = (2 / np.prod(leaf.shape[:-1])) ** 0.5 if len(leaf.shape) > 1 else 0.1
        weights = rng.random(leaf.shape, np.float32) - np.float32(0.5)
        return jnp.asarray(np.float32(deviation * 12**0.5) * weights)

    return jax.tree.map(draw, network)


@functools.partial(jit_once, static_argnames="dtype")
def cast(network: Network, dtype: str) -> Network:
    """The network with weights of another type."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype), network)


def make_catalog(count: int) -> ConceptCatalog:
    """Objects with the numbers 1 … count."""
    return ConceptCatalog(
        tuple(Concept(n, f"concept {n}", {"object": 1}, "object") for n in range(1, count + 1))
    )


def pack_masks(masks: np.ndarray) -> np.ndarray:
    """bool [P, Y, X] to the form that `ConceptMasks` documents, bit by bit."""
    pairs, height, width = masks.shape
    packed = np.zeros((pairs, -(-height // 8), width), np.uint8)
    for y in range(height):
        packed[:, y // 8] |= masks[:, y].astype(np.uint8) << (y % 8)
    return packed


def make_masks(
    is_val: Sequence[bool], marked: dict[tuple[int, int], np.ndarray], concepts: int
) -> ConceptMasks:
    """Masks from {(concept position, image): bool [Y, X]}."""
    pairs = sorted(marked)
    masks = np.stack([marked[pair] for pair in pairs])
    return ConceptMasks(
        catalog=make_catalog(concepts),
        is_val=np.array(is_val, bool),
        pair_concept=np.array([concept for concept, _ in pairs], np.int32),
        pair_image=np.array([image for _, image in pairs], np.int32),
        packed=pack_masks(masks),
        pixels=masks.sum(axis=(1, 2)).astype(np.int32),
        whole_image=np.zeros(len(pairs), bool),
        segmentation_size=masks.shape[1:],
        category_choice="union",
    )


def pack_activations(bits: np.ndarray) -> BinaryActivations:
    """bool [N, h, w, K] to binary activations, bit by bit."""
    images, height, width, filters = bits.shape
    packed = np.zeros((images, height * width, -(-filters // 8)), np.uint8)
    for k in range(filters):
        packed[:, :, k // 8] |= bits[..., k].reshape(images, -1).astype(np.uint8) << (k % 8)
    return BinaryActivations(packed, (height, width), filters)


def list_activations(activations: BinaryActivations) -> BinaryActivations:
    """The same activations as lists only."""
    return dataclasses.replace(activations, packed=None, entries=activations.active_entries)


def make_random_problem(
    seed: int,
    *,
    images: int = 14,
    concepts: int = 3,
    filters: int = 11,
    grid: tuple[int, int] = (4, 3),
    segmentation_size: tuple[int, int] = (13, 10),
    density: float = 0.12,
) -> tuple[BinaryActivations, ConceptMasks]:
    """Random binary activations and masks; every concept has train and val images.

    How many images of each split a concept has depends on the sizes alone, so that problems of the
    same sizes share compiled programs; which images, masks and activations depends on the seed.
    Image 0 has no active filter and shows every concept. The masks are coarse blocks.
    """
    rng = np.random.default_rng(seed)
    bits = rng.random((images, *grid, filters)) < density
    bits[0] = False
    train = min(-(-images * 2 // 3), images - 1)
    is_val = np.arange(images) >= train
    rows = np.arange(segmentation_size[0]) * grid[0] // segmentation_size[0]
    columns = np.arange(segmentation_size[1]) * grid[1] // segmentation_size[1]
    marked = {}
    for concept in range(concepts):
        share = 0.9 - 0.6 * concept / max(concepts - 1, 1)
        shown = [0, *rng.choice(np.arange(1, train), int(share * (train - 1)), replace=False)]
        shown += rng.choice(
            np.arange(train, images), max(1, int(share * (images - train))), replace=False
        ).tolist()
        for image in shown:
            coarse = rng.random(grid) < 0.3
            marked[concept, int(image)] = coarse[np.ix_(rows, columns)]
    return pack_activations(bits), make_masks(is_val, marked, concepts)


def make_linear_problem(
    seed: int,
    *,
    images: int = 30,
    noise: Sequence[float] = (0.0, 0.5),
    filters: int = 5,
    grid: tuple[int, int] = (4, 3),
    segmentation_size: tuple[int, int] = (13, 10),
) -> tuple[StandardizedActivations, ConceptMasks]:
    """Standardised activations, and a concept for every noise, linear in them but for the noise.

    The last third of the images is val. Which images show a concept does not depend on the seed,
    so that problems of the same sizes share compiled programs.
    """
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(images, *grid, filters)).astype(np.float32)
    marked = {}
    for concept, size in enumerate(noise):
        direction = rng.normal(size=filters)
        score = values @ (direction / np.linalg.norm(direction))
        score = (score + size * rng.normal(size=score.shape)) / np.sqrt(1 + size**2)
        pixels = upsample_by_loop(score, segmentation_size) > 0.4
        for image in range(images):
            if image % (concept + 3):
                marked[concept, image] = pixels[image]
    is_val = np.arange(images) >= images * 2 // 3
    activations = StandardizedActivations(values.reshape(images, -1, filters), grid)
    return activations, make_masks(is_val, marked, len(noise))


def place_activations(
    activations: BinaryActivations, form: Form | None = None
) -> ArrangedActivations:
    """Binary activations on the default device."""
    return jax.tree.map(jnp.asarray, arrange_activations(activations, form))


def place_data(
    activations: BinaryActivations, masks: ConceptMasks, form: Form | None = None
) -> ProbeData:
    """All pairs on the default device, numbered as in `masks`."""
    return ProbeData(
        place_activations(activations, form),
        jnp.asarray(masks.pair_image),
        jnp.asarray(masks.packed),
        jnp.asarray(masks.area, jnp.float32),
    )


def upsample_by_loop(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Align-corners bilinear upsampling [..., h, w] → [..., Y, X], float64, pixel by pixel.

    Output i of m samples the input of n at i·(n − 1) / (m − 1).
    """
    height, width = maps.shape[-2:]
    out = np.zeros((*maps.shape[:-2], *size))
    for y in range(size[0]):
        for x in range(size[1]):
            v = y * (height - 1) / (size[0] - 1) if size[0] > 1 else 0.0
            u = x * (width - 1) / (size[1] - 1) if size[1] > 1 else 0.0
            top, left = int(v), int(u)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            dv, du = v - top, u - left
            upper = (1 - du) * maps[..., top, left] + du * maps[..., top, right]
            lower = (1 - du) * maps[..., bottom, left] + du * maps[..., bottom, right]
            out[..., y, x] = (1 - dv) * upper + dv * lower
    return out


class ListDataset:
    """A `ConceptDataset` of labels in memory; its images are grey."""

    def __init__(
        self,
        catalog: ConceptCatalog,
        categories: Sequence[str],
        labels: Sequence[ImageLabels],
        segmentation_size: tuple[int, int],
        is_val: Sequence[bool] | None = None,
    ) -> None:
        self.name = "list"
        self.catalog = catalog
        self.categories = tuple(categories)
        self.image_names = tuple(f"{index}.jpg" for index in range(len(labels)))
        self.is_val = np.array(is_val if is_val is not None else [False] * len(labels), bool)
        self.segmentation_size = segmentation_size
        self.fingerprint = "0"
        self._labels = list(labels)

    def __len__(self) -> int:
        return len(self._labels)

    def image(self, index: int) -> np.ndarray:
        height, width = self.segmentation_size
        return np.full((2 * height, 2 * width, 3), index, np.uint8)

    def labels(self, index: int) -> ImageLabels:
        return self._labels[index]


def train_by_loop(
    weights: np.ndarray,
    mask: np.ndarray,
    concept: int,
    activations: BinaryActivations,
    masks: ConceptMasks,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float = 1e-4,
    momentum: float = 0.9,
    loss: str = "linear",
    legacy_single_image_scale: bool = False,
) -> tuple[np.ndarray, list[float]]:
    """Train one head as reference spec 5.2–5.7 says, in float64, batch by batch.

    Returns:
      (weights [K], mean loss over the images of each epoch).
    """
    pairs = np.flatnonzero((masks.pair_concept == concept) & ~masks.pair_is_val)
    bits = activations.unpack(masks.pair_image[pairs]).transpose(0, 3, 1, 2).astype(float)
    maps = upsample_by_loop(bits, masks.segmentation_size)  # [n, K, Y, X]
    targets = masks.unpack(pairs).astype(float)
    alpha = 1 - np.mean([target.mean() for target in targets])
    positive, negative = (alpha, 1 - alpha) if alpha != 0 else (1.0, 1.0)
    weights, velocity, losses = weights.astype(float) * mask, None, []
    for _ in range(epochs):
        total = 0.0
        for start in range(0, len(pairs), batch_size):
            x, t = maps[start : start + batch_size], targets[start : start + batch_size]
            p = 1 / (1 + np.exp(-np.einsum("nkyx,k->nyx", x, weights)))
            if loss == "linear":
                total -= (positive * t * p + negative * (1 - t) * (1 - p)).sum()
                dz = -(positive * t - negative * (1 - t)) * p * (1 - p)
            else:
                total -= (positive * t * np.log(p) + negative * (1 - t) * np.log(1 - p)).sum()
                dz = -(positive * t * (1 - p) - negative * (1 - t) * p)
            divisor = len(x)
            if divisor == 1 and legacy_single_image_scale:
                divisor = masks.segmentation_size[0]
            gradient = np.einsum("nyx,nkyx->k", dz, x) / divisor * mask
            velocity = gradient if velocity is None else momentum * velocity + gradient
            weights = weights - learning_rate * velocity
        losses.append(total / len(pairs))
    return weights, losses


def import_script(name: str) -> ModuleType:
    """The module of a script's `main`; of a folder of modules its __main__."""
    module = importlib.import_module(name)
    return module if hasattr(module, "main") else importlib.import_module(f"{name}.__main__")


def is_script(root: Path, name: str) -> bool:
    """Whether experiments has a script of this name: a file, or a folder with __main__."""
    files = (root / "experiments" / f"{name}.py", root / "experiments" / name / "__main__.py")
    return any(path.is_file() for path in files)


def lay_out(figure: Figure) -> None:
    """What the layout of a figure warns of, as it would be saved, is an error."""
    from net2vec_jax.plots.paper_style import paper_style

    with paper_style():
        figure.set_dpi(200)
        figure.draw_without_rendering()
