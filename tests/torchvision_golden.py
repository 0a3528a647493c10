"""Networks in torch under weights that are a function of key and shape, and their outputs."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

NETWORKS = (
    "alexnet",
    "convnext_tiny",
    "densenet161",
    "googlenet",
    "mobilenet_v2",
    "resnet152",
    "resnet18",
    "resnet50",
    "squeezenet1_1",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vit_b_16",
)


def golden_array(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weights that the outputs were computed with: one fresh generator per key."""
    if key.endswith(("num_batches_tracked", "relative_position_index")):
        return np.zeros(shape, np.int64)
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    if key.endswith("running_var"):
        array = 0.5 + rng.random(shape)
    elif key.endswith("running_mean"):
        array = 0.1 * rng.standard_normal(shape)
    elif "position" in key:
        array = 0.5 * rng.standard_normal(shape)
    elif len(shape) <= 1:
        array = float(key.endswith("weight")) + 0.1 * rng.standard_normal(shape)
    else:
        array = rng.standard_normal(shape) * np.sqrt(1.5 / np.prod(shape[1:]))
    if key == "head.q.weight":  # CLIP's attention pooling: large scores only magnify rounding
        array = 0.002 * array
    return np.asarray(array, np.float32)


def golden_images() -> np.ndarray:
    """The two images, already normalised, [2, 224, 224, 3]."""
    images = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32)
    return images.transpose(0, 2, 3, 1)


def read_golden(folder: Path, name: str) -> dict[str, np.ndarray]:
    """Outputs of one network, by the names that `golden/make_torchvision.py` explains."""
    with np.load(folder / f"{name}.npz") as file:
        return dict(file)


def golden_state_dict(
    golden: dict[str, np.ndarray], draw: Callable[..., np.ndarray] = golden_array
) -> dict[str, np.ndarray]:
    """The network's state dict."""
    keys, shapes = json.loads(str(golden["keys"])), json.loads(str(golden["shapes"]))
    return {key: draw(key, tuple(shape)) for key, shape in zip(keys, shapes, strict=True)}


def tapped_modules(golden: dict[str, np.ndarray]) -> list[str]:
    """Torch paths of the modules whose outputs are known."""
    return [name.split("/")[1] for name in golden if name.endswith("/index")]
