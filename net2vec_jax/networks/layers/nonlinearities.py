"""Nonlinearities of the networks, and a way to let gradients past the rectifiers among them.

All are taken entry by entry, in the type of their input, of any shape.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class _Leak:
    """A share of the gradient, told from others by identity: a traced one has no value to compare.

    Attributes:
      share: a number, or a scalar array.
    """

    def __init__(self, share: float | Array) -> None:
        self.share = share


_LEAK = jax.make_user_context(None)


@contextlib.contextmanager
def leaking_gradients(share: float | Array) -> Iterator[None]:
    """What is traced inside lets `share` of a gradient past rectifiers, which then never block it.

    Responses stay as they are, to the last bit. Where an image is optimised for a filter that it
    leaves silent, there would be no gradient at all. What `jax.jit` and `jax.checkpoint` have
    traced outside is traced anew inside, and the other way round.

    Args:
      share: of the gradient; no gradient is taken with respect to it.
    """
    with _LEAK(_Leak(share)):
        yield


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _leak(
    rectify: Callable[[Array], Array], values: Float[Array, "*shape"], share: Float[Array, ""]
) -> Float[Array, "*shape"]:
    """The rectified values, whose gradient has a share of that of `values` added."""
    return rectify(values)


@_leak.defjvp
def _leak_tangents(
    rectify: Callable[[Array], Array], primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    (values, share), (change, _) = primals, tangents
    rectified, changed = jax.jvp(rectify, (values,), (change,))
    return rectified, changed + share * change


def _rectify(rectify: Callable[[Array], Array], values: Array) -> Array:
    leak = _LEAK.value
    if leak is None:
        return rectify(values)
    return _leak(rectify, values, jnp.asarray(leak.share, values.dtype))


def _clip_below(values: Array) -> Array:
    return jnp.maximum(values, 0.0)


def _clip_to_six(values: Array) -> Array:
    return jnp.clip(values, 0.0, 6.0)


def relu(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """max(values, 0)."""
    return _rectify(_clip_below, values)


def relu6(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Values clipped to [0, 6]."""
    return _rectify(_clip_to_six, values)


def gelu(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """values · Φ(values), with the normal distribution's Φ itself, not an approximation.

    By erf, as torch computes it. `jax.nn.gelu` takes erfc, exact in the far tail too and, on CPU,
    2.7 times as long.
    """
    return 0.5 * values * (1 + jax.lax.erf(values * 0.5**0.5))


def quick_gelu(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """values · σ(1.702 · values), the approximation of `gelu` that CLIP was trained with."""
    return values * jax.nn.sigmoid(1.702 * values)
