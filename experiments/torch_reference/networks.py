"""The zoo's networks in torch, to compare with: other packages' own, and Caffe's.

Torchvision, timm, transformers and efficientnet-lite-pytorch build theirs; the Caffe networks are
written here, with layers named as in the Caffe file, from the deploy.prototxt files of the BVLC
model zoo.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from experiments.torch_reference.transformers import TRANSFORMERS
from net2vec_jax.core.errors import Net2VecError


def _timm(name: str) -> nn.Module:
    import timm

    return timm.create_model(name)


def _efficientnet_lite(number: int) -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_name(f"efficientnet-lite{number}")


# Networks of other packages than torchvision: the package, and what builds them.
ORIGINALS: Mapping[str, tuple[str, Callable[[], nn.Module]]] = {
    **TRANSFORMERS,
    **{
        f"efficientnet_lite{number}": (
            "efficientnet_lite_pytorch",
            partial(_efficientnet_lite, number),
        )
        for number in range(5)
    },
    **{
        f"convnextv2_{size}": ("timm", partial(_timm, f"convnextv2_{size}"))
        for size in ("atto", "femto", "pico", "nano", "tiny", "base")
    },
}


def build_torch_network(name: str, *, seed: int = 0) -> nn.Module:
    """The network in evaluation mode with random weights and statistics.

    Args:
      name: in the zoo.
      seed: of the weights.

    Raises:
      Net2VecError: the package that has it is not installed.
    """
    torch.manual_seed(seed)
    if name in CAFFE_NETWORKS:
        module = CAFFE_NETWORKS[name]()
    elif name in ORIGINALS:
        package, build = ORIGINALS[name]
        _demand(package, package.replace("_", "-"), name)
        module = build()
    else:
        _demand("torchvision", "torchvision", name)
        import torchvision

        options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
        module = torchvision.models.get_model(name, weights=None, **options)
    _randomise(module)
    return module.eval()


def is_installed(name: str) -> bool:
    """Whether the package is that builds the network."""
    package = ORIGINALS[name][0] if name in ORIGINALS else "torchvision"
    return name in CAFFE_NETWORKS or importlib.util.find_spec(package) is not None


def _demand(module: str, package: str, name: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise Net2VecError(f"{name} is compared with {package}: pip install {package}")


def _randomise(module: nn.Module) -> None:
    """Weights that keep the size of responses, and statistics that are not trivial."""
    with torch.no_grad():
        for key, tensor in module.state_dict().items():
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif key.endswith("running_mean"):
                tensor.normal_(0.0, 0.1)
            elif tensor.dtype.is_floating_point and tensor.ndim <= 1:
                tensor.normal_(float(key.endswith("weight")), 0.1)
            elif tensor.dtype.is_floating_point:
                tensor.normal_(0.0, (1.5 / max(tensor[0].numel(), 1)) ** 0.5)


def state_arrays(name: str, module: nn.Module) -> Mapping[str, np.ndarray]:
    """The module's weights by the keys of the weight file that the zoo knows."""
    arrays = {key: tensor.numpy() for key, tensor in module.state_dict().items()}
    if name not in CAFFE_NETWORKS:
        return arrays
    numbers = {"weight": 0, "bias": 1}
    renamed = {}
    for key, array in arrays.items():
        layer, part = key.rsplit(".", 1)
        renamed[f"{layer.replace(':', '/')}.{numbers[part]}"] = array
    return renamed


class _Caffe(nn.Module):
    """Layers by their names in the Caffe file, with ":" for "/"; takes blue, green and red."""

    def convolve(self, name: str, *shape: int, **options: int) -> None:
        """Add a convolution: channels in, channels out, size."""
        self.add_module(name.replace("/", ":"), nn.Conv2d(*shape, **options))

    def multiply(self, name: str, inputs: int, outputs: int) -> None:
        """Add a linear layer."""
        self.add_module(name.replace("/", ":"), nn.Linear(inputs, outputs))

    def layer(self, name: str) -> nn.Module:
        """The layer of that name."""
        return self.get_submodule(name.replace("/", ":"))


def _pool(values: Tensor) -> Tensor:
    return nn.functional.max_pool2d(values, 3, 2, ceil_mode=True)


def _normalise(values: Tensor) -> Tensor:
    return nn.functional.local_response_norm(values, 5, alpha=1e-4, beta=0.75, k=1.0)


class TorchCaffeNet(_Caffe):
    """BVLC's reference CaffeNet; with `pools_first=False` BVLC's AlexNet."""

    def __init__(self, *, pools_first: bool = True) -> None:
        super().__init__()
        self.pools_first = pools_first
        self.convolve("conv1", 3, 96, 11, stride=4)
        self.convolve("conv2", 96, 256, 5, padding=2, groups=2)
        self.convolve("conv3", 256, 384, 3, padding=1)
        self.convolve("conv4", 384, 384, 3, padding=1, groups=2)
        self.convolve("conv5", 384, 256, 3, padding=1, groups=2)
        self.multiply("fc6", 256 * 6 * 6, 4096)
        self.multiply("fc7", 4096, 4096)
        self.multiply("fc8", 4096, 1000)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images [N, 3, 227, 227]."""
        values = images
        for name in ("conv1", "conv2"):
            values = self.layer(name)(values).relu_()
            steps = (_pool, _normalise) if self.pools_first else (_normalise, _pool)
            for step in steps:
                values = step(values)
        for name in ("conv3", "conv4", "conv5"):
            values = self.layer(name)(values).relu_()
        values = _pool(values).flatten(1)
        for name in ("fc6", "fc7"):
            values = self.layer(name)(values).relu_()
        return self.layer("fc8")(values)


# 1x1, 3x3_reduce, 3x3, 5x5_reduce, 5x5, pool_proj.
INCEPTION_WIDTHS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class TorchCaffeGoogLeNet(_Caffe):
    """BVLC's GoogLeNet without its auxiliary classifiers."""

    def __init__(self) -> None:
        super().__init__()
        self.convolve("conv1/7x7_s2", 3, 64, 7, stride=2, padding=3)
        self.convolve("conv2/3x3_reduce", 64, 64, 1)
        self.convolve("conv2/3x3", 64, 192, 3, padding=1)
        inputs = 192
        for block, (small, reduce3, middle, reduce5, large, project) in INCEPTION_WIDTHS.items():
            name = f"inception_{block}"
            self.convolve(f"{name}/1x1", inputs, small, 1)
            self.convolve(f"{name}/3x3_reduce", inputs, reduce3, 1)
            self.convolve(f"{name}/3x3", reduce3, middle, 3, padding=1)
            self.convolve(f"{name}/5x5_reduce", inputs, reduce5, 1)
            self.convolve(f"{name}/5x5", reduce5, large, 5, padding=2)
            self.convolve(f"{name}/pool_proj", inputs, project, 1)
            inputs = small + middle + large + project
        self.multiply("loss3/classifier", inputs, 1000)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images [N, 3, 224, 224]."""
        values = _normalise(_pool(self.layer("conv1/7x7_s2")(images).relu_()))
        values = self.layer("conv2/3x3_reduce")(values).relu_()
        values = _normalise(self.layer("conv2/3x3")(values).relu_())
        for block in INCEPTION_WIDTHS:
            if block in ("3a", "4a", "5a"):
                values = _pool(values)
            values = self._inception(f"inception_{block}", values)
        return self.layer("loss3/classifier")(values.mean((2, 3)))

    def _inception(self, name: str, values: Tensor) -> Tensor:
        largest = nn.functional.max_pool2d(values, 3, 1, 1)
        branches = (
            self.layer(f"{name}/1x1")(values),
            self.layer(f"{name}/3x3")(self.layer(f"{name}/3x3_reduce")(values).relu_()),
            self.layer(f"{name}/5x5")(self.layer(f"{name}/5x5_reduce")(values).relu_()),
            self.layer(f"{name}/pool_proj")(largest),
        )
        return torch.cat(branches, 1).relu_()


def _caffe_vgg16() -> nn.Module:
    """The authors' VGG16: torchvision's layers, which the Caffe file names as the paper does."""
    _demand("torchvision", "torchvision", "caffe_vgg16")
    import torchvision

    return _CaffeVGG16(torchvision.models.vgg16(weights=None))


class _CaffeVGG16(_Caffe):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.order = []
        convolutions = iter([layer for layer in model.features if isinstance(layer, nn.Conv2d)])
        for stage, count in enumerate((2, 2, 3, 3, 3), 1):
            names = [f"conv{stage}_{place}" for place in range(1, count + 1)]
            for name in names:
                self.add_module(name, next(convolutions))
            self.order += [*names, None]
        for name, place in (("fc6", 0), ("fc7", 3), ("fc8", 6)):
            self.add_module(name, model.classifier[place])

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images [N, 3, 224, 224]."""
        values = images
        for name in self.order:
            if name is None:
                values = nn.functional.max_pool2d(values, 2, 2)
            else:
                values = self.layer(name)(values).relu_()
        values = values.flatten(1)
        for name in ("fc6", "fc7"):
            values = self.layer(name)(values).relu_()
        return self.layer("fc8")(values)


def _caffe_squeezenet(version: str) -> nn.Module:
    """The authors' SqueezeNet: torchvision's layers, named as in the Caffe file."""
    _demand("torchvision", "torchvision", "SqueezeNet")
    import torchvision

    model, module = torchvision.models.get_model(f"squeezenet{version}", weights=None), _Caffe()
    module.add_module("conv1", model.features[0])
    fires = [layer for layer in model.features if hasattr(layer, "squeeze")]
    for number, fire in enumerate(fires, 2):
        module.add_module(f"fire{number}:squeeze1x1", fire.squeeze)
        module.add_module(f"fire{number}:expand1x1", fire.expand1x1)
        module.add_module(f"fire{number}:expand3x3", fire.expand3x3)
    module.add_module("conv10", model.classifier[1])
    module.forward = model.eval().forward
    return module


CAFFE_NETWORKS = {
    "caffenet": TorchCaffeNet,
    "caffe_alexnet": lambda: TorchCaffeNet(pools_first=False),
    "caffe_vgg16": _caffe_vgg16,
    "caffe_googlenet": TorchCaffeGoogLeNet,
    "caffe_squeezenet1_0": partial(_caffe_squeezenet, "1_0"),
    "caffe_squeezenet1_1": partial(_caffe_squeezenet, "1_1"),
}
