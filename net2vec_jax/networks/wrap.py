"""What all wrapped models share: layers of their own, and outputs laid out as the probes need them.

A layer's response is [N, h, w, K], or [N, K] where it has no spatial extent; see
`net2vec_jax.networks.adapters` for the models that are wrapped.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.networks.network import Network
from net2vec_jax.networks.own_code import advise_evaluation, describe_failure, find_cure

# What turns a submodule's output into the layer's response; None leaves it as it is.
Finish = Callable[[Any], Any] | None
Layers = Sequence[str] | Mapping[str, Finish]
Rest = Mapping[str, Callable[[Array], Array]]
"""By layer, what the model makes of the layer's response, to its end."""


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
        grid = self.grid if len(shape) == 3 else None
        if shape[:1] != (images,) or not (grid or len(shape) in (2, 4)):
            raise Net2VecError(
                f"layer {layer} gives shape {shape} for {images} images, not [N, h, w, K] or "
                f"[N, K]{_advise_shape(layer, shape, images)}"
            )
        _refuse_tokens_as_rows(layer, shape, self)
        output = jnp.asarray(output)
        if grid is not None:
            _require_tokens(layer, shape[1], *grid, self.leading_tokens)
            return output[:, self.leading_tokens :].reshape(images, *grid, shape[2])
        return output.transpose(0, 2, 3, 1) if self.channels_first and len(shape) == 4 else output


AS_IT_IS = OutputForm()


def _advise_shape(layer: str, shape: tuple[int, ...], images: int) -> str:
    """What to do about an output whose axes are not those of a response."""
    finish = f"a function, layers={{{layer!r}: …}}, that"
    if shape[:1] == (images,) and len(shape) < 5:
        return "; if these are tokens, give grid=(h, w)" if len(shape) == 3 else ""
    if shape[:1] == (images,):
        return f"; give {finish} takes one of the further axes' entries"
    if shape[1:2] == (images,):
        return (
            "; the images seem to be axis 1: where blocks are stacked by a scan, give "
            f"{finish} takes one of them, such as lambda blocks: blocks[-1]; where tokens come "
            "first, one that swaps them, lambda tokens: tokens.swapaxes(0, 1)"
        )
    if shape and shape[0] and shape[0] % images == 0:
        return (
            f"; that is {shape[0] // images} entries per image, such as windows of attention: give "
            f"{finish} puts them together, or take the block around them"
        )
    return ""


def _refuse_tokens_as_rows(layer: str, shape: tuple[int, ...], form: OutputForm) -> None:
    """Refuse [N, blocks, tokens, K] and attention [N, heads, tokens, tokens] as maps."""
    grid = form.grid
    if grid is None or min(grid) == 1 or len(shape) != 4:
        return
    if shape[2] == form.leading_tokens + grid[0] * grid[1]:
        raise Net2VecError(
            f"layer {layer} gives shape {shape}, whose axis 2 has the length of all tokens: it is "
            "no map [N, h, w, K] but has blocks or attention heads as axis 1; give a function, "
            f"layers={{{layer!r}: …}}, that makes it [N, tokens, K], such as lambda x: x[:, -1]"
        )


def _require_tokens(layer: str, tokens: int, rows: int, columns: int, leading: int) -> None:
    """Refuse another number of tokens than a grid of patches and those before it."""
    patches, others = rows * columns, tokens - rows * columns
    if others == leading:
        return
    hint = (
        f"; if {others} tokens come before the patches, as class and register tokens do, give "
        f"leading_tokens={others}; if they come behind, give a function that cuts them off, "
        f"layers={{{layer!r}: lambda tokens: tokens[:, :{patches}]}}"
    )
    raise Net2VecError(
        f"layer {layer} gives {tokens} tokens; a grid of {rows} × {columns} behind {leading} "
        f"leading tokens needs {leading + patches}{hint if others > 0 else ''}"
    )


_IMAGE_FORMS: dict[str, Callable[[Array], Array]] = {
    "[N, 3, H, W]: hand it images.transpose(0, 3, 1, 2)": lambda x: x.transpose(0, 3, 1, 2),
    "one image [H, W, 3] at a time: use jax.vmap": lambda x: x[0],
    "batches of one image [1, H, W, 3]: use jax.vmap(…)(images[:, None])": lambda x: x[:1],
    "one image [3, H, W] at a time: hand jax.vmap images.transpose(0, 3, 1, 2)": (
        lambda x: x[0].transpose(2, 0, 1)
    ),
}
"""How else a model may want its images, and how they become so."""
_SIDES = (32, 64, 96, 112, 128, 160, 192, 224, 240, 256, 288, 299, 320, 336, 384, 448, 518)
"""Pixels along a side of the images that models are usually built for."""


class WrappedNetwork(Network):
    """What all wrapped models share; a subclass computes the outputs of some layers at once.

    Attributes:
      layers: their names; unlike those of the built-in networks, of this very object.
    """

    def __init__(self, layers: Layers, form: OutputForm, rest: Rest | None = None) -> None:
        """Keep the layers' names, what finishes their outputs, their form, and what follows."""
        if isinstance(layers, str):
            raise Net2VecError(f"layers is a sequence of names; write [{layers!r}]")
        finishes = layers if isinstance(layers, Mapping) else dict.fromkeys(layers)
        finishes = {name.replace("/", "."): finish for name, finish in finishes.items()}
        self.layers = tuple(finishes)
        self._finish = tuple(finishes.values())
        self._form = form
        self._rest = tuple((rest or {}).items())
        for name in dict(self._rest):
            self.resolve_layer(name)
        wrong = [name for name in self.layers if not name.strip(".") or os.sep in name]
        if wrong or not self.layers:
            raise Net2VecError(
                f"layers need names that can name a folder: {wrong or 'there are none'}"
            )

    def resolve_layer(self, name: str) -> str:
        """The layer's own name; paths may have slashes, as Linen writes them."""
        return super().resolve_layer(name.replace("/", "."))

    def outputs(self, images: Array, layers: Sequence[str]) -> Mapping[str, Any]:
        """What the model gives at `layers`, before it is finished and laid out."""
        raise NotImplementedError

    @property
    def evaluation(self) -> str:
        """How the model is put into evaluation mode, for messages."""
        return advise_evaluation(self.outputs)

    def _respond(self, images: Float[Array, "N H W 3"], layers: Sequence[str]) -> dict[str, Array]:
        finished = self._finish_outputs(images, layers)
        return {
            layer: self._form.lay_out(layer, output, len(images))
            for layer, output in finished.items()
        }

    def _finish_outputs(
        self, images: Float[Array, "N H W 3"], layers: Sequence[str]
    ) -> dict[str, Any]:
        """Outputs as the functions given for them make them; errors name the user's line."""
        finishes = dict(zip(self.layers, self._finish, strict=True))
        try:
            outputs = dict(self.outputs(images, layers))
            for leaf in jax.tree.leaves(outputs):
                if isinstance(leaf, jax.core.Tracer):
                    _ = leaf == leaf  # raises where it escaped from a jax.vmap
            for layer, output in outputs.items():
                finish = finishes[layer]
                outputs[layer] = output if finish is None else finish(output)
        except Net2VecError:
            raise
        except Exception as error:
            cure = find_cure(error, self.evaluation) or self._find_image_form(images, layers)
            raise Net2VecError(
                f"the model failed on images {images.shape}: {describe_failure(error)}{cure}"
            ) from error
        return outputs

    def _find_image_form(self, images: Float[Array, "N H W 3"], layers: Sequence[str]) -> str:
        """How the model wants its images, if it takes them in another form."""
        for advice, change in _IMAGE_FORMS.items() if self.is_traceable else ():
            with contextlib.suppress(Exception):
                jax.eval_shape(lambda x: self.outputs(change(x), layers), images)  # noqa: B023
                return f"; it wants {advice}"
        for side in _SIDES if self.is_traceable else ():
            with contextlib.suppress(Exception):
                shape = jax.ShapeDtypeStruct((len(images), side, side, 3), images.dtype)
                jax.eval_shape(lambda x: self.outputs(x, layers), shape)
                return f"; it takes images of {side} × {side} pixels: write the dataset so"
        return ""

    def continue_from(
        self,
        layer: str,
        response: Float[Array | np.ndarray, "N *places K"],
        images: Array | np.ndarray | None = None,
    ) -> Float[Array, "N ..."]:
        """What the function given for the layer, `rest`, makes of a response.

        Raises:
          Net2VecError: none was given; or there is no such layer.
        """
        rest = {self.resolve_layer(name): function for name, function in self._rest}
        found = rest.get(self.resolve_layer(layer))
        if found is None:
            raise Net2VecError(
                f"how the model goes on from layer {layer} is not known; give a function that "
                f"makes the logits [N, classes] of its response: rest={{{layer!r}: …}}"
            )
        return found(jnp.asarray(response))

    def sees_images_behind(self, layer: str, size: int) -> bool:
        """False: the function given for a layer takes its response alone."""
        return False

    def check_axes(self, height: int, width: int, layers: Sequence[str]) -> None:
        """Refuse maps [N, K, h, w] that are taken for [N, h, w, K], or the other way round.

        The rows of a map are the axis that grows with an image's height. A model that takes no
        images of another height is not checked.

        Raises:
          Net2VecError: names the layer and the argument to give.
        """
        try:
            short, tall = (
                jax.eval_shape(
                    lambda images: self._finish_outputs(images, layers),
                    jax.ShapeDtypeStruct((1, rows, width, 3), jnp.float32),
                )
                for rows in (height, 2 * height)
            )
        except Net2VecError:
            return
        is_first = self._form.channels_first
        found = "[N, h, w, K]" if is_first else "[N, K, h, w]"
        for layer, output in short.items():
            pairs = zip(output.shape, tall[layer].shape, strict=True)
            grown = [axis for axis, (one, other) in enumerate(pairs) if one != other]
            if output.ndim == 4 and grown == [1 if is_first else 2]:
                raise Net2VecError(
                    f"layer {layer} gives {output.shape}, whose rows are axis {grown[0]}: it is "
                    f"{found}, so give channels_first={not is_first}"
                )

    def responses(self, images: Float[Array, "N H W 3"]) -> Iterator[tuple[str, Array]]:
        """Every layer's name and response, in the order of `layers`; all in one pass."""
        yield from self.activations(images, self.layers).items()
