"""Networks of four stages, each of half the size and twice the filters of the one before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from flax import nnx
from jaxtyping import Array, Float

from net2vec_jax.networks.layers.blocks import Convolution, LayerNormalisation
from net2vec_jax.networks.network import Network, Steps


class StagedNetwork(Network):
    """Layers `stem`, `stage1_block0`, …, `stage1`, `downsample2`, …, `stage4`, and the `head`.

    The last block of a stage is named as the stage, since its output is the stage's. All layers may
    have any sign.

    Attributes:
      blocks: how many each of the four stages has.
      width: filters of the first stage.
      stem_keys: the original's names of the stem's 4 × 4 convolution and normalisation.
      downsample_key: of what is in front of a stage. In braces stand the stage's number from 0
        (`index`), a block's place in it, and the numbers that torchvision gives to what is in front
        of a stage (`before`) and to the stage itself (`inside`).
      block_key: of a block, likewise.
      head: the layers behind the stages.
      other_aliases: other names of the stem and of these.
      epsilon: ε of the normalisations.
    """

    blocks: ClassVar[tuple[int, int, int, int]]
    width: ClassVar[int]
    stem_keys: ClassVar[tuple[str, str]]
    downsample_key: ClassVar[str] = "features.{before}"
    block_key: ClassVar[str] = "features.{inside}.{place}"
    head: ClassVar[tuple[str, ...]] = ("logits",)
    other_aliases: ClassVar[Mapping[str, str]]
    epsilon: ClassVar[float]

    def __init_subclass__(cls, **options: Any) -> None:
        """Name the layers of a network whose size is known, and the original's modules."""
        super().__init_subclass__(**options)
        if not hasattr(cls, "blocks"):
            return
        modules = tuple(cls.modules())
        cls.layers = ("stem", *(name for name, *_ in modules), *cls.head)
        stages = {
            key.rsplit(".", 1)[0]: name for name, _, key, _ in modules if name.startswith("stage")
        }
        paths = {key: name for name, _, key, _ in modules}
        cls.aliases = MappingProxyType({**paths, **stages, **cls.other_aliases})

    @classmethod
    def modules(cls) -> Iterator[tuple[str, str, str, int]]:
        """Every layer's name, its module's name here, the original's key, and stage from 0."""
        for index, blocks in enumerate(cls.blocks):
            numbers = {"index": index, "before": 2 * index, "inside": 2 * index + 1}
            if index:
                name = f"downsample{index + 1}"
                yield name, name, cls.downsample_key.format(**numbers), index
            for place in range(blocks):
                module = f"stage{index + 1}_block{place}"
                name = f"stage{index + 1}" if place == blocks - 1 else module
                yield name, module, cls.block_key.format(**numbers, place=place), index

    def add_stages(self, rngs: nnx.Rngs) -> int:
        """Random weights of the stem and the stages; returns the filters of the last one."""
        width, (stem, norm) = self.width, self.stem_keys
        self.stem = Convolution(3, width, 4, stride=4, padding=0, key=stem, rngs=rngs)
        self.stem_norm = LayerNormalisation(width, epsilon=self.epsilon, key=norm)
        for name, module, key, stage in self.modules():
            width = self.width * 2**stage
            make = self.make_downsample if name.startswith("downsample") else self.make_block
            setattr(self, module, make(width, key, rngs))
        return width

    def make_downsample(self, width: int, key: str, rngs: nnx.Rngs) -> nnx.Module:
        """What halves the size; `width` channels go out."""
        raise NotImplementedError

    def make_block(self, width: int, key: str, rngs: nnx.Rngs) -> nnx.Module:
        """A block of `width` channels."""
        raise NotImplementedError

    def steps(self, images: Float[Array, "N H W 3"]) -> Steps:
        """See `Network`."""
        values = yield "stem", self.stem_norm(self.stem(images))
        for name, module, *_ in self.modules():
            values = yield name, getattr(self, module)(values)
        yield from self.finish(values)

    def finish(self, values: Float[Array, "N h w K"]) -> Steps:
        """The responses of the head."""
        raise NotImplementedError
