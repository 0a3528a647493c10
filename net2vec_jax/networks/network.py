"""A network that can be probed: an ordered list of named layers.

A `Network` is a plain `flax.nnx.Module` and so a pytree: it goes through `jax.jit`, `jax.vmap` and
`jax.device_put` as it is. A subclass yields its layers' responses one after the other; whoever asks
stops at the deepest layer wanted, so that nothing beyond it is computed or even traced. It goes on
with what it is sent for a response: the response itself, or another in its place.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Self, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.interpreters import partial_eval
from jaxtyping import Array, Float

from net2vec_jax.core.errors import Net2VecError, unknown_name_error

Steps = Generator[tuple[str, Array], Array, Any]
"""Yields a layer's name and response, and is sent what it goes on with."""


class Network(nnx.Module):
    """Named layers in the order in which they are computed.

    Attributes:
      layers: their names.
      aliases: other names, the original's module paths ("features.1"), each with its layer's.
      lacking: layers that cannot be computed, since the weights lack what they need.
      smallest_input: the fewest pixels along an image's side that leave something to every layer.
      side_multiple: what an image's sides must be multiples of, in pixels.
      is_traceable: whether JAX computes it; what computes elsewhere is slow under `jax.jit`, and
        may wait for ever on several devices.
    """

    layers: tuple[str, ...]
    aliases: Mapping[str, str] = MappingProxyType({})
    lacking: tuple[str, ...] = ()
    smallest_input: int = 1
    side_multiple: int = 1
    is_traceable: bool = True

    @classmethod
    def sized(cls, name: str, **attributes: Any) -> type[Self]:
        """A network of this kind, a class called `name`: a row of a table of its attributes.

        It stands in the module of its kind under its name, where `pickle` looks for it.
        """
        made = type(name, (cls,), {"__module__": cls.__module__, **attributes})
        setattr(sys.modules[cls.__module__], name, made)
        return cast("type[Self]", made)

    def steps(self, images: Float[Array, "N H W 3"]) -> Steps:
        """Every layer's name and response, in the order of `layers`; goes on with what is sent."""
        raise NotImplementedError

    def responses(self, images: Float[Array, "N H W 3"]) -> Iterator[tuple[str, Array]]:
        """Every layer's name and response, in the order of `layers`, computed one by one."""
        steps = self.steps(images)
        found = next(steps, None)
        while found is not None:
            yield found
            try:
                found = steps.send(found[1])
            except StopIteration:
                return

    def resolve_layer(self, name: str) -> str:
        """The layer's own name from its name or alias.

        Raises:
          Net2VecError: there is no such layer, and the message names the nearest; or the weights
            lack it.
        """
        resolved = self.aliases.get(name, name)
        if resolved in self.layers:
            return resolved
        if resolved in self.lacking:
            raise Net2VecError(
                f"layer {name} cannot be computed: the weight file has no {resolved} that fits; "
                f"the last layer is {self.layers[-1]}"
            )
        raise unknown_name_error("layer", name, (*self.layers, *self.aliases))

    def drop_layers(self, first: str) -> None:
        """Do without a layer and all behind it, whose parameters the weights lack.

        Args:
          first: the layer's own name.
        """
        place = self.layers.index(first)
        self.layers, self.lacking = self.layers[:place], self.layers[place:]

    def activations(
        self, images: Array | np.ndarray, layers: Sequence[str]
    ) -> dict[str, Float[Array, "N ..."]]:
        """Responses of some layers, in one pass that ends at the deepest of them.

        Args:
          images: preprocessed RGB images, floating-point [N, H, W, 3].
          layers: names or aliases.

        Returns:
          {name as asked for: [N, h, w, K], or [N, D] of a fully connected layer}.

        Raises:
          Net2VecError: there is no such layer; the images have another shape or are not
            preprocessed.
        """
        if isinstance(layers, str):
            raise Net2VecError(f"layers is a sequence of names; write [{layers!r}]")
        resolved = {name: self.resolve_layer(name) for name in layers}
        self._check(images)
        found = self._respond(jnp.asarray(images), tuple(dict.fromkeys(resolved.values())))
        return {name: found[layer] for name, layer in resolved.items()}

    def continue_from(
        self,
        layer: str,
        response: Float[Array | np.ndarray, "N *places K"],
        images: Array | np.ndarray,
    ) -> Float[Array, "N ..."]:
        """The last layer's response, most often the logits, with another response of one layer.

        The forward pass of the images with the layer's response replaced, compiled. Where all that
        follows sees nothing else of the images (`sees_images_behind`), only their shape counts, and
        nothing before the layer is computed. Elsewhere, as inside a residual block or beside a
        class token, what goes around the layer comes from the images.

        Args:
          layer: name or alias.
          response: of the shape that the layer's has on the images.
          images: preprocessed RGB images, floating-point [N, H, W, 3].

        Raises:
          Net2VecError: there is no such layer, or the response has another shape.
        """
        name = self.resolve_layer(layer)
        self._check(images)
        images, response = jnp.asarray(images), jnp.asarray(response)
        own = jax.eval_shape(lambda images: self._respond(images, (name,))[name], images)
        if own.shape != response.shape:
            raise Net2VecError(
                f"the response of {layer} has shape {response.shape}, but the layer gives "
                f"{own.shape} for images {images.shape}"
            )
        finish = _finish if self.is_traceable else inspect.unwrap(_finish)
        return finish(self, name, response, images)

    def sees_images_behind(self, layer: str, size: int) -> bool:
        """Whether something of the images reaches the last layer around this one.

        Args:
          layer: name or alias.
          size: pixels along a side of the images.
        """
        images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
        response = jax.eval_shape(lambda images: self.activations(images, [layer])[layer], images)
        go_on = lambda response, images: self.continue_from(layer, response, images)  # noqa: E731
        program = jax.make_jaxpr(go_on)(response, images).jaxpr
        return partial_eval.dce_jaxpr(program, [True] * len(program.outvars))[1][-1]

    def _respond(self, images: Float[Array, "N H W 3"], layers: Sequence[str]) -> dict[str, Array]:
        """The responses of `layers`, names of their own, by name."""
        awaited = set(layers)
        found: dict[str, Array] = {}
        responses = self.responses(images)
        while awaited:
            name, response = next(responses)
            if name in awaited:
                found[name] = response
                awaited.remove(name)
        return found

    def _check(self, images: Array | np.ndarray) -> None:
        if images.ndim != 4 or images.shape[-1] != 3:
            raise Net2VecError(f"images have shape {images.shape}, not [N, height, width, 3]")
        if min(images.shape[1:3]) < self.smallest_input:
            raise Net2VecError(
                f"images of {images.shape[1]} × {images.shape[2]} pixels are too small for "
                f"{type(self).__name__}, which needs {self.smallest_input} on each side"
            )
        if any(side % self.side_multiple for side in images.shape[1:3]):
            raise Net2VecError(
                f"images of {images.shape[1]} × {images.shape[2]} pixels do not divide into the "
                f"patches of {type(self).__name__}: resize them to multiples of "
                f"{self.side_multiple} pixels"
            )
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise Net2VecError(f"images are {images.dtype}; preprocess them to float32 first")

    def __repr__(self) -> str:
        count = sum(math.prod(np.shape(leaf)) for leaf in jax.tree.leaves(self))
        parameters = f" of {count:,} parameters" if count else ""
        first, *others = self.layers
        layers = (
            f"{len(self.layers)} layers, {first} … {others[-1]}" if others else f"layer {first}"
        )
        return f"{type(self).__name__}{parameters} with {layers}"


@partial(jax.jit, static_argnames="layer", inline=True)
def _finish(network: Network, layer: str, response: Array, images: Array) -> Array:
    """The last layer's response, with another one of `layer`, its own name."""
    steps = network.steps(images)
    reached, found = next(steps)
    while reached != network.layers[-1]:
        reached, found = steps.send(response if reached == layer else found)
    return response if layer == reached else found
