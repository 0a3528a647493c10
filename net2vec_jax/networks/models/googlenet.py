"""GoogLeNet (Szegedy et al. 2014), 224 pixels: torchvision's version and Caffe's.

An Inception block convolves its input by 1 × 1, 3 × 3 and 5 × 5, the larger two behind a reduction
by 1 × 1, and by 1 × 1 behind a 3 × 3 maximum, side by side. Torchvision's has 3 × 3 where 5 × 5 was
meant, a smaller last pooling, and batch normalisation (ε = 0.001), which is folded into the
convolutions; Caffe's has local response normalisation early on. The auxiliary classifiers, which
serve training only, are left out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.networks.layers.blocks import Convolution, Linear
from net2vec_jax.networks.layers.nonlinearities import relu
from net2vec_jax.networks.layers.pooling import max_pool
from net2vec_jax.networks.layers.sequential import SequentialNetwork

EPSILON = 1e-3

# Published files hold the auxiliary classifiers too.
GOOGLENET_IGNORED = ("*num_batches_tracked", "aux1.*", "aux2.*")
CAFFE_GOOGLENET_IGNORED = ("loss1/*", "loss2/*")


class BlockWidths(NamedTuple):
    """Channels of an Inception block: that come in, and that each of its convolutions gives."""

    inputs: int
    small: int
    reduce_middle: int
    middle: int
    reduce_large: int
    large: int
    project: int

    @property
    def outputs(self) -> int:
        """Channels that go out."""
        return self.small + self.middle + self.large + self.project


BLOCKS: Mapping[str, BlockWidths] = MappingProxyType(
    {
        "inception3a": BlockWidths(192, 64, 96, 128, 16, 32, 32),
        "inception3b": BlockWidths(256, 128, 128, 192, 32, 96, 64),
        "inception4a": BlockWidths(480, 192, 96, 208, 16, 48, 64),
        "inception4b": BlockWidths(512, 160, 112, 224, 24, 64, 64),
        "inception4c": BlockWidths(512, 128, 128, 256, 24, 64, 64),
        "inception4d": BlockWidths(512, 112, 144, 288, 32, 64, 64),
        "inception4e": BlockWidths(528, 256, 160, 320, 32, 128, 128),
        "inception5a": BlockWidths(832, 256, 160, 320, 32, 128, 128),
        "inception5b": BlockWidths(832, 384, 192, 384, 48, 128, 128),
    }
)
INCEPTIONS = (
    *("inception3a", "inception3b", "pool3"),
    *("inception4a", "inception4b", "inception4c", "inception4d", "inception4e", "pool4"),
    *("inception5a", "inception5b", "logits"),
)


class Inception(nnx.Module):
    """Four branches side by side, each of convolutions with their ReLU."""

    key = ""  # those of its convolutions are complete

    def __init__(
        self, widths: BlockWidths, large_size: int, convolve: Callable[..., Convolution]
    ) -> None:
        """Random weights.

        Args:
          widths: of the convolutions.
          large_size: size of the largest kernel.
          convolve: makes a convolution from its name here, input and output channels and size.
        """
        self.small = convolve("small", widths.inputs, widths.small, 1)
        self.reduce_middle = convolve("reduce_middle", widths.inputs, widths.reduce_middle, 1)
        self.middle = convolve("middle", widths.reduce_middle, widths.middle, 3)
        self.reduce_large = convolve("reduce_large", widths.inputs, widths.reduce_large, 1)
        self.large = convolve("large", widths.reduce_large, widths.large, large_size)
        self.project = convolve("project", widths.inputs, widths.project, 1)

    def __call__(self, images: Float[Array, "N H W I"]) -> Float[Array, "N H W O"]:
        """The branches' responses, one behind the other; at least 0."""
        branches = [
            self.small(images),
            self.middle(relu(self.reduce_middle(images))),
            self.large(relu(self.reduce_large(images))),
            self.project(max_pool(images, 3, 1, padding=1)),
        ]
        return relu(jnp.concatenate(branches, axis=3))


class InceptionNetwork(SequentialNetwork):
    """What both versions share.

    Attributes:
      large_size: size of the largest kernel of a block.
      last_pool: size of the windows of `pool4`.
      keys: the original's names of our convolutions, those of a block by our names in it.
      block_key: the original's name of a part of a block, from the block's letters and the part.
      logits_key: that of the last layer.
      normalised: whether the original's convolutions are modules of `conv` and `bn`.
    """

    large_size: ClassVar[int]
    last_pool: ClassVar[int]
    keys: ClassVar[Mapping[str, str]]
    block_key: ClassVar[str]
    logits_key: ClassVar[str]
    normalised: ClassVar[bool]
    round_up = True

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits (365 for Places)."""

        def convolve(part: str, *shape: int, block: str = "", stride: int = 1) -> Convolution:
            key = self.keys[part]
            if block:
                key = self.block_key.format(block.removeprefix("inception"), key)
            keys = {"key": key}
            if self.normalised:
                keys = {"key": f"{key}.conv", "norm": f"{key}.bn", "epsilon": EPSILON}
            padding = shape[2] // 2
            return Convolution(*shape, stride=stride, padding=padding, rngs=rngs, **keys)

        self.conv1 = convolve("conv1", 3, 64, 7, stride=2)
        self.conv2 = convolve("conv2", 64, 64, 1)
        self.conv3 = convolve("conv3", 64, 192, 3)
        for name, widths in BLOCKS.items():
            inner = functools.partial(convolve, block=name)
            setattr(self, name, Inception(widths, self.large_size, inner))
        outputs = BLOCKS["inception5b"].outputs
        self.logits = Linear(outputs, classes, key=self.logits_key, rngs=rngs)

    def compute(self, name: str, values: Array) -> Array:
        """The response of a layer to that of the layer before."""
        if name == "pool4":
            return max_pool(values, self.last_pool, 2, round_up=True)
        return super().compute(name, values)


class GoogLeNet(InceptionNetwork):
    """Layers `conv1`, `pool1`, `conv2`, `conv3`, `pool2`, `inception3a`, …, `logits`.

    Torchvision's. With 224 pixels the maps measure 112² × 64 (conv1), 56² × 64 (pool1, conv2),
    56² × 192 (conv3), 28² (inception3a, 3b: 256 and 480), 14² (4a … 4e: 512, 512, 512, 528, 832)
    and 7² (5a, 5b: 832 and 1024). All but the logits are at least 0. Any image of 15 pixels or more
    a side will do.
    """

    large_size = 3
    last_pool = 2
    normalised = True
    smallest_input = 15
    layers = ("conv1", "pool1", "conv2", "conv3", "pool2", *INCEPTIONS)
    aliases = MappingProxyType(
        {f"maxpool{number}": f"pool{number}" for number in range(1, 5)} | {"fc": "logits"}
    )
    keys = MappingProxyType(
        {
            **{name: name for name in ("conv1", "conv2", "conv3")},
            "small": "branch1",
            "reduce_middle": "branch2.0",
            "middle": "branch2.1",
            "reduce_large": "branch3.0",
            "large": "branch3.1",
            "project": "branch4.1",
        }
    )
    block_key = "inception{}.{}"
    logits_key = "fc"


class CaffeGoogLeNet(InceptionNetwork):
    """Layers `conv1`, `pool1`, `norm1`, `conv2`, `conv3`, `norm2`, `pool2`, …, `logits`.

    Caffe's bvlc_googlenet; maps measure as those of `GoogLeNet`. All but the logits are at least 0.
    Any image of 31 pixels or more a side will do: the mean before the logits is taken over the
    whole map, which at 224 is Caffe's 7 × 7. Caffe's blobs are aliases ("inception_4e/output"),
    with a hyphen for the slash too, as Net2Vec names its files.
    """

    large_size = 5
    last_pool = 3
    normalised = False
    smallest_input = 31
    layers = ("conv1", "pool1", "norm1", "conv2", "conv3", "norm2", "pool2", *INCEPTIONS)
    keys = MappingProxyType(
        {
            "conv1": "conv1/7x7_s2",
            "conv2": "conv2/3x3_reduce",
            "conv3": "conv2/3x3",
            "small": "1x1",
            "reduce_middle": "3x3_reduce",
            "middle": "3x3",
            "reduce_large": "5x5_reduce",
            "large": "5x5",
            "project": "pool_proj",
        }
    )
    block_key = "inception_{}/{}"
    logits_key = "loss3/classifier"
    aliases = MappingProxyType(
        {
            alias: layer
            for blob, layer in {
                "conv1/7x7_s2": "conv1",
                "pool1/norm1": "norm1",
                "conv2/3x3_reduce": "conv2",
                "conv2/3x3": "conv3",
                "conv2/norm2": "norm2",
                **{f"pool{number}/3x3_s2": f"pool{number}" for number in range(1, 5)},
                **{f"inception_{name[-2:]}/output": name for name in BLOCKS},
                "loss3/classifier": "logits",
            }.items()
            for alias in (blob, blob.replace("/", "-"))
        }
    )
