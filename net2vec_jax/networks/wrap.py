"""What all wrapped models share: layers of their own, and outputs laid out as the probes need them.

A layer's response is [N, h, w, K], or [N, K] where it has no spatial extent; see
`net2vec_jax.networks.adapters` for the models that are wrapped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.network import Network

# What turns a submodule's output into the layer's response; None leaves it as it is.
Finish = Callable[[Any], Any] | None
Layers = Sequence[str] | Mapping[str, Finish]


@dataclass(frozen=True)
class OutputForm:
    """How a model's outputs lie in memory.

    Attributes:
      channels_first: maps are [N, K, h, w].
      grid: (h, w) of the patches of outputs [N, tokens, K]; None where there are no such outputs.
      leading_tokens: how many tokens come before those of the patches, such as a class token.
    """

    channels_first: bool = False
    grid: tuple[int, int] | None = None
    leading_tokens: int = 0

    def __post_init__(self) -> None:
        if self.leading_tokens and self.grid is None:
            raise Net2VecError("leading_tokens says what comes before a grid; give grid=(h, w) too")

    def lay_out(self, layer: str, output: Any, images: int) -> Float[Array, "N ..."]:
        """An output as [N, h, w, K] or [N, K].

        Raises:
          Net2VecError: it is something else; the message names the layer.
        """
        shape, dtype = getattr(output, "shape", None), getattr(output, "dtype", None)
        if shape is None or dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            kind = type(output).__name__ if dtype is None else f"an array of {dtype}"
            raise Net2VecError(
                f"layer {layer} gives {kind}, not an array of floating-point numbers; give a "
                f"function that takes the array out of it: layers={{{layer!r}: …}}"
            )
        if len(shape) == 3 and self.grid is not None:
            rows, columns = self.grid
            if shape[1] != self.leading_tokens + rows * columns:
                raise Net2VecError(
                    f"layer {layer} gives {shape[1]} tokens; a grid of {rows} × {columns} behind "
                    f"{self.leading_tokens} leading tokens needs "
                    f"{self.leading_tokens + rows * columns}"
                )
            patches = jnp.asarray(output)[:, self.leading_tokens :]
            return patches.reshape(shape[0], rows, columns, shape[2])
        if len(shape) not in (2, 4) or shape[0] != images:
            hint = "; if these are tokens, give grid=(h, w)" if len(shape) == 3 else ""
            raise Net2VecError(
                f"layer {layer} gives shape {shape} for {images} images, not [N, h, w, K] or "
                f"[N, K]{hint}"
            )
        output = jnp.asarray(output)
        return output.transpose(0, 2, 3, 1) if self.channels_first and len(shape) == 4 else output


AS_IT_IS = OutputForm()


class WrappedNetwork(Network):
    """What all wrapped models share; a subclass computes the outputs of some layers at once.

    Attributes:
      layers: their names; unlike those of the built-in networks, of this very object.
    """

    def __init__(self, layers: Layers, form: OutputForm) -> None:
        """Keep the layers' names, what finishes their outputs, and these outputs' form."""
        if isinstance(layers, str):
            raise Net2VecError(f"layers is a sequence of names; write [{layers!r}]")
        finishes = layers if isinstance(layers, Mapping) else dict.fromkeys(layers)
        finishes = {name.replace("/", "."): finish for name, finish in finishes.items()}
        self.layers = tuple(finishes)
        self._finish = tuple(finishes.values())
        self._form = form
        wrong = [name for name in self.layers if not name.strip(".") or os.sep in name]
        if wrong or not self.layers:
            raise Net2VecError(
                f"layers need names that can name a folder: {wrong or 'there are none'}"
            )

    def resolve_layer(self, name: str) -> str:
        """The layer's own name; paths may have slashes, as Linen writes them."""
        return super().resolve_layer(name.replace("/", "."))

    def outputs(self, images: Float[Array, "N H W 3"], layers: Sequence[str]) -> Mapping[str, Any]:
        """What the model gives at `layers`, before it is finished and laid out."""
        raise NotImplementedError

    def _respond(self, images: Float[Array, "N H W 3"], layers: Sequence[str]) -> dict[str, Array]:
        finishes = dict(zip(self.layers, self._finish, strict=True))
        responses = {}
        for layer, output in self.outputs(images, layers).items():
            finish = finishes[layer]
            output = output if finish is None else finish(output)
            responses[layer] = self._form.lay_out(layer, output, len(images))
        return responses

    def responses(self, images: Float[Array, "N H W 3"]) -> Iterator[tuple[str, Array]]:
        """Every layer's name and response, in the order of `layers`; all in one pass."""
        yield from self.activations(images, self.layers).items()
