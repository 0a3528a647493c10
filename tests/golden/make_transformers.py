"""Write transformers/NAME.npz: a few numbers of networks of torchvision, timm and transformers.

    PYTHONPATH=.:tests python tests/golden/make_transformers.py

The weights are those of `torchvision_golden.golden_array`, the images standard normal (torch 2.14,
torchvision 0.29, timm 1.0.31, transformers 5.24, CPU, float32). A file keeps

- `keys`, `shapes`: JSON texts, the state dict's keys in order and their shapes;
- `images`: the shape of the images, [N, height, width, 3];
- per layer `tap/LAYER/index` (64 flat indices into its output, laid out as here), `/value`
  (float32 there) and `/std`, the standard deviation of the whole output.

`listings.json.gz` has keys and shapes of all such networks in every library, by "NETWORK LIBRARY".
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import timm
import torch
import transformers
from torchvision_golden import golden_array
from transformers.core_model_loading import revert_weight_conversion

from experiments.torch_reference.networks import build_torch_network

TARGET = Path(__file__).parent / "transformers"
VALUES = 64
SIZES = {
    "dinov2_vits14": (2, 154, 210, 3),
    "dinov2_vits14_reg": (2, 210, 154, 3),
    "clip_vit_b_32": (2, 224, 224, 3),
    "clip_resnet50": (2, 224, 224, 3),
    "swin_t": (2, 200, 268, 3),
}
TIMM = {
    **{f"dinov2_vit{s[0]}14": f"vit_{s}_patch14_dinov2" for s in ("small", "base", "large")},
    **{
        f"dinov2_vit{s[0]}14_reg": f"vit_{s}_patch14_reg4_dinov2"
        for s in ("small", "base", "large")
    },
    "clip_vit_b_16": "vit_base_patch16_clip_quickgelu_224",
    "clip_vit_b_32": "vit_base_patch32_clip_quickgelu_224",
    "clip_resnet50": "resnet50_clip",
    **{f"swin_{s[0]}": f"swin_{s}_patch4_window7_224" for s in ("tiny", "small", "base")},
}


def tokens(registers: int, grid: tuple[int, int], name: str):
    """The layers in a transformer's tokens [N, L, K]."""

    def split(values: torch.Tensor) -> dict[str, torch.Tensor]:
        patches = values[:, 1 + registers :]
        found = {name: patches.reshape(len(values), *grid, -1)}
        if not name.endswith("_mlp"):
            found |= {f"{name}_register{i}": values[:, 1 + i] for i in range(registers)}
            found[f"{name}_class"] = values[:, 0]
        return found

    return split


def taps(name: str, shape: tuple[int, ...]) -> dict:
    """Module → its layers, from its output."""
    if name.startswith("dinov2"):
        grid, registers = (shape[1] // 14, shape[2] // 14), 4 if name.endswith("reg") else 0
        blocks = {f"encoder.layer.{i}": tokens(registers, grid, f"block{i}") for i in (0, 5, 11)}
        inner = {"encoder.layer.5.mlp.activation_fn": tokens(registers, grid, "block5_mlp")}
        return blocks | inner | {"layernorm": tokens(registers, grid, "norm")}
    if name.startswith("clip_vit"):
        path = "vision_model.encoder.layers"
        blocks = {f"{path}.{i}": tokens(0, (7, 7), f"block{i}") for i in (0, 5, 11)}
        last = {"": lambda values: {"embedding": values}}
        norm = {"vision_model.post_layernorm": lambda values: {"norm_class": values}}
        return (
            blocks | {f"{path}.5.mlp.activation_fn": tokens(0, (7, 7), "block5_mlp")} | norm | last
        )
    if name == "clip_resnet50":
        paths = {"stem": "pool1", **{f"stages.{i}": f"layer{i + 1}" for i in range(4)}}
        paths["stages.1.0"] = "layer2_block0"
        maps = {
            path: (lambda values, layer=layer: {layer: values.permute(0, 2, 3, 1)})
            for path, layer in paths.items()
        }
        return maps | {"head": lambda values: {"embedding": values}}
    paths = {"features.0": "stem", "features.1.0": "stage1_block0", "features.2": "downsample2"}
    paths |= {f"features.{2 * stage - 1}": f"stage{stage}" for stage in range(1, 5)}
    paths |= {"norm": "norm", "head": "logits"}
    return {path: lambda values, layer=layer: {layer: values} for path, layer in paths.items()}


def make(name: str, shape: tuple[int, ...]) -> None:
    """Write the numbers of one network."""
    module = build_torch_network(name)
    state = module.state_dict()
    for key, tensor in state.items():
        if tensor.dtype.is_floating_point:
            tensor.copy_(torch.from_numpy(golden_array(key, tuple(tensor.shape))))
    few: dict[str, np.ndarray] = {
        "keys": np.array(json.dumps(list(state))),
        "shapes": np.array(json.dumps([list(tensor.shape) for tensor in state.values()])),
        "images": np.array(shape),
    }
    rng = np.random.default_rng(1)

    def keep(split):
        def hook(_module, _inputs, output):
            output = output[0] if isinstance(output, tuple) else output
            for layer, values in split(output).items():
                flat = values.numpy().reshape(-1)
                index = rng.choice(flat.size, VALUES, replace=False).astype(np.int32)
                few[f"tap/{layer}/index"], few[f"tap/{layer}/value"] = index, flat[index]
                few[f"tap/{layer}/std"] = np.float32(flat.std())

        return hook

    for path, split in taps(name, shape).items():
        module.get_submodule(path).register_forward_hook(keep(split))
    images = np.random.default_rng(0).standard_normal(shape, np.float32)
    with torch.inference_mode():
        module(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    np.savez_compressed(TARGET / f"{name}.npz", **few)


def list_shapes(state: dict[str, torch.Tensor]) -> dict[str, list[int]]:
    """Every key's shape."""
    return {key: list(tensor.shape) for key, tensor in state.items()}


def main() -> None:
    """Write all."""
    TARGET.mkdir(exist_ok=True)
    for name, shape in SIZES.items():
        make(name, shape)
    listings = {}
    with torch.device("meta"):
        for name, model in TIMM.items():
            listings[f"{name} timm"] = list_shapes(timm.create_model(model).state_dict())
            if name.startswith("swin"):
                listings[f"{name} torchvision"] = list_shapes(
                    build_torch_network(name).state_dict()
                )
                depth, width = (6 if name == "swin_t" else 18), (128 if name == "swin_b" else 96)
                heads = [width // 32 * 2**stage for stage in range(4)]
                config = transformers.SwinConfig(
                    depths=[2, 2, depth, 2], num_heads=heads, embed_dim=width, num_labels=1000
                )
                module = transformers.SwinForImageClassification(config)
            elif name != "clip_resnet50":
                original = build_torch_network(name)
                module = type(original).__mro__[1](original.config)  # by whose name files are known
            else:
                continue
            listings[f"{name} transformers"] = list_shapes(module.state_dict())
            files = revert_weight_conversion(module, module.state_dict())
            listings[f"{name} transformers' files"] = list_shapes(files)
    with gzip.GzipFile(TARGET / "listings.json.gz", "wb", mtime=0) as file:
        file.write(json.dumps(listings).encode())


if __name__ == "__main__":
    main()
