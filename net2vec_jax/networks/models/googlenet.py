"""GoogLeNet (Szegedy et al. 2014), 224 pixels: torchvision's version and Caffe's.

An Inception block convolves its input by 1 × 1, 3 × 3 and 5 × 5, the larger two behind a reduction
by 1 × 1, and by 1 × 1 behind a 3 × 3 maximum, side by side. Torchvision's has 3 × 3 where 5 × 5 was
meant, a smaller last pooling, and batch normalisation (ε = 0.001), which is folded into the
convolutions; Caffe's has local response normalisation early on. The auxiliary classifiers, which
serve training only, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.networks.layers.blocks import Convolution, Linear
from net2vec_jax.networks.layers.nonlinearities import relu
from net2vec_jax.networks.layers.pooling import max_pool, normalise_local_responses
from net2vec_jax.networks.network import Network
from net2vec_jax.weights.layouts import CONVOLUTION, LINEAR, reverse_inputs
from net2vec_jax.weights.rules import Rule, caffe_rules, folded_rules, plain_rules

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
# The pooling layer in front of the first block of each stage.
POOLED_BLOCKS = MappingProxyType(
    {"inception3a": "pool2", "inception4a": "pool3", "inception5a": "pool4"}
)


class Inception(nnx.Module):
    """Four branches side by side, each of convolutions with their ReLU."""

    def __init__(self, widths: BlockWidths, large_size: int, *, rngs: nnx.Rngs) -> None:
        """Random weights; `large_size` is the size of the largest kernel."""
        self.small = Convolution(widths.inputs, widths.small, 1, rngs=rngs)
        self.reduce_middle = Convolution(widths.inputs, widths.reduce_middle, 1, rngs=rngs)
        self.middle = Convolution(widths.reduce_middle, widths.middle, 3, rngs=rngs)
        self.reduce_large = Convolution(widths.inputs, widths.reduce_large, 1, rngs=rngs)
        self.large = Convolution(widths.reduce_large, widths.large, large_size, rngs=rngs)
        self.project = Convolution(widths.inputs, widths.project, 1, rngs=rngs)

    def __call__(self, images: Float[Array, "N H W I"]) -> Float[Array, "N H W O"]:
        """The branches' responses, one behind the other; at least 0."""
        branches = [
            self.small(images),
            self.middle(relu(self.reduce_middle(images))),
            self.large(relu(self.reduce_large(images))),
            self.project(max_pool(images, 3, 1, padding=1)),
        ]
        return relu(jnp.concatenate(branches, axis=3))


class _InceptionNetwork(Network):
    """The flow that both versions share."""

    large_size: ClassVar[int]
    last_pool: ClassVar[int]
    normalised: ClassVar[bool]

    def __init__(self, *, classes: int = 1000, rngs: nnx.Rngs) -> None:
        """Random weights; `classes` is the number of logits (365 for Places)."""
        self.conv1 = Convolution(3, 64, 7, stride=2, padding=3, rngs=rngs)
        self.conv2 = Convolution(64, 64, 1, rngs=rngs)
        self.conv3 = Convolution(64, 192, 3, padding=1, rngs=rngs)
        for name, widths in BLOCKS.items():
            setattr(self, name, Inception(widths, self.large_size, rngs=rngs))
        self.logits = Linear(BLOCKS["inception5b"].outputs, classes, rngs=rngs)

    def responses(self, images: Float[Array, "N H W 3"]) -> Iterator[tuple[str, Array]]:
        """Every layer's name and response, in the order of `layers`, computed one by one."""
        values = relu(self.conv1(images))
        yield "conv1", values
        values = max_pool(values, 3, 2, round_up=True)
        yield "pool1", values
        if self.normalised:
            values = normalise_local_responses(values)
            yield "norm1", values
        values = relu(self.conv2(values))
        yield "conv2", values
        values = relu(self.conv3(values))
        yield "conv3", values
        if self.normalised:
            values = normalise_local_responses(values)
            yield "norm2", values
        for name in BLOCKS:
            if name in POOLED_BLOCKS:
                pool = POOLED_BLOCKS[name]
                size = self.last_pool if pool == "pool4" else 3
                values = max_pool(values, size, 2, round_up=True)
                yield pool, values
            values = getattr(self, name)(values)
            yield name, values
        yield "logits", self.logits(values.mean((1, 2)))


class GoogLeNet(_InceptionNetwork):
    """Layers `conv1`, `pool1`, `conv2`, `conv3`, `pool2`, `inception3a`, …, `logits`.

    Torchvision's. With 224 pixels the maps measure 112² × 64 (conv1), 56² × 64 (pool1, conv2),
    56² × 192 (conv3), 28² (inception3a, 3b: 256 and 480), 14² (4a … 4e: 512, 512, 512, 528, 832)
    and 7² (5a, 5b: 832 and 1024). All but the logits are at least 0. Any image of 15 pixels or more
    a side will do.
    """

    large_size = 3
    last_pool = 2
    normalised = False
    smallest_input = 15
    layers = (
        "conv1",
        "pool1",
        "conv2",
        "conv3",
        "pool2",
        "inception3a",
        "inception3b",
        "pool3",
        "inception4a",
        "inception4b",
        "inception4c",
        "inception4d",
        "inception4e",
        "pool4",
        "inception5a",
        "inception5b",
        "logits",
    )
    aliases = MappingProxyType(
        {f"maxpool{number}": f"pool{number}" for number in range(1, 5)} | {"fc": "logits"}
    )


class CaffeGoogLeNet(_InceptionNetwork):
    """Layers `conv1`, `pool1`, `norm1`, `conv2`, `conv3`, `norm2`, `pool2`, …, `logits`.

    Caffe's bvlc_googlenet; maps measure as those of `GoogLeNet`. All but the logits are at least 0.
    Any image of 31 pixels or more a side will do: the mean before the logits is taken over the
    whole map, which at 224 is Caffe's 7 × 7. Caffe's blobs are aliases ("inception_4e/output"),
    with a hyphen for the slash too, as Net2Vec names its files.
    """

    large_size = 5
    last_pool = 3
    normalised = True
    smallest_input = 31
    layers = (
        "conv1",
        "pool1",
        "norm1",
        "conv2",
        "conv3",
        "norm2",
        "pool2",
        "inception3a",
        "inception3b",
        "pool3",
        "inception4a",
        "inception4b",
        "inception4c",
        "inception4d",
        "inception4e",
        "pool4",
        "inception5a",
        "inception5b",
        "logits",
    )
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


def googlenet_rules() -> dict[str, Rule]:
    """Every parameter's origin in torchvision's state dict."""
    keys = {name: name for name in ("conv1", "conv2", "conv3")}
    parts = {
        "small": "branch1",
        "reduce_middle": "branch2.0",
        "middle": "branch2.1",
        "reduce_large": "branch3.0",
        "large": "branch3.1",
        "project": "branch4.1",
    }
    for name in BLOCKS:
        keys |= {f"{name}.{ours}": f"{name}.{theirs}" for ours, theirs in parts.items()}
    rules: dict[str, Rule] = {}
    for ours, key in keys.items():
        rules |= folded_rules(ours, f"{key}.conv", f"{key}.bn", epsilon=EPSILON)
    return rules | plain_rules("logits", "fc", LINEAR)


def caffe_googlenet_rules() -> dict[str, Rule]:
    """Every parameter's origin in Caffe's file, trained on blue, green, red."""
    rules = caffe_rules("conv1", "conv1/7x7_s2", reverse_inputs(CONVOLUTION))
    rules |= caffe_rules("conv2", "conv2/3x3_reduce", CONVOLUTION)
    rules |= caffe_rules("conv3", "conv2/3x3", CONVOLUTION)
    parts = {
        "small": "1x1",
        "reduce_middle": "3x3_reduce",
        "middle": "3x3",
        "reduce_large": "5x5_reduce",
        "large": "5x5",
        "project": "pool_proj",
    }
    for name in BLOCKS:
        for ours, theirs in parts.items():
            layer = f"inception_{name[-2:]}/{theirs}"
            rules |= caffe_rules(f"{name}.{ours}", layer, CONVOLUTION)
    return rules | caffe_rules("logits", "loss3/classifier", LINEAR)
